"""Pipelines that make training sets: steps over shards, resumed, traceable, accounted for."""

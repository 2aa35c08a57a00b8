"""Scores of one picture, and what rewards are made of."""

"""Pretrained eyes behind small protocols."""

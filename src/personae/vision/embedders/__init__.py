"""Embedders of animals and things: crops in, descriptors out."""

from personae.vision.embedders.dreamsim import DreamSimEmbedder
from personae.vision.embedders.efficientnet import EfficientNetEmbedder
from personae.vision.embedders.transformers_models import (
    ClipEmbedder,
    DinoEmbedder,
    Dinov2Embedder,
    TransformersEmbedder,
    VisionModel,
)

__all__ = [
    "ClipEmbedder",
    "DinoEmbedder",
    "Dinov2Embedder",
    "DreamSimEmbedder",
    "EfficientNetEmbedder",
    "TransformersEmbedder",
    "VisionModel",
]

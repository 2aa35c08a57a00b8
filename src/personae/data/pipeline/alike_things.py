"""The filter of redrawn things: each reference shows its own thing, no other, and no copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.provenance import eye_models
from personae.data.pipeline.step import Files, kept_or_lost
from personae.data.pipeline.things import things_of
from personae.metrics.witnesses import build_embedder
from personae.vision.protocols import Embedder

__all__ = ["AlikeThings"]


@dataclass(frozen=True, kw_only=True)
class AlikeThings:
    """Keeps pictures whose references show their own things, nobody else's, and no copies.

    Attributes:
        embedder: what described them, as ``--embedder`` takes it.
        same: each reference is at least so similar to its thing in the target; 0 asks nothing.
        different: and at most so similar to the others there; 1 asks nothing.
        least_bits: its hash differs from the crop's in at least so many bits; 0 asks nothing.
    """

    embedder: str = "efficientnet-lite0"
    same: float = 0.5
    different: float = 0.5
    least_bits: int = 0
    name: str = "alike"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {key: value for key, value in vars(self).items() if key != "name"}

    def models(self) -> Mapping[str, str]:
        """See `Step`."""
        return eye_models(self.embedder)

    def build(self) -> Embedder:
        """See `Step`."""
        return build_embedder(self.embedder)

    def work(self, state: Embedder, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        return kept_or_lost(items, self.name, lambda item: self._verdict(state, item, files))

    def _verdict(self, embedder: Embedder, item: Item, files: Files) -> Lost | None:
        rows = [
            torch.from_numpy(np.stack([thing.descriptor for thing in things_of(item, key)]))
            for key in ("people", "things")
        ]
        similar = embedder.similarity(rows[0], rows[1]).cpu().numpy()
        own = float(similar.diagonal().min())
        others = float(similar[~np.eye(len(similar), dtype=bool)].max(initial=-1.0))
        if self.same and own < self.same:
            return Lost(item.id, "a reference is not its thing", detail=f"{own:.2f}")
        if self.different < 1 and others > self.different:
            detail = f"{others:.2f}"
            return Lost(item.id, "a reference resembles another thing too", detail=detail)
        for name in item.data["nouns"]:
            crops = (files.picture(item, f"{kind}-{name}") for kind in ("crop", "reference"))
            bits = hash_distance(*(perceptual_hash(crop) for crop in crops))
            if bits < self.least_bits:
                return Lost(item.id, "a reference could be copied", detail=f"{name}: {bits} bits")
        return None

"""The step that drops pictures with a low aesthetic score, where there are weights to tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from personae.compute.device import choose_device
from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.step import Files
from personae.errors import WeightsError
from personae.vision.aesthetic import CLIP_L14, AestheticScorer
from personae.vision.embedders.crops import image_tensor
from personae.vision.weights import file_sha256, in_hub_cache

__all__ = ["Aesthetic"]


@dataclass(frozen=True, kw_only=True)
class Aesthetic:
    """Drops pictures with a low aesthetic score; without weights all go on, told as unmeasured.

    Attributes:
        head: safetensors of a head's linear layers (`AestheticScorer`).
        encoder: folder or hub id of the CLIP or SigLIP that the head was made for.
        least: the score that is asked for, of about 1 to 10. LAION's own subsets begin at 4.5 to
            6.5; nothing was measured here.
        device: where it computes.
    """

    head: str
    encoder: str = CLIP_L14
    least: float = 5.0
    device: str = "auto"
    name: str = "aesthetic"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`; also which head is there: once there is one, everything is looked at."""
        path = Path(self.head)
        told = {"head": self.head, "encoder": self.encoder, "least": self.least}
        has_encoder = Path(self.encoder).is_dir() or in_hub_cache(self.encoder)
        is_there = path.is_file() and has_encoder
        return {**told, "weights": file_sha256(path) if is_there else None}

    def build(self) -> AestheticScorer | str:
        """The scorer, or why there is none; without a head no encoder is sought or fetched."""
        if not Path(self.head).is_file():
            return f"{self.head}: no such file; expected the head as safetensors"
        try:
            return AestheticScorer(self.head, self.encoder, device=choose_device(self.device))
        except WeightsError as error:
            return str(error)

    @torch.no_grad()
    def work(self, state: AestheticScorer | str, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        if isinstance(state, str):
            passed = tuple(item.child(item.id, self.name) for item in items)
            return Made(passed, (), {f"no aesthetic score: {state}": len(items)})
        made: list[Item] = []
        lost: list[Lost] = []
        for item in items:
            score = float(state.score(image_tensor(files.picture(item))[None])[0])
            if score < self.least:
                lost.append(Lost(item.id, "its aesthetic score is too low", detail=f"{score:.2f}"))
                continue
            data = {**item.data, "aesthetic": round(score, 3)}
            made.append(item.child(item.id, self.name, data=data))
        return Made(tuple(made), tuple(lost))

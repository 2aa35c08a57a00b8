"""Rewards that need no eyes, and pictures that need no painter."""

from __future__ import annotations

import io
import threading
from collections.abc import Collection, Sequence

import numpy as np
import torch
from PIL import Image

from personae.errors import DataError
from personae.subjects.subject import Reference
from personae.training.rewards.asked import Asked, Rewards


def grey(brightness: int, size: int = 16) -> np.ndarray:
    return np.full((size, size, 3), brightness, np.uint8)


def encoded(picture: np.ndarray, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, form)
    return buffer.getvalue()


def ask_for(*names: str) -> Asked:
    return Asked({name: (Reference(grey(100)),) for name in names})


class Brightness:
    """The mean brightness; black pictures are too dark to be measured."""

    name = "brightness"
    differentiable = True

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, pictures: torch.Tensor, asked: Sequence[Asked]) -> Rewards:
        assert pictures.dtype == torch.float32
        assert pictures.shape[:2] == (len(asked), 3)
        self.batches.append(len(asked))
        means = pictures.mean((1, 2, 3))
        return Rewards.of(
            [mean if mean > 0 else "too dark" for mean in means],
            pictures.device,
            subjects=[float(len(item.subjects)) for item in asked],
            photo=[float(np.mean(next(iter(item.subjects.values()))[0].image)) for item in asked],
            nothing=[float("nan")] * len(asked),
        )


class Moody(Brightness):
    """Does what the prompt says: raise, complain, leave, hang until all or it are freed."""

    def __init__(
        self, release: threading.Event, begun: threading.Semaphore, freed: Collection[str]
    ) -> None:
        super().__init__()
        self.release, self.begun, self.freed = release, begun, freed

    def __call__(self, pictures: torch.Tensor, asked: Sequence[Asked]) -> Rewards:
        prompt = asked[0].prompt
        if prompt == "raise":
            raise ValueError("a secret of the server")
        if prompt == "complain":
            raise DataError("this reference is of no use")
        if prompt == "leave":
            raise SystemExit(3)
        if prompt.startswith("hang"):
            self.begun.release()
            for _ in range(2000):
                if self.release.wait(0.01) or prompt in self.freed:
                    break
        return super().__call__(pictures, asked)

"""A backbone without a network: fast, deterministic, and it can be told to fail."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from personae.diffusion.backbone import Limits
from personae.errors import RequestError
from personae.subjects.scene import Scene
from personae.subjects.subject import ReferenceFile, Subject

LIMITS = Limits(
    max_subjects=3,
    sizes=((64, 64), (96, 64)),
    reference_px=32,
    prompt_tokens=16,
    text_layers=(1,),
    steps=5,
    guidance=2.0,
    subject_words="{noun} {index}",
)


class FakeBackbone:
    """Pictures show the noise's channels over the mean color of the references.

    ``fail_at`` is the number of the call of `draw` that raises ``error``; ``kill_at`` the one that
    kills the process.
    """

    family = "fake"
    name = "fake"
    revision = "1"
    sampler = "one step"
    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(
        self,
        error: Exception | None = None,
        fail_at: int | None = None,
        kill_at: int | None = None,
        most: int = 1000,
        limits: Limits = LIMITS,
    ) -> None:
        self.error, self.fail_at, self.kill_at, self.most = error, fail_at, kill_at, most
        self.limits = limits
        self.denoiser = nn.Linear(2, 2)
        self.text_encoder = nn.Linear(2, 2)
        for part in (self.denoiser, self.text_encoder):
            nn.init.constant_(part.weight, 1.0)
            nn.init.zeros_(part.bias)
        self.calls: list[dict] = []

    def count_tokens(self, prompt: str) -> int:
        return len(prompt.split())

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        if width < 16 or height < 16 or width % 16 or height % 16:
            raise RequestError(f"size {width}x{height}: expected multiples of 16")
        return 3, height // 16, width // 16

    def encode_image(self, images: Tensor) -> Tensor:
        """Mean color of each cell, in [-1, 1]."""
        return nn.functional.avg_pool2d(images, 16) * 2 - 1

    def draw(
        self,
        prompt: str,
        references: Sequence[np.ndarray],
        *,
        width: int,
        height: int,
        latents: Tensor,
        steps: int,
        guidance: float,
        reference_guidance: float = 1.0,
        negative: str = "",
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> list[np.ndarray]:
        self.calls.append(
            {
                "prompt": prompt,
                "batch": len(latents),
                "steps": steps,
                "guidance": guidance,
                "negative": negative,
            }
        )
        if len(self.calls) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(self.calls) == self.fail_at and self.error is not None:
            raise self.error
        if len(latents) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        tint = torch.tensor(np.mean([r.mean((0, 1)) for r in references], axis=0))
        pixels = latents.repeat_interleave(16, 2).repeat_interleave(16, 3) * 20
        pixels = (pixels + tint[:, None, None]).clamp(0, 255).round().to(torch.uint8)
        return [np.asarray(item.permute(1, 2, 0)) for item in pixels]


def scenes(folder: Path, *names: str, subjects: Sequence[str] = ("ann", "bob")) -> list[Scene]:
    """Scenes of these ids; each subject's reference is a plain color with a mask."""
    folder.mkdir(parents=True, exist_ok=True)
    cast = {}
    for index, subject in enumerate(subjects):
        photo, mask = folder / f"{subject}.png", folder / f"{subject}.mask.png"
        Image.new("RGB", (40, 30), (60 * index, 100, 200)).save(photo)
        shape = np.zeros((30, 40), np.uint8)
        shape[5:25, 10:20] = 255
        Image.fromarray(shape).save(mask)
        cast[subject] = Subject(subject, "girl", "person", (ReferenceFile(photo, mask),))
    prompt = " and ".join("{" + subject + "}" for subject in subjects) + " in a park"
    return [Scene(name, prompt, cast) for name in names]

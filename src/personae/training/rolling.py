"""What ReReFL and GRPO share around a rollout: its noise, its guides, its numbers for the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from personae.data.examples import Example
from personae.diffusion.backbone import Backbone, Context
from personae.training.batches import Batch
from personae.training.rewards.asked import Rewards
from personae.training.rollout import Guides, RolloutRecipe

if TYPE_CHECKING:
    from personae.training.session import Session

__all__ = ["guides_for", "guides_of", "masked", "notes_of", "rollout_noise"]


def rollout_noise(seed: Sequence[int], like: Tensor) -> Tensor:
    """Standard normal numbers of these seeds, float32, shaped and placed as ``like``."""
    first = int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0]) >> 1
    generator = torch.Generator(like.device).manual_seed(first)
    return torch.randn(like.shape, generator=generator, device=like.device)


def guides_for(session: Session, batch: Batch, text: Tensor, rollout: RolloutRecipe) -> Guides:
    """What pictures of this batch are drawn towards."""
    guidance, by_references = rollout.scales(session.backbone.limits)
    unprompted = None if guidance == 1 else session.empty_text().expand(len(batch), -1, -1)
    return Guides(Context(text, batch.references), unprompted, guidance, by_references)


@torch.no_grad()
def guides_of(backbone: Backbone, examples: Sequence[Example], empty: Tensor) -> Guides:
    """What pictures of these examples (of one shape) are drawn towards, as users draw them.

    Args:
        backbone: encodes them.
        examples: B of them.
        empty: (1, L, D), the embedded empty prompt.
    """
    limits = backbone.limits
    text = backbone.encode_prompt([example.prompt for example in examples])
    columns = zip(*(example.references for example in examples), strict=True)
    references = tuple(_latents(backbone, column) for column in columns)
    guidance = 1.0 if limits.guidance_embedded else limits.guidance
    unprompted = None if guidance == 1 else empty.expand(len(examples), -1, -1)
    return Guides(Context(text, references), unprompted, guidance, limits.reference_guidance)


def _latents(backbone: Backbone, pictures: Sequence[np.ndarray]) -> Tensor:
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    return backbone.encode_image(pixels.to(backbone.device, backbone.dtype))


def masked(told: Rewards) -> Tensor:
    """(B,) values without a gradient, NaN where unmeasured."""
    return told.values.detach().masked_fill(~told.measured, torch.nan)


def notes_of(ids: Sequence[str], told: Rewards) -> tuple[str, ...]:
    """Which pictures could not be measured, and why."""
    return tuple(f"{name}: {why}" for name, why in zip(ids, told.reasons, strict=True) if why)

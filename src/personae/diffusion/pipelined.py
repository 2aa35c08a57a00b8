"""What backbones around a diffusers pipeline share, and those of rectified flows among them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personae.diffusion.backbone import Backbone, Limits, write_limits
from personae.diffusion.flow import flow_estimate, flow_follow, flow_mix, flow_target
from personae.diffusion.quiet import without_bars
from personae.diffusion.tokens import learned_tokens
from personae.errors import RequestError

__all__ = ["FlowBackbone", "PipelineBackbone", "TwoEncoders", "with_pooled_row"]


class PipelineBackbone:
    """Where a pipeline computes, what size it draws, how it is saved.

    ``denoiser`` may be replaced by a wrapper (accelerate's, a compiled one): ``predict`` calls it,
    ``draw`` calls the pipeline's own.

    Args:
        pipeline: of diffusers.
        name: folder or hub id it was loaded from.
        revision: of the hub id.
        limits: what the checkpoint was trained for.
    """

    family: str
    lora_targets: str
    lora_prefix: str
    is_flow: bool

    def __init__(
        self, pipeline: Any, *, name: str, limits: Limits, revision: str | None = None
    ) -> None:
        self.pipeline = pipeline
        self.name = name
        self.revision = revision
        self.limits = limits
        self.denoiser: nn.Module = getattr(pipeline, self.lora_prefix)
        self.text_encoder: nn.Module = pipeline.text_encoder
        pipeline.set_progress_bar_config(disable=True)

    @property
    def device(self) -> torch.device:
        """Where the pipeline computes."""
        return torch.device(self.pipeline.device)

    @property
    def dtype(self) -> torch.dtype:
        """In what the denoiser's weights are kept."""
        dtype: torch.dtype = self._inner.dtype
        return dtype

    @property
    def _inner(self) -> Any:
        """The pipeline's own denoiser, whatever is wrapped around ours."""
        return getattr(self.pipeline, self.lora_prefix)

    @property
    def multiple(self) -> int:
        """Width and height of a picture are multiples of this many pixels."""
        return int(2 * self.pipeline.vae_scale_factor)

    @property
    def sampler(self) -> str:
        """The pipeline's scheduler."""
        return type(self.pipeline.scheduler).__name__

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (B, L) int64 each; every family's own."""
        raise NotImplementedError

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D); every family's own."""
        raise NotImplementedError

    @torch.no_grad()
    def encode_prompt(self, prompts: Sequence[str]) -> Tensor:
        """(B, L, D), without a gradient."""
        return self.encode_tokens(*self.tokenize(prompts))

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture of this size in pixels.

        Raises:
            RequestError: a side is not a positive multiple of the patch.
        """
        multiple = self.multiple
        if width < multiple or height < multiple or width % multiple or height % multiple:
            raise RequestError(
                f"picture of {width} x {height} pixels: {self.name} needs positive multiples of "
                f"{multiple}; the nearest is {_nearest(width, multiple)} x "
                f"{_nearest(height, multiple)}"
            )
        channels = int(self._inner.config.in_channels)
        return channels, height // multiple, width // multiple

    def _checked_noise(self, latents: Tensor, width: int, height: int) -> tuple[int, int, int]:
        """The shape of the pictures' latents, which the noise has too.

        Raises:
            RequestError: the size or the shape of the noise does not fit.
        """
        shape = self.latent_shape(width, height)
        if tuple(latents.shape[1:]) != shape:
            raise RequestError(f"latents {tuple(latents.shape)}: expected (B, {shape}) for noise")
        return shape

    def save(self, folder: Path) -> None:
        """Write an ordinary diffusers folder (safetensors) with its limits.

        Raises:
            RequestError: an adapter is attached, merge it first; or it has learned tokens.
        """
        if getattr(self._inner, "peft_config", None):
            raise RequestError(
                f"{folder}: an adapter is attached to the model; save it with save_lora, or "
                "merge_lora it into the weights first"
            )
        if learned_tokens(cast(Backbone, self)):
            raise RequestError(
                f"{folder}: the model has learned tokens, which its table has no rows for; write "
                "them with save_tokens, and save a model without them"
            )
        with without_bars():
            self.pipeline.save_pretrained(folder, safe_serialization=True)
        _forget_folders(folder)
        write_limits(folder, self.limits)


class FlowBackbone(PipelineBackbone):
    """One whose network predicts the velocity of a rectified flow."""

    is_flow = True

    def mix(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """See :func:`~personae.diffusion.flow.flow_mix`."""
        return flow_mix(clean, noise, time)

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """See :func:`~personae.diffusion.flow.flow_target`."""
        return flow_target(clean, noise)

    def estimate(self, x: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        """See :func:`~personae.diffusion.flow.flow_estimate`."""
        return flow_estimate(x, prediction, time)

    def follow(self, x: Tensor, prediction: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """See :func:`~personae.diffusion.flow.flow_follow`."""
        return flow_follow(x, prediction, here, there)


class TwoEncoders(nn.Module):
    """Both text encoders of a pipeline as one module, under the pipeline's names."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.text_encoder, self.text_encoder_2 = first, second

    def activation_checkpointing_enable(self) -> None:
        """In both, by the name that the installed transformers has for it."""
        encoders: tuple[Any, ...] = (self.text_encoder, self.text_encoder_2)
        for encoder in encoders:
            enable = getattr(encoder, "activation_checkpointing_enable", None)
            (enable or encoder.gradient_checkpointing_enable)()


def with_pooled_row(words: Tensor, pooled: Tensor) -> Tensor:
    """(B, L, D) words and (B, P) pooled as one (B, L + 1, max(D, P)); zeros fill up."""
    width = max(words.shape[-1], pooled.shape[-1])
    row = F.pad(pooled.to(words.dtype), (0, width - pooled.shape[-1]))[:, None]
    return torch.cat([F.pad(words, (0, width - words.shape[-1])), row], dim=1)


def _forget_folders(folder: Path) -> None:
    """Take out where on this machine the parts came from: nobody else's business."""
    for path in folder.rglob("*.json"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(facts, dict) and facts.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _nearest(side: int, multiple: int) -> int:
    return max(multiple, round(side / multiple) * multiple)

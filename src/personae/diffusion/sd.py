"""Stable Diffusion 1 and 2: as SDXL, with one text encoder and nothing told beside the words.

Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models (2022); drawn by
diffusers' ``StableDiffusionPipeline``.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from personae.diffusion.sdxl import SdxlBackbone

__all__ = ["StableDiffusionBackbone"]


class StableDiffusionBackbone(SdxlBackbone):
    """A ``StableDiffusionPipeline`` as a :class:`~personae.diffusion.backbone.Backbone`.

    Its empty prompt is embedded as any other; that is the pipeline's negative prompt too.
    """

    family = "sd"

    def _text_encoder(self) -> nn.Module:
        encoder: nn.Module = self.pipeline.text_encoder
        return encoder

    @property
    def text_shape(self) -> tuple[int, int]:
        """(L, D) of one embedded prompt."""
        return self.limits.prompt_tokens, self._width

    @property
    def _tokenizers(self) -> tuple[Any, ...]:
        return (self.pipeline.tokenizer,)

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, 77, D), the last hidden state; gradients flow."""
        wanted = getattr(self.pipeline.text_encoder.config, "use_attention_mask", False)
        text: Tensor = self.text_encoder(ids, attention_mask=mask if wanted else None)[0]
        return text

    def _words(self, text: Tensor) -> Tensor:
        return text

    def _added(self, x: Tensor, text: Tensor) -> dict[str, Tensor] | None:
        return None

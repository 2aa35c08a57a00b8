"""Stable Diffusion XL: a UNet that sees words by cross-attention, and no references in context.

Source of the model: Podell et al., SDXL (2023), arXiv 2307.01952; its arithmetic is that of
diffusers' ``StableDiffusionXLPipeline``, which :meth:`SdxlBackbone.draw` calls and
:meth:`SdxlBackbone.predict` agrees with. It is the model of MuDI (arXiv 2404.04243).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from personae.diffusion.backbone import Context, Limits
from personae.diffusion.pipelined import PipelineBackbone, TwoEncoders, with_pooled_row
from personae.diffusion.sdxl_limits import UNET_LORA_TARGETS
from personae.diffusion.sdxl_schedule import Diffusion, diffusion_of
from personae.errors import RequestError

__all__ = ["SdxlBackbone", "SdxlText"]


class SdxlText(TwoEncoders):
    """Both text encoders of SDXL as one: (B, 2 x 77) ids to (B, 77 + 1, D).

    The last hidden states but one stand side by side; the second encoder's pooled embedding is
    one more row, filled up with zeros. Where ``empty`` is given, rows of these ids (the empty
    prompt's) are all zeros: what the pipeline takes for no prompt.
    """

    def forward(self, ids: Tensor, empty: Tensor | None = None) -> Tensor:
        """See the class."""
        halves = ids.chunk(2, dim=1)
        encoders = (self.text_encoder, self.text_encoder_2)
        said = [
            encoder(half, output_hidden_states=True)
            for encoder, half in zip(encoders, halves, strict=True)
        ]
        words = torch.cat([item.hidden_states[-2] for item in said], dim=-1)
        text = with_pooled_row(words, said[1][0])
        if empty is None:
            return text
        is_empty = (ids == empty.to(ids.device)).all(dim=1)
        return text.masked_fill(is_empty[:, None, None], 0.0)


class SdxlBackbone(PipelineBackbone):
    """A ``StableDiffusionXLPipeline`` as a :class:`~personae.diffusion.backbone.Backbone`.

    Latents are (B, 4, H / 8, W / 8), times the autoencoder's scaling factor, and keep their
    variance over time (`sdxl_schedule`). The network is told the picture's size as its original
    size, its target size and no crop.
    """

    family = "sdxl"
    lora_targets = UNET_LORA_TARGETS
    lora_prefix = "unet"
    is_flow = False

    def __init__(
        self, pipeline: Any, *, name: str, limits: Limits, revision: str | None = None
    ) -> None:
        super().__init__(pipeline, name=name, limits=limits, revision=revision)
        self.text_encoder = self._text_encoder()

    def _text_encoder(self) -> nn.Module:
        return SdxlText(self.pipeline.text_encoder, self.pipeline.text_encoder_2)

    @property
    def multiple(self) -> int:
        """Width and height of a picture are multiples of this many pixels."""
        return int(self.pipeline.vae_scale_factor)

    @property
    def text_shape(self) -> tuple[int, int]:
        """(L, D) of one embedded prompt: its words, and below them the pooled embedding."""
        pooled = int(self.pipeline.text_encoder_2.config.projection_dim)
        return self.limits.prompt_tokens + 1, max(self._width, pooled)

    @property
    def _width(self) -> int:
        return int(self._inner.config.cross_attention_dim)

    @property
    def _tokenizers(self) -> tuple[Any, ...]:
        return (self.pipeline.tokenizer, self.pipeline.tokenizer_2)

    @cached_property
    def _empty_ids(self) -> Tensor:
        return self.tokenize([""])[0].cpu()

    @cached_property
    def schedule(self) -> Diffusion:
        """What its times and predictions mean."""
        return diffusion_of(self.pipeline.scheduler, self.name)

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt before it is cut to ``limits.prompt_tokens``."""
        return max(len(tokenizer(prompt)["input_ids"]) for tokenizer in self._tokenizers)

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask of each tokenizer side by side, (B, 2 x 77) int64 each."""
        made = [
            tokenizer(
                list(prompts),
                return_tensors="pt",
                padding="max_length",
                truncation=True,
                max_length=self.limits.prompt_tokens,
            )
            for tokenizer in self._tokenizers
        ]
        both = (torch.cat([item[key] for item in made], 1) for key in _KEYS)
        ids, mask = (item.to(self.device) for item in both)
        return ids, mask

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, 77 + 1, D); gradients flow. The mask is not looked at, as in the pipeline.

        The empty prompt is all zeros where the pipeline's own negative prompt is.
        """
        zeros = bool(self.pipeline.config.force_zeros_for_empty_prompt)
        text: Tensor = self.text_encoder(ids, self._empty_ids if zeros else None)
        return text

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to normalized latents (B, 4, H / 8, W / 8), the mode.

        Raises:
            RequestError: H or W is not a multiple of 8.
        """
        self.latent_shape(images.shape[-1], images.shape[-2])
        vae = self.pipeline.vae
        moments = vae.encode(2 * images.to(self.device, vae.dtype) - 1).latent_dist
        latents: Tensor = moments.mode() * vae.config.scaling_factor
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Normalized latents to (B, 3, H, W), about [0, 1], not clamped; gradients flow."""
        vae = self.pipeline.vae
        images: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample
        return images / 2 + 0.5

    def predict(self, x: Tensor, time: Tensor, context: Context) -> Tensor:
        """Noise or v (B, C, h, w) at x (B, C, h, w) and time (B,) in (0, 1]; gradients flow.

        Computed in the network's dtype, returned in that of x.

        Raises:
            RequestError: there are references in the context.
        """
        self._refuse_references(len(context.references))
        dtype = self.dtype
        steps = (self.schedule.places(time) - 1).clamp_min(0)
        said: Tensor = self.denoiser(
            x.to(dtype),
            steps.to(x.device),
            encoder_hidden_states=self._words(context.text).to(dtype),
            added_cond_kwargs=self._added(x, context.text),
            return_dict=False,
        )[0]
        return said.to(x.dtype)

    def _words(self, text: Tensor) -> Tensor:
        return text[:, :-1, : self._width]

    def _added(self, x: Tensor, text: Tensor) -> dict[str, Tensor] | None:
        """The pooled embedding, and the sizes that the network is told."""
        pooled = text[:, -1, : int(self.pipeline.text_encoder_2.config.projection_dim)]
        height, width = (side * self.multiple for side in x.shape[-2:])
        told = torch.tensor([[height, width, 0, 0, height, width]], device=x.device)
        dtype = self.dtype
        return {
            "text_embeds": pooled.to(dtype),
            "time_ids": told.to(dtype).expand(len(x), -1),
        }

    def mix(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """See :meth:`~personae.diffusion.sdxl_schedule.Diffusion.mix`."""
        return self.schedule.mix(clean, noise, time)

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """See :meth:`~personae.diffusion.sdxl_schedule.Diffusion.target`."""
        return self.schedule.target(clean, noise, time)

    def estimate(self, x: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        """See :meth:`~personae.diffusion.sdxl_schedule.Diffusion.estimate`."""
        return self.schedule.estimate(x, prediction, time)

    def follow(self, x: Tensor, prediction: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """See :meth:`~personae.diffusion.sdxl_schedule.Diffusion.follow`."""
        return self.schedule.follow(x, prediction, here, there)

    def times(self, steps: int, width: int, height: int) -> Tensor:
        """(steps + 1,) float32 on the CPU, falling to 0: the pipeline's training steps.

        The first is not quite 1 where the scheduler leaves out the last steps (SDXL's own: of 50
        steps the first is training step 981, time 0.982); sampling begins there with pure noise.

        Raises:
            RequestError: ``steps`` is below 1.
        """
        if steps < 1:
            raise RequestError(f"steps {steps}: expected at least 1")
        self.latent_shape(width, height)
        scheduler = copy.deepcopy(self.pipeline.scheduler)
        scheduler.set_timesteps(steps)
        total = len(self.schedule.kept) - 1
        times = (scheduler.timesteps.double().cpu() + 1) / total
        return torch.cat([times, torch.zeros(1, dtype=torch.float64)]).float()

    def draw(  # noqa: PLR0913  (what a picture is drawn from has this many parts)
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
        """Draw one picture for each noise, all from one prompt.

        Args:
            prompt: embedded once for all.
            references: none; this family sees words alone.
            width: of the pictures, in pixels.
            height: of the pictures, in pixels.
            latents: (B, C, h, w), standard normal noise of each picture; the pipeline multiplies it
                by its scheduler's ``init_noise_sigma``.
            steps: sampling steps.
            guidance: classifier-free guidance scale; above 1 each step costs two passes.
            reference_guidance: of no meaning here.
            negative: what guidance turns away from; empty: the pipeline's own.
            on_step: told the 0-based step and the latents (B, C, h, w) after it, as the network
                would see them next.

        Returns:
            B pictures (H, W, 3) uint8.

        Raises:
            RequestError: there are references, or the size or the shape of the noise does not fit.
        """
        self._refuse_references(len(references))
        self._checked_noise(latents, width, height)
        pictures = self.pipeline(
            prompt=prompt,
            width=width,
            height=height,
            num_inference_steps=steps,
            guidance_scale=guidance,
            negative_prompt=negative or None,
            num_images_per_prompt=len(latents),
            latents=latents,
            callback_on_step_end=None if on_step is None else _teller(on_step),
        ).images
        return [np.asarray(picture.convert("RGB"), dtype=np.uint8) for picture in pictures]

    def _refuse_references(self, count: int) -> None:
        if count:
            raise RequestError(
                f"{count} references: {self.name} ({self.family}) takes none in context; leave "
                "them out, or use another model"
            )


_KEYS = ("input_ids", "attention_mask")


def _teller(
    on_step: Callable[[int, Tensor], None],
) -> Callable[[Any, int, Any, dict[str, Tensor]], dict[str, Tensor]]:
    """The pipeline's own callback, around ours."""

    def tell(
        pipeline: Any, step: int, timestep: Any, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        on_step(step, pipeline.scheduler.scale_model_input(state["latents"], timestep))
        return {}

    return tell

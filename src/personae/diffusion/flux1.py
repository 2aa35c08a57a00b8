"""FLUX.1: a rectified flow told its guidance as a number; with UNO, references in context too.

Source of the model: Black Forest Labs, FLUX.1 (2024); its arithmetic is that of diffusers'
``FluxPipeline``, which :meth:`Flux1Backbone.draw` calls and :meth:`Flux1Backbone.predict` agrees
with. References are UNO's (`uno`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.diffusion.backbone import Context, Limits
from personae.diffusion.flux1_limits import FLUX1_LORA_TARGETS
from personae.diffusion.guidance import guided_by_references
from personae.diffusion.pipelined import FlowBackbone, TwoEncoders, with_pooled_row
from personae.diffusion.uno import references_in_context, uno_positions
from personae.errors import DataError, RequestError

__all__ = ["Flux1Backbone", "Flux1Text"]


class Flux1Text(TwoEncoders):
    """Both text encoders of FLUX.1 as one: (B, first + L) ids to (B, L + 1, D).

    T5's last hidden state, and below it CLIP's pooled embedding as one more row, filled up with
    zeros.
    """

    def forward(self, ids: Tensor, first: int) -> Tensor:
        """See the class; ``first`` ids are CLIP's."""
        pooled = self.text_encoder(ids[:, :first]).pooler_output
        return with_pooled_row(self.text_encoder_2(ids[:, first:])[0], pooled)


class Flux1Backbone(FlowBackbone):
    """A ``FluxPipeline`` as a :class:`~personae.diffusion.backbone.Backbone`.

    Latents are (B, 64, H / 16, W / 16): the autoencoder's in patches of 2 x 2, shifted and scaled.
    ``guidance_told`` is the guidance that :meth:`predict` tells a network that wants one: 1, as
    UNO and MuDI train; `told_guidance` lends it another.
    """

    family = "flux1"
    lora_targets = FLUX1_LORA_TARGETS
    lora_prefix = "transformer"

    def __init__(
        self, pipeline: Any, *, name: str, limits: Limits, revision: str | None = None
    ) -> None:
        super().__init__(pipeline, name=name, limits=limits, revision=revision)
        self.text_encoder = Flux1Text(pipeline.text_encoder, pipeline.text_encoder_2)
        self.guidance_told = 1.0

    @property
    def text_shape(self) -> tuple[int, int]:
        """(L, D) of one embedded prompt: its words, and below them the pooled embedding."""
        return self.limits.prompt_tokens + 1, max(self._widths)

    @property
    def _widths(self) -> tuple[int, int]:
        """Numbers of a word, and of the pooled embedding."""
        config = self._inner.config
        return int(config.joint_attention_dim), int(config.pooled_projection_dim)

    @property
    def _first(self) -> int:
        return int(self.pipeline.tokenizer_max_length)

    def count_tokens(self, prompt: str) -> int:
        """T5's tokens of a prompt before it is cut to ``limits.prompt_tokens``."""
        return len(self.pipeline.tokenizer_2(prompt)["input_ids"])

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask of CLIP and of T5 side by side, (B, 77 + prompt_tokens) int64 each."""
        sizes = (self._first, self.limits.prompt_tokens)
        tokenizers = (self.pipeline.tokenizer, self.pipeline.tokenizer_2)
        made = [
            tokenizer(
                list(prompts),
                return_tensors="pt",
                padding="max_length",
                truncation=True,
                max_length=size,
            )
            for tokenizer, size in zip(tokenizers, sizes, strict=True)
        ]
        both = (torch.cat([item[key] for item in made], 1) for key in _KEYS)
        ids, mask = (item.to(self.device) for item in both)
        return ids, mask

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L + 1, D); gradients flow. The mask is not looked at, as in the pipeline."""
        text: Tensor = self.text_encoder(ids, self._first)
        return text

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to normalized latents (B, 64, H / 16, W / 16), the mode.

        Raises:
            RequestError: H or W is not a multiple of 16.
        """
        self.latent_shape(images.shape[-1], images.shape[-2])
        vae = self.pipeline.vae
        mode = vae.encode(2 * images.to(self.device, vae.dtype) - 1).latent_dist.mode()
        return F.pixel_unshuffle((mode - vae.config.shift_factor) * vae.config.scaling_factor, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Normalized latents to (B, 3, H, W), about [0, 1], not clamped; gradients flow."""
        vae = self.pipeline.vae
        unfolded = F.pixel_shuffle(latents.to(vae.dtype), 2) / vae.config.scaling_factor
        images: Tensor = vae.decode(unfolded + vae.config.shift_factor).sample
        return images / 2 + 0.5

    def predict(self, x: Tensor, time: Tensor, context: Context) -> Tensor:
        """Velocity (B, C, h, w) at x (B, C, h, w) and time (B,) in (0, 1]; gradients flow.

        Computed in the transformer's dtype, returned in that of x.
        """
        dtype, (words, pooled) = self.dtype, self._widths
        pictures = (x, *context.references)
        places = uno_positions(_sides(x), [_sides(item) for item in context.references])
        told = torch.full((len(x),), self.guidance_told, device=x.device, dtype=torch.float32)
        output = self.denoiser(
            hidden_states=torch.cat([_packed(item).to(dtype) for item in pictures], dim=1),
            timestep=(time * 1000).to(dtype) / 1000,  # rounded where the pipeline rounds
            guidance=told if self._inner.config.guidance_embeds else None,
            pooled_projections=context.text[:, -1, :pooled].to(dtype),
            encoder_hidden_states=context.text[:, :-1, :words].to(dtype),
            txt_ids=torch.zeros(context.text.shape[1] - 1, 3, device=x.device, dtype=dtype),
            img_ids=places.to(x.device, dtype),
            return_dict=False,
        )[0]
        said: Tensor = output[:, : x.shape[2] * x.shape[3]].to(x.dtype)
        return said.transpose(1, 2).reshape(x.shape)

    def times(self, steps: int, width: int, height: int) -> Tensor:
        """(steps + 1,) float32 on the CPU, falling from 1 to 0: exactly the pipeline's.

        FLUX.1 shifts equally spaced times t toward noise by a number mu that is a line in the
        number of tokens, ``exp(mu) t / (1 + (exp(mu) - 1) t)``; schnell does not.

        Raises:
            RequestError: ``steps`` is below 1.
        """
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        if steps < 1:
            raise RequestError(f"steps {steps}: expected at least 1")
        _, rows, columns = self.latent_shape(width, height)
        scheduler = copy.deepcopy(self.pipeline.scheduler)
        defaults = {"base_image_seq_len": 256, "max_image_seq_len": 4096}
        line = {**defaults, "base_shift": 0.5, "max_shift": 1.15}
        mu = calculate_shift(
            rows * columns, *(scheduler.config.get(*item) for item in line.items())
        )
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(
            sigmas=None if scheduler.config.get("use_flow_sigmas") else sigmas,
            num_inference_steps=steps,
            mu=mu,
        )
        times: Tensor = scheduler.sigmas
        return times

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
        """Draw one picture for each noise, all from one prompt and one set of references.

        Args:
            prompt: embedded once for all.
            references: (H, W, 3) uint8 each, at least 16 pixels a side, cropped at the center to
                multiples of 16; none where ``limits.reference_px`` is 0.
            width: of the pictures, in pixels.
            height: of the pictures, in pixels.
            latents: (B, C, h, w), the noise of each picture.
            steps: sampling steps.
            guidance: the number that the network is told; where it is told none, classifier-free
                guidance from the empty prompt, of which each step costs two passes above 1.
            reference_guidance: the scale of `guided_by_references`; other than 1, each pass is two.
            negative: what guidance turns away from, where it is none that is built in.
            on_step: told the 0-based step and the latents (B, C, h, w) after it.

        Returns:
            B pictures (H, W, 3) uint8.

        Raises:
            RequestError: the size or the shape of the noise does not fit, or the checkpoint takes
                no references.
            DataError: a reference is too small.
        """
        shape = self._checked_noise(latents, width, height)
        tokens, places = self._reference_tokens(references, shape)
        transformer = self._inner
        with (
            guided_by_references(transformer, shape[1] * shape[2], reference_guidance),
            references_in_context(transformer, tokens, places),
        ):
            pictures = self.pipeline(
                prompt=prompt,
                width=width,
                height=height,
                num_inference_steps=steps,
                **self._guidance(guidance, negative),
                num_images_per_prompt=len(latents),
                latents=_packed(latents),
                max_sequence_length=self.limits.prompt_tokens,
                callback_on_step_end=None if on_step is None else _teller(on_step, shape),
            ).images
        return [np.asarray(picture.convert("RGB"), dtype=np.uint8) for picture in pictures]

    def _guidance(self, scale: float, negative: str = "") -> dict[str, Any]:
        if self._inner.config.guidance_embeds:
            return {"guidance_scale": scale}
        return {"true_cfg_scale": scale, "negative_prompt": negative} if scale > 1 else {}

    def _reference_tokens(
        self, references: Sequence[np.ndarray], shape: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        """(1, M, C) tokens of all references, and their (M, 3) places."""
        if references and not self.limits.reference_px:
            raise RequestError(
                f"{len(references)} references: {self.name} takes none in context; load a UNO "
                "adapter, give it limits with a reference_px in personae.json, or leave them out"
            )
        with torch.no_grad():
            encoded = [self._encode_reference(item, k) for k, item in enumerate(references, 1)]
        places = uno_positions(shape[1:], [_sides(item) for item in encoded])
        tokens = [_packed(item) for item in encoded]
        empty = torch.zeros(1, 0, shape[0], device=self.device)
        return torch.cat(tokens or [empty], dim=1), places[shape[1] * shape[2] :]

    def _encode_reference(self, pixels: np.ndarray, index: int) -> Tensor:
        height, width = (side // self.multiple * self.multiple for side in pixels.shape[:2])
        if not height or not width:
            raise DataError(
                f"reference {index} of {pixels.shape[1]} x {pixels.shape[0]} pixels: expected at "
                f"least {self.multiple} a side; give one of about {self.limits.reference_px} x "
                f"{self.limits.reference_px}"
            )
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        cropped = pixels[top : top + height, left : left + width].copy()
        picture = torch.from_numpy(cropped).permute(2, 0, 1)[None] / 255
        return self.encode_image(picture.to(self.device, self.dtype))


_KEYS = ("input_ids", "attention_mask")


def _packed(latents: Tensor) -> Tensor:
    """(B, C, h, w) as tokens (B, h w, C)."""
    return latents.flatten(2).transpose(1, 2)


def _sides(latents: Tensor) -> tuple[int, int]:
    return int(latents.shape[2]), int(latents.shape[3])


def _teller(
    on_step: Callable[[int, Tensor], None], shape: tuple[int, int, int]
) -> Callable[[Any, int, Any, dict[str, Tensor]], dict[str, Tensor]]:
    """The pipeline's own callback, around ours."""

    def tell(
        pipeline: Any, step: int, timestep: Any, state: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        on_step(step, state["latents"].transpose(1, 2).reshape(-1, *shape))
        return {}

    return tell

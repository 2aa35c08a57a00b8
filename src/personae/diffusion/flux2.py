"""The FLUX.2 Klein family: flow matching, references in context beside the picture's tokens.

Source of the model: Black Forest Labs, FLUX.2 (2025); its arithmetic is that of diffusers'
``Flux2KleinPipeline``, which :meth:`Flux2Backbone.draw` calls and :meth:`Flux2Backbone.predict`
agrees with.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.diffusion.backbone import Context, Limits
from personae.diffusion.flux2_limits import LORA_TARGETS, klein_limits
from personae.diffusion.guidance import guided_by_references
from personae.diffusion.pipelined import FlowBackbone
from personae.errors import DataError, RequestError

__all__ = ["Flux2Backbone"]


class Flux2Backbone(FlowBackbone):
    """A ``Flux2KleinPipeline`` as a :class:`~personae.diffusion.backbone.Backbone`.

    Latents are (B, 4 * latent_channels, H / 16, W / 16): the autoencoder's, in patches of 2x2,
    normalized by its batch norm's running statistics.
    """

    family = "flux2"
    lora_targets = LORA_TARGETS
    lora_prefix = "transformer"

    def __init__(
        self, pipeline: Any, *, name: str, revision: str | None = None, limits: Limits | None = None
    ) -> None:
        chosen = limits or klein_limits(bool(pipeline.config.is_distilled))
        super().__init__(pipeline, name=name, limits=chosen, revision=revision)

    @property
    def text_shape(self) -> tuple[int, int]:
        """(L, D) of one embedded prompt."""
        return self.limits.prompt_tokens, int(self._inner.config.joint_attention_dim)

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (B, prompt_tokens) int64 each, through the chat template."""
        tokenizer = self.pipeline.tokenizer
        texts = [self._chat(prompt) for prompt in prompts]
        made = tokenizer(
            texts,
            return_tensors="pt",
            padding="max_length",
            truncation=True,
            max_length=self.limits.prompt_tokens,
        )
        return made["input_ids"].to(self.device), made["attention_mask"].to(self.device)

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt before it is cut to ``limits.prompt_tokens``."""
        return len(self.pipeline.tokenizer(self._chat(prompt))["input_ids"])

    def _chat(self, prompt: str) -> str:
        text: str = self.pipeline.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return text

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D): the hidden states ``limits.text_layers`` side by side; gradients flow."""
        output = self.text_encoder(
            input_ids=ids,
            attention_mask=mask,
            output_hidden_states=True,
            use_cache=False,
            logits_to_keep=1,  # the words it would say next are not wanted, and dear
        )
        return torch.cat([output.hidden_states[k] for k in self.limits.text_layers], dim=-1)

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to normalized latents (B, C, H / 16, W / 16), the mode.

        Raises:
            RequestError: H or W is not a multiple of 16.
        """
        self.latent_shape(images.shape[-1], images.shape[-2])
        vae = self.pipeline.vae
        moments = vae.encode(2 * images.to(self.device, vae.dtype) - 1).latent_dist
        mean, std = self._normalization()
        latents: Tensor = (self.pipeline._patchify_latents(moments.mode()) - mean) / std
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Normalized latents to (B, 3, H, W), about [0, 1], not clamped; gradients flow."""
        vae = self.pipeline.vae
        mean, std = self._normalization()
        patches = self.pipeline._unpatchify_latents(latents.to(vae.dtype) * std + mean)
        images: Tensor = vae.decode(patches, return_dict=False)[0] / 2 + 0.5
        return images

    def _normalization(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of latents, (1, C, 1, 1) each."""
        vae = self.pipeline.vae
        variance = vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps
        return vae.bn.running_mean.view(1, -1, 1, 1).to(vae.dtype), variance.sqrt().to(vae.dtype)

    def predict(self, x: Tensor, time: Tensor, context: Context) -> Tensor:
        """Velocity (B, C, h, w) at x (B, C, h, w) and time (B,) in (0, 1]; gradients flow.

        References stand after the picture's tokens, each at a time coordinate of its own (10,
        20, ...); what the network says at their places is not looked at. Computed in the
        transformer's dtype, returned in that of x.
        """
        pipeline, dtype = self.pipeline, self.dtype
        tokens = [pipeline._pack_latents(item) for item in (x, *context.references)]
        places = [pipeline._prepare_latent_ids(x[:1])]
        if context.references:
            places.append(pipeline._prepare_image_ids([item[:1] for item in context.references]))
        output = self.denoiser(
            hidden_states=torch.cat([item.to(dtype) for item in tokens], dim=1),
            encoder_hidden_states=context.text.to(dtype),
            timestep=(time * 1000).to(dtype) / 1000,  # rounded where the pipeline rounds
            txt_ids=pipeline._prepare_text_ids(context.text[:1]).to(x.device),
            img_ids=torch.cat(places, dim=1).to(x.device),
            guidance=None,
            return_dict=False,
        )[0]
        said: Tensor = output[:, : tokens[0].shape[1]].to(x.dtype)
        return said.transpose(1, 2).reshape(x.shape)

    def times(self, steps: int, width: int, height: int) -> Tensor:
        """(steps + 1,) float32 on the CPU, falling from 1 to 0: exactly the pipeline's.

        FLUX.2 shifts equally spaced times t toward noise by a number mu that an empirical
        formula takes from steps and size, ``exp(mu) t / (1 + (exp(mu) - 1) t)``.

        Raises:
            RequestError: ``steps`` is below 1.
        """
        from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

        if steps < 1:
            raise RequestError(f"steps {steps}: expected at least 1")
        _, rows, columns = self.latent_shape(width, height)
        scheduler = copy.deepcopy(self.pipeline.scheduler)
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(
            sigmas=None if scheduler.config.get("use_flow_sigmas") else sigmas,
            num_inference_steps=steps,
            mu=compute_empirical_mu(image_seq_len=rows * columns, num_steps=steps),
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
            references: (H, W, 3) uint8 each, at least 64 pixels a side; the pipeline crops
                them to multiples of 16 and shrinks them below 1024 x 1024 pixels.
            width: of the pictures, in pixels.
            height: of the pictures, in pixels.
            latents: (B, C, h, w), the noise of each picture.
            steps: sampling steps.
            guidance: classifier-free guidance scale; above 1 each step costs two passes.
            reference_guidance: the scale of `guided_by_references`; other than 1, each pass is two.
            negative: what guidance by the prompt turns away from; empty: the empty prompt.
            on_step: told the 0-based step and the latents (B, C, h, w) after it.

        Returns:
            B pictures (H, W, 3) uint8.

        Raises:
            RequestError: the size or the shape of the noise does not fit.
            DataError: a reference is too small or too long for the pipeline.
        """
        shape = self._checked_noise(latents, width, height)
        num_tokens = shape[1] * shape[2]
        with guided_by_references(self.pipeline.transformer, num_tokens, reference_guidance):
            pictures = self.pipeline(
                image=[self._reference(pixels, k) for k, pixels in enumerate(references, 1)]
                or None,
                prompt=prompt,
                width=width,
                height=height,
                num_inference_steps=steps,
                guidance_scale=1.0 if self.pipeline.config.is_distilled else guidance,
                negative_prompt_embeds=self.encode_prompt([negative]) if negative else None,
                num_images_per_prompt=len(latents),
                latents=latents,
                max_sequence_length=self.limits.prompt_tokens,
                text_encoder_out_layers=self.limits.text_layers,
                callback_on_step_end=None if on_step is None else _teller(on_step, shape),
            ).images
        return [np.asarray(picture.convert("RGB"), dtype=np.uint8) for picture in pictures]

    def _reference(self, pixels: np.ndarray, index: int) -> Image.Image:
        picture = Image.fromarray(pixels)
        try:
            self.pipeline.image_processor.check_image_input(picture)
        except ValueError as error:
            raise DataError(
                f"reference {index} of {picture.width} x {picture.height} pixels: {error}; "
                f"give one of about {self.limits.reference_px} x {self.limits.reference_px}"
            ) from error
        return picture


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

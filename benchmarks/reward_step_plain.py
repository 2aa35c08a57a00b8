"""ReReFL the most direct way: the pipeline's parts in a loop, nothing kept from step to step.

What `reward_step` measures ours against. Prompt and references are encoded in every step and the
pictures read again, examples go one by one (the pipeline takes one set of references at a time),
the loss follows the paper's lines, and one backward pass goes through all of it. With
``frozen=False`` the encoders are as ``from_pretrained`` leaves them, with parameters that want a
gradient; with ``frozen=True`` somebody thought of `torch.no_grad`.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu, retrieve_timesteps
from PIL import Image
from torch import Tensor

from personae.diffusion.backbone import Backbone
from personae.diffusion.lora import add_lora
from personae.subjects.subject import Reference
from personae.training.rewards.asked import Asked, Reward

__all__ = ["PlainReReFL"]


class PlainReReFL:
    """UMO's Algorithm 1, written down."""

    def __init__(
        self, backbone: Backbone, reward: Reward, examples: Path, rank: int, *, frozen: bool
    ) -> None:
        self.pipe: Any = backbone.pipeline
        self.limits, self.reward, self.frozen = backbone.limits, reward, frozen
        params = add_lora(backbone, rank, float(rank)).values()
        self.optimizer = torch.optim.AdamW(params, lr=5e-6)
        self.folder = examples.parent
        self.lines = [json.loads(line) for line in examples.read_text().splitlines()]
        self.device, self.dtype = backbone.device, backbone.dtype
        self.others = (self.pipe.text_encoder, self.pipe.vae)
        for module in self.others:
            module.requires_grad_(not frozen)
        self.number = 0

    def step(self, batch: int, steps: int, start: int) -> None:
        """One update: ``start`` steps of ``steps`` without a gradient, the next one with."""
        for _ in range(batch):
            line = self.lines[self.number % len(self.lines)]
            self.number += 1
            with torch.autocast(self.device.type, enabled=self.dtype == torch.bfloat16):
                loss = self.loss(line, steps, start) / batch
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for module in self.others:
            module.zero_grad()

    def loss(self, line: dict[str, Any], steps: int, start: int) -> Tensor:
        pipe = self.pipe
        arrays = [np.asarray(Image.open(self.folder / name)) for name in line["references"]]
        target_pixels = self.pixels(np.asarray(Image.open(self.folder / line["image"])))
        height, width = target_pixels.shape[-2:]
        with torch.no_grad() if self.frozen else nullcontext():
            text, text_ids = pipe.encode_prompt(
                line["prompt"],
                device=self.device,
                max_sequence_length=self.limits.prompt_tokens,
                text_encoder_out_layers=self.limits.text_layers,
            )
            side = self.limits.reference_px
            shown = [Image.fromarray(array).resize((side, side)) for array in arrays]
            refs, ref_ids = pipe.prepare_image_latents(
                [self.pixels(np.asarray(one)) for one in shown], 1, None, self.device, self.dtype
            )
            target = pipe._encode_vae_image(target_pixels, None)

        def velocity(x: Tensor, ids: Tensor, time: Tensor) -> Tensor:
            said = pipe.transformer(
                hidden_states=torch.cat([x.to(self.dtype), refs], dim=1),
                timestep=time.to(self.dtype).expand(1),
                guidance=None,
                encoder_hidden_states=text,
                txt_ids=text_ids,
                img_ids=torch.cat([ids, ref_ids], dim=1),
                return_dict=False,
            )[0]
            return said[:, : x.shape[1]]

        x0, ids = pipe.prepare_latents(
            1, target.shape[1] // 4, height, width, self.dtype, self.device, None, target
        )
        time, noise = torch.rand(1, device=self.device), torch.randn_like(x0)
        said = velocity((1 - time) * x0 + time * noise, ids, time)
        flow_loss = (said.float() - (noise - x0).float()).square().mean()

        timesteps, _ = retrieve_timesteps(
            pipe.scheduler,
            steps,
            self.device,
            sigmas=np.linspace(1.0, 1 / steps, steps),
            mu=compute_empirical_mu(image_seq_len=x0.shape[1], num_steps=steps),
        )
        x = torch.randn_like(x0)
        with torch.no_grad():
            for now in timesteps[:start]:
                x = pipe.scheduler.step(velocity(x, ids, now / 1000), now, x, return_dict=False)[0]
        now = timesteps[start] / 1000
        clean = x - now * velocity(x, ids, now)
        latents = pipe._unpack_latents_with_ids(clean, ids)
        mean = pipe.vae.bn.running_mean.view(1, -1, 1, 1)
        std = (pipe.vae.bn.running_var.view(1, -1, 1, 1) + pipe.vae.config.batch_norm_eps).sqrt()
        latents = pipe._unpatchify_latents(latents * std + mean).to(self.dtype)
        picture = pipe.vae.decode(latents, return_dict=False)[0] / 2 + 0.5
        asked = Asked({str(k): (Reference(array),) for k, array in enumerate(arrays)})
        return flow_loss - self.reward(picture.float(), [asked]).values.mean()

    def pixels(self, array: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H, W) in [-1, 1]."""
        held = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].to(self.device, self.dtype)
        return held / 127.5 - 1

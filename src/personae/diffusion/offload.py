"""Parts that training needs only now and then wait on the CPU, and visit the GPU when called."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from personae.diffusion.backbone import Backbone

__all__ = ["offload", "offload_prompts_and_references"]

_CPU = torch.device("cpu")


def offload_prompts_and_references(backbone: Backbone) -> list[nn.Module]:
    """Text encoder and the autoencoder's encoder off the GPU; both still work, only slower.

    For a run whose prompts and pictures are encoded already: what draws a sample sheet or a
    validation picture brings them back for as long as a call takes. The encoder's first layer
    stays, for by it diffusers tells where a pipeline is.

    Returns:
        The modules that moved.
    """
    moved = [backbone.text_encoder, *_encoder_blocks(backbone)]
    for module in moved:
        offload(module, backbone.device)
    return moved


def offload(module: nn.Module, device: torch.device) -> None:
    """Keep a frozen module on the CPU, and on ``device`` for as long as each call of it takes."""

    def bring(module: nn.Module, *given: Any) -> None:
        module.to(device)

    def send_away(module: nn.Module, *given: Any) -> None:
        module.to(_CPU)

    module.to(_CPU)
    module.register_forward_pre_hook(bring)
    module.register_forward_hook(send_away, always_call=True)


def _encoder_blocks(backbone: Backbone) -> list[nn.Module]:
    encoder = getattr(getattr(backbone.pipeline, "vae", None), "encoder", None)
    if encoder is None:
        return []
    blocks: list[nn.Module] = []
    for name, child in encoder.named_children():
        if name != "conv_in":
            blocks += list(child) if isinstance(child, nn.ModuleList) else [child]
    return blocks

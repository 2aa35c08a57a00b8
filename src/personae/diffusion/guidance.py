"""Guidance by the references, for a diffusers pipeline that has guidance by the prompt alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["guided", "guided_by_references", "told_guidance"]


def guided(told: Tensor, untold: Tensor, scale: float) -> Tensor:
    """Away from what is said without the condition: untold + scale (told - untold).

    Source: Ho and Salimans 2022, arXiv 2207.12598, Eq. 6, with scale = 1 + w.
    """
    return untold + scale * (told - untold)


@contextmanager
def told_guidance(backbone: Any, scale: float) -> Iterator[float]:
    """While this lasts, `Backbone.predict` tells its network this guidance, if it wants one.

    Yields:
        The scale of classifier-free guidance that is left to the caller: 1 where it was told.
    """
    if not backbone.limits.guidance_embedded:
        yield scale
        return
    before, backbone.guidance_told = backbone.guidance_told, scale
    try:
        yield 1.0
    finally:
        backbone.guidance_told = before


@contextmanager
def guided_by_references(transformer: nn.Module, num_tokens: int, scale: float) -> Iterator[None]:
    r"""While this lasts, what a FLUX transformer says of a picture is guided by its references.

    .. math:: \hat v(x, c) = v(x, c, \varnothing)
              + s \, \big( v(x, c, R) - v(x, c, \varnothing) \big)

    for whatever prompt c a pipeline asks it with, so that guidance by the prompt comes on top:
    :math:`\hat v(\varnothing) + g (\hat v(c) - \hat v(\varnothing))`. InstructPix2Pix (Brooks
    et al. 2023, arXiv 2211.09800, Eq. 3) has two scales too; there the difference made by the
    picture is taken at the empty prompt only, which saves a pass where both are used.

    Args:
        transformer: takes ``hidden_states`` (B, N, C) and ``img_ids`` by name, the picture's
            tokens before those of the references.
        num_tokens: of the picture.
        scale: s; 1 is none, and costs nothing. Otherwise every pass is two.
    """
    if scale == 1:
        yield
        return

    def hook(
        module: nn.Module, _: tuple[Any, ...], kwargs: Mapping[str, Any], output: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        if kwargs["hidden_states"].shape[1] == num_tokens:
            return output
        kept = {
            **kwargs,
            "hidden_states": kwargs["hidden_states"][:, :num_tokens],
            "img_ids": kwargs["img_ids"][..., :num_tokens, :],
        }
        # Not by a call of the module, which would come here again.
        (untold,) = module.forward(**kept)
        (told,) = output
        said = guided(told[:, :num_tokens], untold[:, :num_tokens], scale)
        return (torch.cat([said, told[:, num_tokens:]], dim=1),)

    # Before other hooks: what they do with a prediction, they do with a guided one.
    handle = transformer.register_forward_hook(hook, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()

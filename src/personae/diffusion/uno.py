"""UNO's reference conditioning: clean latents behind the picture's tokens, on a diagonal of places.

Wu et al., Less-to-More Generalization (2025), arXiv 2504.02160: references go through the same
autoencoder and the same first layer as the picture, attend with it, and what the network says at
their places is not looked at. UnoPE gives them places to the lower right of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["references_in_context", "uno_positions"]


def uno_positions(picture: tuple[int, int], references: Sequence[tuple[int, int]]) -> Tensor:
    r"""Places of all tokens, (N, 3) float32: (0, row, column), in tokens (UnoPE, Eq. 8).

    The picture's begin at (0, 0). Those of reference n begin at the sum of the heights and of the
    widths of the picture and of all references before it:

    .. math:: \Delta_1 = (h, w), \qquad \Delta_{n+1} = \Delta_n + (h_n, w_n)

    Args:
        picture: (rows, columns) of tokens.
        references: the same of each.

    >>> uno_positions((1, 2), [(1, 1), (1, 2)]).int().tolist()
    [[0, 0, 0], [0, 0, 1], [0, 1, 2], [0, 2, 3], [0, 2, 4]]
    """
    places, row, column = [], 0, 0
    for rows, columns in (picture, *references):
        grid = torch.zeros(rows, columns, 3)
        grid[..., 1] = torch.arange(row, row + rows)[:, None]
        grid[..., 2] = torch.arange(column, column + columns)
        places.append(grid.reshape(-1, 3))
        row, column = row + rows, column + columns
    return torch.cat(places)


@contextmanager
def references_in_context(transformer: nn.Module, tokens: Tensor, places: Tensor) -> Iterator[None]:
    """While this lasts, a FLUX.1 transformer sees these tokens behind the picture's.

    A pipeline that knows of no references calls it as ever: a hook appends them to what goes in,
    and another cuts them off what comes out.

    Args:
        transformer: takes ``hidden_states`` (B, N, C) and ``img_ids`` (N, 3) by name.
        tokens: (1, M, C) of all references; M = 0 changes nothing.
        places: (M, 3) of them.
    """
    if not tokens.shape[1]:
        yield
        return

    def append(
        module: nn.Module, given: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        x, ids = kwargs["hidden_states"], kwargs["img_ids"]
        behind = tokens.to(x).expand(len(x), -1, -1)
        more = {
            "hidden_states": torch.cat([x, behind], dim=1),
            "img_ids": torch.cat([ids, places.to(ids)], dim=0),
        }
        return given, {**kwargs, **more}

    def cut(module: nn.Module, given: Any, output: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (output[0][:, : -tokens.shape[1]], *output[1:])

    handles = [
        transformer.register_forward_pre_hook(append, with_kwargs=True),
        transformer.register_forward_hook(cut),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

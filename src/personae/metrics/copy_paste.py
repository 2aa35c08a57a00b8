"""Copying: is the picture nearer to the reference than an honest picture would be?"""

from __future__ import annotations

import torch
from torch import Tensor

from personae.metrics.arrays import Array, as_tensor, like

__all__ = ["copy_paste", "copy_paste_reference"]

# The angle between target and reference below which they are one picture: nothing to tell apart.
_MIN_ANGLE = 1e-4


def copy_paste(
    to_target: Array | float, to_reference: Array | float, target_reference: Array | float
) -> Array:
    r"""M_CP (WithAnyone): 1 is a pure copy of the reference, -1 the target itself; lower is better.

    .. math:: (\theta_{gt} - \theta_{gr}) / \max(\theta_{tr}, \epsilon), \quad
              \theta_{ab} = \arccos \mathrm{sim}(a, b)

    of generated g, target t and reference r, from their cosines in [-1, 1], clipped to [-1, 1].

    >>> round(float(copy_paste(np.array(0.5), np.array(1.0), np.array(0.5))), 3)
    1.0
    """
    gt, gr, tr = (_angle(value) for value in (to_target, to_reference, target_reference))
    return like(((gt - gr) / tr.clamp(min=_MIN_ANGLE)).clamp(-1, 1), _first(to_target))


def copy_paste_reference(to_references: Array, reference_similarity: Array) -> Array:
    r"""M_CP where no target is given: each other reference stands in for it; lower is better.

    .. math:: \max_r \mathrm{mean}_{t \ne r} M_{CP}(g; t, r)

    ``to_references`` (R,) cosines of the generated subject to each reference,
    ``reference_similarity`` (R, R) among them -> scalar in [-1, 1]. With one reference there is
    nothing to stand in: NaN, for the caller to mark unmeasured. It says how much nearer the
    picture is to one reference than that reference is to the others.

    >>> among = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> round(float(copy_paste_reference(np.array([1.0, 0.5]), among)), 3)
    1.0
    """
    generated, among = as_tensor(to_references), as_tensor(reference_similarity)
    count = generated.shape[0]
    if count < 2:
        return like(generated.new_tensor(torch.nan), to_references)
    angles, between = _angle(generated), _angle(among).clamp(min=_MIN_ANGLE)
    copied = ((angles[None, :] - angles[:, None]) / between).clamp(-1, 1)
    off_diagonal = 1 - torch.eye(count, dtype=copied.dtype, device=copied.device)
    score = (copied * off_diagonal).sum(dim=1) / (count - 1)
    return like(score.amax(), to_references)


def _angle(cosine: Array | float) -> Tensor:
    """Arc cosine; a hair inside the ends, where its gradient has no bound."""
    tensor = torch.as_tensor(cosine, dtype=None)
    tensor = tensor if tensor.is_floating_point() else tensor.double()
    edge = 1 - 1e-9 if tensor.dtype == torch.float64 else 1 - 1e-6
    return torch.arccos(tensor.clamp(-edge, edge))


def _first(value: Array | float) -> Array:
    import numpy as np

    return value if isinstance(value, Tensor) else np.asarray(value)  # type: ignore[return-value]

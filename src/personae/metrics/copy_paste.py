"""Copy-paste: is the picture closer to a reference photo than to how the subject should look?"""

from __future__ import annotations

import torch
from torch import Tensor

from personae.errors import DataError
from personae.metrics.array_or_tensor import Array, finite, like

__all__ = ["copy_paste", "copy_paste_reference"]

# A reference nearer than this to the target (in radians) says nothing about copying.
_LEAST_ANGLE = 1e-6
# Within this of a cosine of 1 or -1 the angle has no usable slope.
_EDGE = 1e-6


def copy_paste(to_target: Array, to_reference: Array, target_reference: Array) -> Array:
    r"""M_CP of WithAnyone (arXiv 2510.14975): 1 a pure copy of the reference, lower is better.

    .. math:: \mathrm{clip}\left(\frac{\theta_{gt} - \theta_{gr}}{\max(\theta_{tr}, \epsilon)},
              -1, 1\right), \qquad \theta_{ab} = \arccos \cos(a, b)

    with g the generated subject, t the target (how it should look here), r the reference. Three
    cosines of any shapes that broadcast -> that shape, in [-1, 1]. With a target that equals its
    reference (angle 0) copying and success are one: any difference at all is then -1 or 1.

    Raises:
        DataError: a cosine is NaN or infinite.

    >>> import numpy as np
    >>> float(copy_paste(np.array(0.5), np.array(1.0), np.array(0.5)))
    1.0
    """
    generated_target = _angle(finite(to_target, "to_target"))
    generated_reference = _angle(finite(to_reference, "to_reference"))
    apart = _angle(finite(target_reference, "target_reference")).clamp(min=_LEAST_ANGLE)
    value = ((generated_target - generated_reference) / apart).clamp(-1, 1)
    return like(value, to_target)


def copy_paste_reference(to_references: Array, reference_similarity: Array) -> Array:
    r"""Copy-paste where no target is given: is one reference copied, rather than the subject kept?

    .. math:: \max_r \; \mathrm{mean}_{t \ne r} \; M_{CP}(g, t, r)

    Each other reference stands in as the target. ``to_references`` (R,) cosines of the generated
    subject, ``reference_similarity`` (R, R) of the references -> a number in [-1, 1]; lower is
    better, 1 is a pure copy of one reference. Ours, after WithAnyone; not comparable with
    ``copy_paste``. With a single reference NaN: the caller marks it unmeasured.

    Raises:
        DataError: a cosine is NaN or infinite, or sizes that do not fit.

    >>> import numpy as np
    >>> float(copy_paste_reference(np.array([1.0, 0.5]), np.array([[1.0, 0.5], [0.5, 1.0]])))
    1.0
    """
    generated = finite(to_references, "to_references")
    between = finite(reference_similarity, "reference_similarity").to(generated)
    count = generated.shape[0] if generated.ndim == 1 else -1
    if tuple(between.shape) != (count, count):
        raise DataError(
            f"to_references {tuple(generated.shape)} and reference_similarity "
            f"{tuple(between.shape)}: expected (R,) and (R, R)"
        )
    if count < 2:
        return like(generated.new_full((), torch.nan), to_references)
    copied = copy_paste(generated[None, :], generated[:, None], between)  # (R copied, R target)
    itself = torch.eye(count, dtype=torch.bool, device=generated.device)
    means = copied.masked_fill(itself, 0).sum(-1) / (count - 1)
    return like(means.max(), to_references)


def _angle(cosine: Tensor) -> Tensor:
    """Arc cosine, exact in value; at the ends, where the slope is infinite, without gradient."""
    inside = torch.where(cosine.abs() < 1 - _EDGE, cosine, cosine.detach())
    return inside.clamp(-1, 1).acos()

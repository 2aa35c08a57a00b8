"""From an embedder's own score to a common similarity: strangers near 0, the same near 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from personae.errors import DataError

__all__ = ["Calibration", "fit_calibration"]


@dataclass(frozen=True)
class Calibration:
    r"""A monotone, differentiable map from a raw score to a similarity in (0, 1).

    .. math:: c(x) = \sigma\left(\frac{x - m}{w}\right)

    x is the embedder's raw score, higher for more alike: a cosine, or a negative squared
    distance. ``midpoint`` m is the score that says nothing either way (it maps to 0.5),
    ``width`` w > 0 the distance from it, in units of the score, that maps to 0.73.
    ``source`` names the data that both were fitted on.

    Raises:
        DataError: the width is not a positive number, or the midpoint is not finite.

    >>> calibration = Calibration(midpoint=0.5, width=0.1, source="made up")
    >>> calibration(torch.tensor([0.2, 0.5, 0.8])).round(decimals=3)
    tensor([0.0470, 0.5000, 0.9530])
    """

    midpoint: float
    width: float
    source: str

    def __post_init__(self) -> None:
        finite = math.isfinite(self.midpoint) and math.isfinite(self.width)
        if not (finite and self.width > 0):
            raise DataError(
                f"calibration ({self.source}): midpoint {self.midpoint}, width {self.width}; "
                "expected finite numbers and a width above 0"
            )

    def __call__(self, raw: Tensor) -> Tensor:
        """Raw scores of any shape -> similarities in [0, 1] of the same shape."""
        return torch.sigmoid((raw - self.midpoint) / self.width)


def fit_calibration(
    same: np.ndarray, different: np.ndarray, source: str, ends: float = 0.95
) -> Calibration:
    r"""The calibration that puts the median same pair at ``ends`` and the median other at 1 - it.

    .. math:: m = \tfrac12 (\tilde s + \tilde d), \qquad
              w = \frac{\tilde s - \tilde d}{2 \ln(e / (1 - e))}

    with :math:`\tilde s` and :math:`\tilde d` the medians of the raw scores of pairs of the same
    and of different subjects, e = ``ends`` in (0.5, 1). Medians: a mislabeled pair moves nothing.

    Raises:
        DataError: no pairs, or the scores do not tell the same from different.

    >>> fit_calibration(np.array([0.9, 0.8, 0.7]), np.array([0.25, 0.25]), "made up").midpoint
    0.525
    """
    if not (len(same) and len(different)):
        raise DataError(
            f"calibration ({source}): {len(same)} same and {len(different)} different pairs; "
            "expected at least one of each"
        )
    high, low = float(np.median(same)), float(np.median(different))
    if not high > low:
        raise DataError(
            f"calibration ({source}): same pairs score {high:.4g}, different ones {low:.4g}; "
            "expected same above different (is a distance missing its minus sign?)"
        )
    return Calibration((high + low) / 2, (high - low) / (2 * math.log(ends / (1 - ends))), source)

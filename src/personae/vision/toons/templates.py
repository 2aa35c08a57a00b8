"""Where a toon's landmarks belong in an aligned crop."""

from __future__ import annotations

import numpy as np

from personae.vision.faces.align import FaceTemplate

__all__ = ["toon_template"]

# The mean landmarks of a toon, in half heads from the middle of its head (`personae.toons`): eye
# on the left of the picture, eye on its right, nose, left and right corner of the mouth.
_MEAN_FACE = np.array([[-0.355, 0.05], [0.355, 0.05], [0.0, 0.32], [-0.226, 0.585], [0.226, 0.585]])


def toon_template(name: str, side_px: int, extent: float, below: float) -> FaceTemplate:
    """A square crop of ``side_px`` that spans ``extent`` half heads, upright.

    Its middle lies ``below`` half heads below the middle of the head.

    >>> toon_template("whole head", 64, 2.0, 0.0).points.round(1)[2]
    array([31.5, 41.7])
    """
    points = (_MEAN_FACE - [0.0, below]) * side_px / extent + (side_px - 1) / 2
    return FaceTemplate(name, side_px, points)

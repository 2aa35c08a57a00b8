"""What filters ask by default: it depends on the eyes that look, and was measured with them.

Where each number comes from: docs/numbers.md, "Filters" (``python benchmarks/filter_curves.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

__all__ = ["THRESHOLDS", "Thresholds", "thresholds"]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits of filters of faces, in the calibrated similarity of some eyes, and in pixels.

    Attributes:
        same: two faces are of one person from this similarity on.
        different: and of two up to this one.
        most_copied: from this correlation on a face is a copy (`copied`).
        least_px: the shorter side of a face's box.
        least_sharp: of a face at 64 pixels (`looks.sharpness`).
    """

    same: float
    different: float
    most_copied: float
    least_px: float
    least_sharp: float

    def over(self, **told: float | None) -> Thresholds:
        """With those that somebody asked for; None asks for nothing."""
        return replace(self, **{name: value for name, value in told.items() if value is not None})


THRESHOLDS: Mapping[str, Thresholds] = MappingProxyType(
    {
        # Test toons. same: keeps 98 in 100 of the same and 72 of look-alikes; of 599 strangers
        # none comes to 0.4, and 99 look-alikes in 100 do. most_copied: 5 in 100 other views of the
        # same face go too, 95 to 100 in 100 copies, 81 of those that were cut out. least_px: at 24
        # pixels all are found and 83 in 100 known at 0.8, below it one in five is not found; 28
        # would drop half of the scenes of five. least_sharp: at 15 98 are known, below it 89.
        "toons": Thresholds(
            same=0.8, different=0.4, most_copied=0.8, least_px=24.0, least_sharp=15.0
        ),
        # 190 pairs of 20 generated strangers: 19 in 100 pass for the same at 0.9, 31 cannot be told
        # apart at 0.4. No two pictures of one person are among them, so what `same` loses is not
        # measured, nor is most_copied. Sizes by how like itself a photograph stays.
        "dlib": Thresholds(
            same=0.9, different=0.4, most_copied=0.8, least_px=32.0, least_sharp=20.0
        ),
    }
)
# Eyes that nobody measured: what the calibrated similarity was made for.
_OTHERS = Thresholds(same=0.6, different=0.4, most_copied=0.8, least_px=32.0, least_sharp=20.0)


def thresholds(eyes: str) -> Thresholds:
    """Of eyes as ``--faces`` takes them; of those that were not measured, guesses.

    >>> thresholds("toons").same, thresholds("arcface:net.onnx").same
    (0.8, 0.6)
    """
    return THRESHOLDS.get(eyes, _OTHERS)

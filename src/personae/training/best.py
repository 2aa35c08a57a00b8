"""Which step was the best so far, by a measure that nothing is trained for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["OVER", "Best"]

OVER = "over-optimization"
"""Why a run ends early by its own rule: the third measure has stopped growing."""


@dataclass
class Best:
    """The best look so far.

    Attributes:
        step: when; None before the first look.
        value: of the measure.
        worse_in_a_row: looks since then.
    """

    step: int | None = None
    value: float | None = None
    worse_in_a_row: int = 0

    def compare(self, step: int, value: float) -> bool:
        """Is this the best yet? Ties go to the earlier one.

        >>> best = Best()
        >>> [best.compare(step, value) for step, value in [(1, 0.5), (2, 0.4), (3, 0.6)]]
        [True, False, True]
        """
        if self.value is not None and value <= self.value:
            self.worse_in_a_row += 1
            return False
        self.step, self.value, self.worse_in_a_row = step, value, 0
        return True

    def as_data(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

"""A score: one picture, one metric, perhaps one subject; a number, a finding, or a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Score"]


@dataclass(frozen=True)
class Score:
    """What a metric says of a picture, or of one subject in it.

    Exactly one of ``value`` and ``reason`` is there: a number, or why none could be had. An absent
    subject is a finding: value 0, with ``absent`` in its details.

    >>> Score.absent("presence", "ann").value
    0.0
    >>> Score.unmeasured("presence", "no face in reference ann.jpg", "ann").value is None
    True
    """

    metric: str
    subject: str | None
    value: float | None
    reason: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, metric: str, value: float, subject: str | None = None, **details: Any) -> Score:
        """A measured score; NaN is a mistake of the caller."""
        if not math.isfinite(value):
            raise ValueError(
                f"{metric} of {subject}: {value} is no score; say why it is unmeasured"
            )
        return cls(metric, subject, float(value), None, details)

    @classmethod
    def absent(cls, metric: str, subject: str | None = None, **details: Any) -> Score:
        """The subject was looked for and is not there: 0, and counted."""
        return cls(metric, subject, 0.0, None, {"absent": True, **details})

    @classmethod
    def unmeasured(
        cls, metric: str, reason: str, subject: str | None = None, **details: Any
    ) -> Score:
        """It could not be looked at, and why."""
        return cls(metric, subject, None, reason, details)

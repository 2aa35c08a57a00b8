"""What a run does besides stepping its optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from personae.training.methods import Method
from personae.training.validation import Validation

__all__ = ["Chosen"]


@dataclass(frozen=True, eq=False)
class Chosen:
    """What does the steps, and what looks at the result on the way; see `choose`."""

    method: Method
    validation: Validation | None

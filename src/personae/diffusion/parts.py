"""One part of a pipeline, as its configuration file describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PartConfig"]


@dataclass(frozen=True)
class PartConfig:
    """One part of a pipeline: the library and class that make it, and its configuration."""

    library: str
    kind: str
    config: Mapping[str, Any]

"""Subjects and their references: what must stay itself, and the photos that say what that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from personae.errors import DataError

__all__ = ["KINDS", "Kind", "Reference", "ReferenceFile", "Subject"]

Kind = Literal["person", "animal", "object"]
KINDS: tuple[Kind, ...] = ("person", "animal", "object")


@dataclass(frozen=True, eq=False)
class Reference:
    """One photo of a subject: image (H, W, 3) uint8 RGB, mask (H, W) bool or None.

    The mask, where given, is True on the subject. ``path`` names the file in messages.
    """

    image: np.ndarray
    mask: np.ndarray | None = None
    path: str = "(in memory)"

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise DataError(
                f"{self.path}: a reference is (H, W, 3) uint8 RGB; "
                f"got {self.image.shape} {self.image.dtype}"
            )
        if self.mask is not None and self.mask.shape != self.image.shape[:2]:
            raise DataError(
                f"{self.path}: mask {self.mask.shape} does not fit photo {self.image.shape[:2]}; "
                "make the mask again from this very photo, or remove it"
            )
        if self.mask is not None and not self.mask.any():
            raise DataError(f"{self.path}: the mask is empty; expected white on the subject")


@dataclass(frozen=True)
class ReferenceFile:
    """Where a reference lies: the photo and, where there is one, its mask."""

    image: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Subject:
    """What must stay itself: its id, its class noun, its kind, where its references lie.

    ``target`` is a picture of how it should look in this scene, for copy-paste measures.
    """

    id: str
    noun: str
    kind: Kind
    references: tuple[ReferenceFile, ...] = field(default=())
    target: ReferenceFile | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise DataError("a subject needs an id; got an empty one")
        if self.kind not in KINDS:
            raise DataError(f"subject {self.id!r}: kind is one of {KINDS}; got {self.kind!r}")
        if not self.references:
            raise DataError(f"subject {self.id!r} has no reference; give it at least one photo")

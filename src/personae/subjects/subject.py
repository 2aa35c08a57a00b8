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
    """Where a reference lies: the photo and, where there is one, its mask.

    ``caption`` says what the photo shows, with each subject's id in braces (``"{cat} on a sofa"``);
    ``source``, ``license`` and ``consent`` say where it is from and what may be done with it.
    """

    image: Path
    mask: Path | None = None
    caption: str | None = None
    source: str | None = None
    license: str | None = None
    consent: str | None = None


@dataclass(frozen=True)
class Subject:
    """What must stay itself: its id, its class noun, its kind, where its references lie.

    ``target`` is a picture of how it should look in this scene, for copy-paste measures. ``token``
    is the rare word that a model was taught to know it by (``"olis"``), where it was.
    """

    id: str
    noun: str
    kind: Kind
    references: tuple[ReferenceFile, ...] = field(default=())
    target: ReferenceFile | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise DataError("a subject needs an id; got an empty one")
        if self.kind not in KINDS:
            raise DataError(f"subject {self.id!r}: kind is one of {KINDS}; got {self.kind!r}")
        if not self.references:
            raise DataError(f"subject {self.id!r} has no reference; give it at least one photo")
        if self.token is not None and (not self.token or self.token != "".join(self.token.split())):
            raise DataError(
                f"subject {self.id!r}: a token is one word without spaces; got {self.token!r}"
            )

    @property
    def name(self) -> str:
        """How a model that was taught its token is told of it: token and noun.

        >>> Subject("cat", "grey cat", "animal", (ReferenceFile(Path("c.jpg")),), token="hta").name
        'hta grey cat'
        """
        return self.noun if self.token is None else f"{self.token} {self.noun}"

"""What a judge is asked: words, pictures, and whether a mark or a yes is wanted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from personae.errors import DataError
from personae.subjects.scene import Claim

__all__ = ["HIGHEST_MARK", "Question", "QuestionKind", "Shown"]

QuestionKind = Literal["mark", "yes_no"]
HIGHEST_MARK = 10.0
"""Marks run from 0 to this one; higher is better."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A reference that goes with a question: (H, W, 3) uint8, whom it shows.

    ``subject`` is the id by which claims name whom it shows, ``noun`` what a model is told that it
    shows.
    """

    image: np.ndarray
    subject: str | None = None
    noun: str | None = None

    def __post_init__(self) -> None:
        _check_picture(self.image, f"reference of {self.subject or self.noun or 'a question'}")


@dataclass(frozen=True, eq=False)
class Question:
    """One question about one picture (H, W, 3) uint8.

    ``kind`` "mark" wants a number from 0 to 10 (higher is better), "yes_no" one of two words.
    ``criterion`` names what is judged, for rows and for counting ("psr_action"), ``words`` ask it.
    ``references`` are shown behind the picture, in their order. ``claims`` say the same as the
    words in a form that a drawn world can prove; models are not told them.

    Raises:
        DataError: another kind, no words, or something that is no picture.
    """

    kind: QuestionKind
    criterion: str
    words: str
    picture: np.ndarray
    references: tuple[Shown, ...] = ()
    claims: tuple[Claim, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("mark", "yes_no"):
            raise DataError(f"question {self.criterion!r}: kind is mark or yes_no; got {self.kind}")
        if not self.words.strip():
            raise DataError(f"question {self.criterion!r} has no words; say what is to be judged")
        _check_picture(self.picture, f"question {self.criterion!r}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that it asks and shows: same digest, same question."""
        digest = hashlib.sha256(repr((self.kind, self.criterion, self.words)).encode())
        _add_picture(digest, self.picture)
        for shown in self.references:
            digest.update(repr((shown.subject, shown.noun)).encode())
            _add_picture(digest, shown.image)
        digest.update(repr(self.claims).encode())
        return digest.hexdigest()


def _check_picture(image: np.ndarray, where: str) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise DataError(
            f"{where}: expected a picture (H, W, 3) uint8 RGB; got {image.shape} {image.dtype}"
        )


def _add_picture(digest: hashlib._Hash, image: np.ndarray) -> None:
    digest.update(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())

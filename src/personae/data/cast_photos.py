"""The photos of a cast, kept no larger than its examples need them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from personae.data.backdrops import covering
from personae.data.collages import Piece, pre_scaled
from personae.data.mixes import Photo, in_column
from personae.generation.references import reference_picture
from personae.subjects.collage import cut_out
from personae.subjects.references import load_reference
from personae.subjects.subject import Reference, Subject

__all__ = ["CastPhotos"]


class CastPhotos:
    """What examples are made of; a photo of many megapixels is read, scaled and let go.

    Everything is made when it is first asked for and then kept, so a file may be read once for
    each of the four. What is given out is not to be changed.

    Args:
        subjects: whose photos, by id; a photo is named by its subject and its place there.
        size: (width, height) of the canvas.
    """

    def __init__(self, subjects: Mapping[str, Subject], size: tuple[int, int]) -> None:
        self._subjects, self._size = subjects, size
        self._covering: dict[tuple[str, int], np.ndarray] = {}
        self._pieces: dict[tuple[str, int], Piece] = {}
        self._columns: dict[tuple[str, int, int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._references: dict[tuple[str, int, int], np.ndarray] = {}

    def covering(self, subject: str, place: int) -> np.ndarray:
        """The photo scaled to cover the canvas, (H, W, 3) uint8."""
        key = (subject, place)
        if key not in self._covering:
            self._covering[key] = covering(self._read(subject, place).image, self._size)
        return self._covering[key]

    def piece(self, subject: str, place: int) -> Piece:
        """The subject cut out, no larger than Seg-Mix needs it."""
        key = (subject, place)
        if key not in self._pieces:
            photo = self._read(subject, place)
            cut = Piece(subject, cut_out(photo.image, photo.mask))
            self._pieces[key] = pre_scaled(cut, self._size)
        return self._pieces[key]

    def column(
        self, subject: str, place: int, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Picture and mask of a column of Cut-Mix, which is (width, height) large."""
        key = (subject, place, *size)
        if key not in self._columns:
            self._columns[key] = in_column(self._read(subject, place), size)
        return self._columns[key]

    def reference(self, subject: str, place: int, side: int) -> np.ndarray:
        """The square that a model with references in context is shown."""
        key = (subject, place, side)
        if key not in self._references:
            photo, kind = self._read(subject, place), self._subjects[subject].kind
            reference = Reference(photo.image, photo.mask)
            self._references[key] = reference_picture(reference, side, kind)
        return self._references[key]

    def _read(self, subject: str, place: int) -> Photo:
        """Without a mask everything is the subject."""
        held = load_reference(self._subjects[subject].references[place])
        everything = np.ones(held.image.shape[:2], bool)
        return Photo(subject, held.image, everything if held.mask is None else held.mask)

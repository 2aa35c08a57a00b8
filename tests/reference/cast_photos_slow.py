"""The photos of a cast, read and scaled anew for every example."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from personae.data.cast_examples import CastExamples
from personae.data.collages import Piece, pre_scaled
from personae.data.mixes import Mixed, Photo, cut_mix
from personae.generation.references import reference_picture
from personae.subjects.collage import cut_out
from personae.subjects.picture import read_mask, read_picture
from personae.subjects.subject import Reference, Subject


class SlowPhotos:
    """What `CastPhotos` says, without keeping anything."""

    def __init__(self, subjects: Mapping[str, Subject], size: tuple[int, int]) -> None:
        self.subjects, self.size = subjects, size

    def whole(self, subject: str, place: int) -> Photo:
        file = self.subjects[subject].references[place]
        image = read_picture(file.image)
        shape = image.shape[:2]
        mask = np.ones(shape, bool) if file.mask is None else read_mask(file.mask, shape)
        return Photo(subject, image, mask)

    def piece(self, subject: str, place: int) -> Piece:
        photo = self.whole(subject, place)
        return pre_scaled(Piece(subject, cut_out(photo.image, photo.mask)), self.size)

    def reference(self, subject: str, place: int, side: int) -> np.ndarray:
        photo = self.whole(subject, place)
        kind = self.subjects[subject].kind
        return reference_picture(Reference(photo.image, photo.mask), side, kind)

    def covering(self, subject: str, place: int) -> np.ndarray:
        image, (width, height) = self.whole(subject, place).image, self.size
        scale = max(width / image.shape[1], height / image.shape[0])
        sides = [
            max(round(n * scale), m) for n, m in zip(image.shape[1::-1], self.size, strict=True)
        ]
        return np.asarray(Image.fromarray(image).resize(tuple(sides), Image.Resampling.BILINEAR))


class SlowExamples(CastExamples):
    """`CastExamples` of `SlowPhotos`; Cut-Mix is given whole photos."""

    slow: SlowPhotos

    @classmethod
    def of(cls, *args: object, **more: object) -> SlowExamples:
        made = cls(*args, **more)  # type: ignore[arg-type]
        made.slow = SlowPhotos(made.subjects, made.size)
        made.photos = made.slow  # type: ignore[assignment]
        return made

    def mixed(self, pairs, rng: np.random.Generator) -> Mixed:  # type: ignore[no-untyped-def]
        if self.recipe.mix != "cut_mix":
            return super().mixed(pairs, rng)
        photos = [self.slow.whole(*pair) for pair in pairs]
        return cut_mix(photos, rng, self.size, self.recipe.seg_mix)

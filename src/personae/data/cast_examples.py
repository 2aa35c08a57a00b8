"""A cast as training examples: its photos as they are, and pictures mixed of several subjects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from personae.data.backdrops import cropped_at_random, read_backdrops
from personae.data.cast_check import require_tokens
from personae.data.cast_photos import CastPhotos
from personae.data.collages import Mixed
from personae.data.examples import Example
from personae.data.mixes import side_by_side, stitched
from personae.data.seg_mix import Backdrop, SegMixRecipe, seg_mix
from personae.diffusion.backbone import Limits
from personae.errors import DataError, RequestError
from personae.generation.prompts import named
from personae.subjects.manifest import read_cast
from personae.subjects.subject import Subject

__all__ = ["MIXES", "CastExamples", "CastRecipe", "Mix", "read_whole_cast"]

Mix = Literal["seg_mix", "cut_mix", "side_by_side", "none"]
MIXES: tuple[Mix, ...] = ("seg_mix", "cut_mix", "side_by_side", "none")
_SALT = 0xCA57
_NO_WORDS = "a photo of {subject}"


@dataclass(frozen=True, kw_only=True)
class CastRecipe:
    """A cast to learn, as MuDI learns it.

    Attributes:
        file: cast.jsonl, as ``personae prepare`` writes it.
        count: how many examples are made of it, each a photo or a mix of its own; a run that
            takes more than these sees them again.
        mix: how subjects are mixed; ``none`` is DreamBooth.
        probability: share of examples that are mixed (MuDI's train.sh: 0.3).
        descriptive: name subjects by token and noun; without, by token and ``plain_noun``.
        plain_noun: what every subject is called without descriptive nouns.
        photo: the words for a photo without a caption, with ``{subject}``.
        own_captions: use the photos' captions, where they have some.
        in_context: show the model a reference of each subject too, always another photo of it than
            the one to be learned, where there are two: for a model that takes references, which
            MuDI's did not. Pictures are then drawn with references as well.
        seg_mix: how a collage is made.
        backgrounds: folder of pictures for the background ``pictures``; a metadata.jsonl in it
            (``{"file_name", "text"}`` a line, as Hugging Face's image folders have it) says the
            words for each.
        prior: cast.jsonl of pictures of the nouns alone, which the model itself drew (see
            ``personae prior``): for prior preservation, mixed as the cast is.
    """

    file: Path
    count: int = 1024
    mix: Mix = "seg_mix"
    probability: float = 0.3
    descriptive: bool = True
    plain_noun: str = "thing"
    photo: str = _NO_WORDS
    own_captions: bool = True
    in_context: bool = False
    seg_mix: SegMixRecipe = field(default_factory=SegMixRecipe)
    backgrounds: Path | None = None
    prior: Path | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.probability <= 1:
            raise RequestError(
                "data.cast: expected count 1 or more and probability 0 to 1; got "
                f"{self.count}, {self.probability}"
            )
        if self.mix not in MIXES:
            raise RequestError(f"data.cast.mix: expected one of {MIXES}; got {self.mix!r}")
        if "{subject}" not in self.photo:
            raise RequestError(
                f"data.cast.photo: expected a text with {{subject}}; got {self.photo!r}"
            )


def read_whole_cast(path: Path) -> tuple[Subject, ...]:
    """The subjects of cast.jsonl, all of them: a cast with a bad line is refused, not shortened.

    Raises:
        DataError: a bad line, named by its number, or no subject.
    """
    manifest = read_cast(path)
    if manifest.problems:
        more = f" (and {len(manifest.problems) - 1} more)" if len(manifest.problems) > 1 else ""
        raise DataError(f"{manifest.problems[0]}{more}; a cast is used whole or not at all")
    if not manifest.subjects:
        raise DataError(f"{path}: holds no subject; run `personae prepare PHOTOS --out CAST`")
    return manifest.subjects


class CastExamples:
    """Examples of a cast; number i is a function of the recipe, the seed and i.

    With chance ``probability`` an example is a mix of two subjects or more (one random photo of
    each), else one photo, scaled to cover the canvas and cropped at random. Mixes carry the mask
    of their subjects, photos none (MuDI's program: a mask of ones). The photos of all subjects take
    turns by number, in a new order each round; a mix takes the place of the one whose turn it was,
    and chooses its own at random. So without mixes each photo is seen equally often, and with them
    about so.

    Args:
        recipe: what is made of the cast.
        sizes: (width, height) of pictures; the first counts.
        seed: of everything random.
        limits: of the model: how it names subjects, how large its references are.
        prior: make examples of ``recipe.prior`` instead, without tokens, always at one height.

    Raises:
        DataError: the cast has a bad line, or a mask is missing that a mix needs.
    """

    def __init__(
        self,
        recipe: CastRecipe,
        sizes: tuple[tuple[int, int], ...],
        seed: int = 0,
        *,
        limits: Limits | None = None,
        prior: bool = False,
    ) -> None:
        if recipe.in_context and (limits is None or not limits.reference_px):
            raise RequestError(
                "data.cast.in_context: this model takes no references; set it to false"
            )
        self._limits = limits
        if not sizes:
            raise RequestError("data.sizes: no size to bring pictures to; name one in the recipe")
        self.recipe, self.size, self.seed, self.prior = recipe, sizes[0], seed, prior
        path = recipe.prior if prior else recipe.file
        if path is None:
            raise RequestError("data.cast.prior: expected a file of priors; got none")
        self.path = path
        self.subjects = {subject.id: subject for subject in read_whole_cast(path)}
        self.photos = CastPhotos(self.subjects, self.size)
        if not prior:
            require_tokens(list(self.subjects.values()), str(path))
        if self.has_masks:
            self._require_masks()

    @property
    def has_masks(self) -> bool:
        """Are some of them mixes, which carry a mask?"""
        recipe = self.recipe
        return recipe.mix != "none" and recipe.probability > 0 and len(self.subjects) > 1

    def _require_masks(self) -> None:
        bare = [
            str(file.image)
            for subject in self.subjects.values()
            for file in subject.references
            if file.mask is None
        ]
        if bare:
            raise DataError(
                f"{self.path}: {bare[0]} has no mask ({len(bare)} photos have none), and "
                f"{self.recipe.mix} needs one; run `personae prepare`, or set data.cast.mix to none"
            )

    def __len__(self) -> int:
        return self.recipe.count

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng([self.seed, index, _SALT + self.prior])
        if self.has_masks and rng.random() < self.recipe.probability:
            pairs = self._chosen(rng)
            mixed = self.mixed(pairs, rng)
            words = self.words(mixed.prompt)
            references = self._references(pairs, rng)
            name = self._name("mix", index)
            return Example(name, words, mixed.image, references, mask=mixed.mask)
        return self._photo(index, rng)

    def mix(self, index: int) -> Mixed:
        """Mix number ``index``, whatever the share of mixes is: a function of seed and number.

        Raises:
            RequestError: the cast has one subject, or mixes none.
        """
        if not self.has_masks:
            raise RequestError(
                f"{self.path}: nothing to mix; expected two subjects or more, and data.cast.mix "
                f"other than none; got {len(self.subjects)} and {self.recipe.mix!r}"
            )
        rng = np.random.default_rng([self.seed, index, _SALT, _SALT])
        return self.mixed(self._chosen(rng), rng)

    def _chosen(self, rng: np.random.Generator) -> list[tuple[str, int]]:
        """Two subjects or more, and a photo of each."""
        ids = list(self.subjects)
        count = self.recipe.seg_mix.count(rng, len(ids))
        chosen = [ids[int(place)] for place in rng.permutation(len(ids))[:count]]
        return [(name, int(rng.integers(len(self.subjects[name].references)))) for name in chosen]

    def _references(
        self, shown: Sequence[tuple[str, int]], rng: np.random.Generator
    ) -> tuple[np.ndarray, ...]:
        """One of each subject shown, another photo than that."""
        if not self.recipe.in_context or self._limits is None:
            return ()
        side, squares = self._limits.reference_px, []
        for name, place in shown:
            others = [n for n in range(len(self.subjects[name].references)) if n != place]
            other = others[int(rng.integers(len(others)))] if others else place
            squares.append(self.photos.reference(name, other, side))
        return tuple(squares)

    def mixed(self, pairs: Sequence[tuple[str, int]], rng: np.random.Generator) -> Mixed:
        """One mix of these subjects' photos, its words still with ids in braces."""
        recipe = self.recipe
        if recipe.mix == "cut_mix":
            names = [name for name, _ in pairs]

            def column_of(place: int, column: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
                return self.photos.column(*pairs[place], column)

            return stitched(names, column_of, rng, self.size, recipe.seg_mix)
        pieces = [self.photos.piece(*pair) for pair in pairs]
        if recipe.mix == "side_by_side":
            return side_by_side(pieces, rng, self.size, recipe.seg_mix)
        settings = recipe.seg_mix
        if self.prior:
            settings = replace(settings, same_height=True)
        return seg_mix(pieces, rng, self.size, settings, self._backgrounds)

    @property
    def names(self) -> dict[str, str]:
        """Each subject as the model is to learn it: by token and noun."""
        return {name: self._said(subject) for name, subject in self.subjects.items()}

    def words(self, prompt: str) -> str:
        """A prompt's words, each id as the model is to learn it."""
        said = self.names
        if self.recipe.in_context and self._limits is not None:
            # The first named is the first shown.
            order = list(dict.fromkeys(re.findall(r"\{([^{}]*)\}", prompt)))
            for place, name in enumerate((name for name in order if name in said), start=1):
                pattern = self._limits.subject_words.replace("{index}", str(place))
                said[name] = pattern.replace("{noun}", said[name])
        return named(prompt, said, str(self.path))

    def _said(self, subject: Subject) -> str:
        noun = subject.noun if self.recipe.descriptive or self.prior else self.recipe.plain_noun
        return noun if subject.token is None or self.prior else f"{subject.token} {noun}"

    def _photo(self, index: int, rng: np.random.Generator) -> Example:
        """The photos of all subjects in turn, shuffled anew each round."""
        all_photos = [
            (name, place)
            for name, subject in self.subjects.items()
            for place in range(len(subject.references))
        ]
        turn, place = divmod(index, len(all_photos))
        order = np.random.default_rng([self.seed, turn, _SALT]).permutation(len(all_photos))
        subject, number = all_photos[int(order[place])]
        file = self.subjects[subject].references[number]
        own = file.caption if self.recipe.own_captions else None
        words = self.words(own or self.recipe.photo.replace("{subject}", "{" + subject + "}"))
        image = cropped_at_random(self.photos.covering(subject, number), self.size, rng)
        references = self._references([(subject, number)], rng)
        return Example(self._name("photo", index), words, image, references)

    def _name(self, kind: str, index: int) -> str:
        return f"{'prior-' if self.prior else ''}{kind}-{index:06d}"

    @cached_property
    def _backgrounds(self) -> tuple[Backdrop, ...]:
        folder = self.recipe.backgrounds
        return () if folder is None else tuple(read_backdrops(folder, self.size))

    @cached_property
    def _content(self) -> str:
        """A hash of the cast's file and of the bytes of every photo and mask."""
        digest = hashlib.sha256(self.path.read_bytes())
        for subject in self.subjects.values():
            for file in subject.references:
                for path in filter(None, (file.image, file.mask)):
                    digest.update(path.read_bytes())
        for picture in self._backgrounds:
            digest.update(picture.image.tobytes() + picture.words.encode())
        return digest.hexdigest()

    def settings(self) -> Mapping[str, Any]:
        """See `ExampleSource`."""
        told = asdict(self.recipe) | {"file": self._content, "prior": self.prior}
        del told["backgrounds"]
        return {"cast": told, "size": list(self.size), "seed": self.seed}

"""Seg-Mix: subjects cut out of their photos, mixed on one canvas, to learn that they are two.

Jang et al., Identity Decoupling for Multi-Subject Personalization (MuDI, arXiv 2404.04243).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from personae.data.collages import CollagePlan, Mixed, Piece, render_collage
from personae.errors import RequestError

__all__ = [
    "BACKGROUNDS",
    "TEMPLATES",
    "Backdrop",
    "Background",
    "SegMixRecipe",
    "backdrop",
    "caption",
    "listed",
    "plan_collage",
    "seg_mix",
]

Background = Literal["white", "black", "noise", "pictures"]
BACKGROUNDS: tuple[Background, ...] = ("white", "black", "noise", "pictures")

# The words of MuDI's two programs (SDXL, FLUX.1). The second names what is wrong with a collage, so
# that those words take the blame for it and can be left out when a picture is drawn.
TEMPLATES: Mapping[str, tuple[str, str]] = {
    "sdxl": ("a photo of {subjects}, simple background.", "a {subject}"),
    "flux": (
        "a close out photo of {subjects}, {background} simple background, pasted, sticker, "
        "unnatural, glued, clip-art, attached, collage, low quality.",
        "a small {subject}",
    ),
    "plain": ("{subjects}", "{subject}"),
}
_TRIES = 20


@dataclass(frozen=True, eq=False)
class Backdrop:
    """A picture (H, W, 3) uint8 to stand before, and the words for it ("in a park"), if any."""

    image: np.ndarray
    words: str = ""


@dataclass(frozen=True, kw_only=True)
class SegMixRecipe:
    """How collages are made; lengths are fractions of the canvas's side that they run along.

    Attributes:
        counts: shares of collages with two, three ... subjects (MuDI: always two).
        scale: (least, most) of the largest size that fits a subject's column, drawn uniformly
            (MuDI: 0.75 to 1; its FLUX.1 program: 0.9 to 1).
        margin: left free in a subject's column, and above or below it (32 of 1024 pixels).
        margin_max: the most between the outer subjects and the left and right border (256 of 1024;
            its FLUX.1 program: 64 of 512).
        overlap: may one subject hide part of another? MuDI: yes. If not, it is thrown again, and
            drawn a tenth smaller after 20 throws.
        same_height: all stand at one height, as MuDI's priors do.
        relative_sizes: a subject's id, and its size against the others: then nothing is random
            about sizes.
        flip: mirror each subject in half of the collages, with its mask.
        feather_px: edges fade over about twice this many pixels; 0 is MuDI's hard edge.
        backgrounds: what the canvas is, each equally often as it is named: ``white``, ``black``,
            ``noise``, ``pictures`` (photographs, or what the model itself drew).
        template: one of ``TEMPLATES``, or a text with ``{subjects}`` and perhaps ``{background}``:
            "white", "black", or the words that come with a picture.
        subject: how each is named in an own template, with ``{subject}``.
    """

    counts: tuple[float, ...] = (1.0,)
    scale: tuple[float, float] = (0.75, 1.0)
    margin: float = 1 / 32
    margin_max: float = 1 / 4
    overlap: bool = True
    same_height: bool = False
    relative_sizes: Mapping[str, float] = field(default_factory=dict)
    flip: bool = False
    feather_px: int = 0
    backgrounds: tuple[Background, ...] = ("white",)
    template: str = "sdxl"
    subject: str = "{subject}"

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 0 or sum(self.counts) <= 0:
            raise RequestError(
                "seg_mix.counts: expected shares of collages with two, three ... subjects, not "
                f"all 0; got {self.counts}"
            )
        least, most = self.scale
        if not 0 < least <= most <= 1:
            raise RequestError(f"seg_mix.scale: expected 0 < least <= most <= 1; got {self.scale}")
        if not (0 <= self.margin < 0.5 and 0 < self.margin_max <= 1):
            raise RequestError(
                "seg_mix: expected margin from 0 to below 0.5 and margin_max above 0, at most 1; "
                f"got {self.margin}, {self.margin_max}"
            )
        if min(self.relative_sizes.values(), default=1.0) <= 0 or self.feather_px < 0:
            raise RequestError("seg_mix: relative sizes are above 0, feather_px is 0 or more")
        if not self.backgrounds or not set(self.backgrounds) <= set(BACKGROUNDS):
            raise RequestError(
                f"seg_mix.backgrounds: expected some of {BACKGROUNDS}; got {self.backgrounds}"
            )
        if self.template not in TEMPLATES and "{subjects}" not in self.template:
            raise RequestError(
                f"seg_mix.template: expected one of {tuple(TEMPLATES)}, or a text with "
                f"{{subjects}}; got {self.template!r}"
            )

    def count(self, rng: np.random.Generator, most: int) -> int:
        """How many subjects a collage holds: two or more, at most as many as there are."""
        shares = np.asarray(self.counts[: max(most - 1, 1)], float)
        if not shares.sum():
            return 2
        return 2 + int(rng.choice(len(shares), p=shares / shares.sum()))


def seg_mix(
    pieces: Sequence[Piece],
    rng: np.random.Generator,
    size: tuple[int, int],
    recipe: SegMixRecipe | None = None,
    pictures: Sequence[Backdrop] = (),
) -> Mixed:
    """A collage of cut-outs, one a subject: MuDI's Seg-Mix, for two subjects and more.

    The columns of the canvas are given to the subjects in random order, so that the order in the
    caption, which is that of ``pieces``, says nothing about places. Each is scaled to
    U(scale) of the largest size that its column holds, stands at a random height, the outer ones
    U(0, margin_max) from the border, and any of them may be in front.

    Args:
        pieces: two or more cut-outs of different subjects.
        rng: all that is random.
        size: (width, height) of the canvas.
        recipe: settings.
        pictures: of the canvas's size, for the background ``pictures``.

    Raises:
        RequestError: fewer than two pieces, or no picture where one is wanted.
    """
    recipe = recipe or SegMixRecipe()
    if "pictures" in recipe.backgrounds and not pictures:
        raise RequestError(
            "seg_mix.backgrounds: 'pictures', but there are none; name a folder of pictures"
        )
    plan = plan_collage(pieces, rng, size, recipe)
    behind = backdrop(plan.background, rng, size, pictures)
    prompt = caption([piece.subject for piece in pieces], recipe, behind.words)
    return render_collage(plan, pieces, behind.image, prompt, recipe.feather_px)


def plan_collage(
    pieces: Sequence[Piece],
    rng: np.random.Generator,
    size: tuple[int, int],
    recipe: SegMixRecipe,
) -> CollagePlan:
    """Where each piece goes, who is in front, who is mirrored, before what."""
    if len(pieces) < 2:
        raise RequestError(f"Seg-Mix mixes two subjects or more; got {len(pieces)}")
    background = recipe.backgrounds[int(rng.integers(len(recipe.backgrounds)))]
    columns = [int(place) for place in rng.permutation(len(pieces))]
    scales = _scales(pieces, rng, size, recipe)
    shrink = 1.0
    for throw in range(1, 1_000_000):
        sides = [
            (max(int(p.width * s * shrink), 1), max(int(p.height * s * shrink), 1))
            for p, s in zip(pieces, scales, strict=True)
        ]
        boxes = _thrown(sides, columns, rng, size, recipe)
        if recipe.overlap or not _any_overlap(boxes):
            break
        if throw % _TRIES == 0:
            shrink *= 0.9
    front = tuple(int(place) for place in rng.permutation(len(pieces)))
    mirrored = tuple(recipe.flip and bool(flip) for flip in rng.random(len(pieces)) < 0.5)
    return CollagePlan(size, tuple(boxes), front, mirrored, background)


def _scales(
    pieces: Sequence[Piece],
    rng: np.random.Generator,
    size: tuple[int, int],
    recipe: SegMixRecipe,
) -> list[float]:
    """Each piece's scale; a piece is enlarged where it is smaller than its column."""
    width, height = size
    limit_x = width / len(pieces) - recipe.margin * width
    limit_y = height - recipe.margin * height
    largest = [min(limit_x / piece.width, limit_y / piece.height) for piece in pieces]
    if not recipe.relative_sizes:
        return [s * float(rng.uniform(*recipe.scale)) for s in largest]
    wanted = [recipe.relative_sizes.get(piece.subject, 1.0) for piece in pieces]
    # One height stands for size 1: the largest that leaves everybody in its column.
    tallest = min(
        s * piece.height / size for s, piece, size in zip(largest, pieces, wanted, strict=True)
    )
    return [tallest * size / piece.height for piece, size in zip(pieces, wanted, strict=True)]


def _thrown(
    sides: Sequence[tuple[int, int]],
    columns: Sequence[int],
    rng: np.random.Generator,
    size: tuple[int, int],
    recipe: SegMixRecipe,
) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) in pixels, all inside the canvas."""
    width, height = size
    most, last = max(int(recipe.margin_max * width), 1), len(sides) - 1
    level = float(rng.random())
    boxes = []
    for (w, h), column in zip(sides, columns, strict=True):
        gap = int(rng.integers(1, most + 1))
        # Outer ones are pushed inwards, those between them either way.
        push = gap if column == 0 else -gap if column == last else gap - (most + 1) // 2
        left = min(max(round(column / last * (width - w)) + push, 0), width - w)
        free = height - h
        top = int(level * free) if recipe.same_height else int(rng.integers(free + 1))
        boxes.append((left, top, left + w, top + h))
    return boxes


def _any_overlap(boxes: Sequence[tuple[int, int, int, int]]) -> bool:
    return any(
        a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
        for place, a in enumerate(boxes)
        for b in boxes[place + 1 :]
    )


def backdrop(
    background: str,
    rng: np.random.Generator,
    size: tuple[int, int],
    pictures: Sequence[Backdrop] = (),
) -> Backdrop:
    """A new canvas of this background, and its words."""
    shape = (size[1], size[0], 3)
    if background == "noise":
        return Backdrop(rng.integers(0, 256, shape, np.uint8))
    if background == "pictures":
        chosen = pictures[int(rng.integers(len(pictures)))]
        return Backdrop(chosen.image.copy(), chosen.words)
    return Backdrop(np.full(shape, 255 if background == "white" else 0, np.uint8), background)


def caption(subjects: Sequence[str], recipe: SegMixRecipe, words: str) -> str:
    """The words of a collage, ids of subjects in braces; ``words`` are the background's.

    >>> caption(["cat", "cup"], SegMixRecipe(), "white")
    'a photo of a {cat} and a {cup}, simple background.'
    """
    text, named = TEMPLATES.get(recipe.template, (recipe.template, recipe.subject))
    names = [named.replace("{subject}", "{" + name + "}") for name in subjects]
    return " ".join(
        text.replace("{background}", words).replace("{subjects}", listed(names)).split()
    )


def listed(names: Sequence[str]) -> str:
    """Names as English lists them.

    >>> listed(["a cat", "a dog", "a cup"])
    'a cat, a dog and a cup'
    """
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)

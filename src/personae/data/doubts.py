"""Doubts: why a photo of a cast should be looked at by a person before anything learns from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy import ndimage

from personae.subjects.mask import mask_box
from personae.vision.embedders.crops import square_crop
from personae.vision.protocols import Embedder

__all__ = [
    "Doubt",
    "DoubtConfig",
    "alike",
    "appearances",
    "colliding_nouns",
    "cut_off_sides",
    "doubts_about",
    "duplicates",
    "second_share",
    "sharpness",
    "unlike",
]

_LOOK_PX = 32
_SHARP_PX = 256


@dataclass(frozen=True)
class Doubt:
    """One reason: its kind, to count by, and the words for a person."""

    kind: str
    words: str


@dataclass(frozen=True, kw_only=True)
class DoubtConfig:
    """From where on a photo is doubtful (docs/numbers.md says how the levels were found)."""

    everything: float = 0.95
    """A mask that covers more of the photo has caught the background."""
    nothing: float = 0.01
    """A mask that covers less of it has caught a speck."""
    second: float = 0.5
    """A second part at least this large, of the first one's size, may be the subject."""
    border: float = 0.05
    """A side cuts the subject off where it meets this share of that side or more."""
    subject_px: int = 96
    """A subject whose longer side is shorter shows too little."""
    sharpness: float = 8.0
    """A subject less sharp is blurred (`sharpness`)."""
    alike: float = 0.95
    """Two photos more alike are the same photo (`alike`)."""
    unlike: float = 0.35
    """A subject whose mean cosine to its other photos is lower shows something else."""
    gap: float = 0.25
    """And lower than its other photos' own by at least this."""


def second_share(mask: np.ndarray) -> float:
    """Size of a mask's second largest part over that of its largest, in [0, 1].

    >>> second_share(np.array([[1, 1, 0, 1]], dtype=bool))
    0.5
    """
    labels, count = ndimage.label(mask)
    if count < 2:
        return 0.0
    sizes = np.sort(np.bincount(labels.ravel())[1:])
    return float(sizes[-2] / sizes[-1])


def cut_off_sides(mask: np.ndarray, share: float) -> list[str]:
    """The photo's sides along which the mask (H, W) bool touches the border for this share.

    >>> cut_off_sides(np.array([[1, 1], [0, 0]], dtype=bool), 0.6)
    ['top']
    """
    lines = {"left": mask[:, 0], "top": mask[0], "right": mask[:, -1], "bottom": mask[-1]}
    return [side for side, line in lines.items() if line.mean() >= share]


def sharpness(image: np.ndarray, mask: np.ndarray) -> float:
    """How sharp a subject is: spread of the Laplacian under its mask, as seen 256 pixels long.

    In grey levels; about 15 and more for sharp photos, lower the more a photo is blurred.
    """
    left, top, right, bottom = (int(value) for value in mask_box(mask).xyxy)
    factor = min(_SHARP_PX / max(right - left, bottom - top), 1.0)
    size = (max(round((right - left) * factor), 1), max(round((bottom - top) * factor), 1))
    part = cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask[top:bottom, left:right].astype(np.uint8), size) > 0
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F)[inside].std()) if inside.any() else 0.0


def alike(first: np.ndarray, second: np.ndarray) -> float:
    """How alike two photos (H, W, 3) uint8 are as pictures, in [-1, 1]: 1 for copies.

    The correlation of both, shrunk to 32 by 32 pixels: size, file format and light do not count.
    """
    looks = [
        cv2.resize(item, (_LOOK_PX, _LOOK_PX), interpolation=cv2.INTER_AREA).astype(np.float64)
        for item in (first, second)
    ]
    looks = [look - look.mean(axis=(0, 1)) for look in looks]
    lengths = [float(np.linalg.norm(look)) for look in looks]
    if min(lengths) < 1e-9:
        return 1.0 if max(lengths) < 1e-9 and np.array_equal(first[0, 0], second[0, 0]) else 0.0
    return float((looks[0] * looks[1]).sum() / (lengths[0] * lengths[1]))


def duplicates(images: Sequence[np.ndarray], level: float) -> dict[int, int]:
    """For each photo that is nearly an earlier one: its place -> the earlier one's."""
    found: dict[int, int] = {}
    for index in range(len(images)):
        for earlier in range(index):
            if earlier not in found and alike(images[earlier], images[index]) > level:
                found[index] = earlier
                break
    return found


@torch.inference_mode()
def appearances(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray | None], embedder: Embedder
) -> list[np.ndarray | None]:
    """What the cut-out of each photo looks like, on white: (D,) of length 1, or None."""
    looks: list[np.ndarray | None] = []
    for image, mask in zip(images, masks, strict=True):
        if mask is None or not mask.any():
            looks.append(None)
            continue
        crop = square_crop(image, mask_box(mask), embedder.side_px, mask=mask)
        looks.append(np.asarray(embedder.embed(crop[None])[0].cpu().numpy(), dtype=np.float64))
    return looks


def unlike(looks: Sequence[np.ndarray | None], config: DoubtConfig) -> dict[int, float]:
    """Photos whose subject is far from the others': place -> mean cosine to the others.

    Of three photos and more; with two nobody could say which one is wrong.
    """
    known = [index for index, look in enumerate(looks) if look is not None]
    if len(known) < 3:
        return {}
    rows = np.stack([look for look in looks if look is not None])
    cosines = rows @ rows.T
    found = {}
    for place, index in enumerate(known):
        others = [other for other in range(len(known)) if other != place]
        mean = float(cosines[place, others].mean())
        theirs = cosines[np.ix_(others, others)]
        among = float((theirs.sum() - np.trace(theirs)) / (len(others) * (len(others) - 1)))
        if mean < config.unlike and among - mean > config.gap:
            found[index] = mean
    return found


def doubts_about(
    image: np.ndarray, mask: np.ndarray | None, num_boxes: int, num_faces: int, config: DoubtConfig
) -> list[Doubt]:
    """What one photo (H, W, 3) uint8 and its mask (H, W) bool say by themselves.

    ``num_boxes`` is how many candidates a detector saw, ``num_faces`` how many faces (of a
    person's photo; else 1).
    """
    found = []
    if num_boxes > 1:
        found.append(Doubt("two candidates", f"the detector sees {num_boxes} candidates"))
    if num_faces > 1:
        found.append(Doubt("two candidates", f"{num_faces} faces; expected one"))
    if mask is None or not mask.any():
        return [Doubt("no subject", "no subject was found"), *found]
    share = float(mask.mean())
    if share > config.everything:
        found.append(Doubt("mask everything", f"the mask covers {share:.0%} of the photo"))
    if share < config.nothing:
        found.append(Doubt("mask nothing", f"the mask covers {share:.1%} of the photo"))
    second = second_share(mask)
    if second >= config.second:
        words = f"two parts, the second {second:.0%} as large as the first"
        found.append(Doubt("two candidates", words))
    sides = cut_off_sides(mask, config.border)
    if len(sides) >= 2 and share <= config.everything:
        found.append(Doubt("cut off", f"cut off by the photo's border ({', '.join(sides)})"))
    return found + _too_little(image, mask, config)


def _too_little(image: np.ndarray, mask: np.ndarray, config: DoubtConfig) -> list[Doubt]:
    box = mask_box(mask)
    long_side = round(max(box.width, box.height))
    if long_side < config.subject_px:
        words = f"the subject is {long_side} pixels long; expected {config.subject_px}"
        return [Doubt("too small", words)]
    sharp = sharpness(image, mask)
    if sharp < config.sharpness:
        words = f"blurred (sharpness {sharp:.1f}; expected {config.sharpness:g})"
        return [Doubt("blurred", words)]
    return []


def colliding_nouns(nouns: Mapping[str, str]) -> dict[str, list[str]]:
    """Nouns that several subjects share, and which ones: only their tokens tell those apart.

    >>> colliding_nouns({"ann": "Woman", "bea": "woman", "bob": "man"})
    {'woman': ['ann', 'bea']}
    """
    by_noun: dict[str, list[str]] = {}
    for subject, noun in nouns.items():
        by_noun.setdefault(" ".join(noun.lower().split()), []).append(subject)
    return {noun: subjects for noun, subjects in by_noun.items() if len(subjects) > 1}

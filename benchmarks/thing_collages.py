"""Collages with known boxes, for measuring detectors of things: photographs pasted on pictures.

References and pasted photos are never the same photo. Truth is the box of what stays visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageDraw

from personae.subjects.box import Box
from personae.subjects.collage import CutOut, Placed, cut_out, paste
from personae.subjects.mask import mask_box
from personae.subjects.subject import Reference

NAMES = ("monster", "robot", "corgi", "chow")
NOUNS = {
    "monster": "red monster plush",
    "robot": "white robot toy",
    "corgi": "corgi",
    "chow": "chow chow",
    "cat": "cat",
    "coffee": "cup of coffee",
    "rocket": "rocket",
}


@dataclass(frozen=True, eq=False)
class Collage:
    """A picture and what is in it: (subject, box) for every pasted thing."""

    image: np.ndarray
    truth: list[tuple[str, Box]]
    kind: str


def photo(data: Path, name: str, index: int) -> Reference:
    """One photo of a subject with its mask."""
    stem = data / "photos" / "subjects" / name / f"{index:02d}"
    image = np.asarray(Image.open(stem.with_suffix(".jpg")).convert("RGB"))
    mask = np.asarray(Image.open(f"{stem}.mask.png").convert("L")) > 127
    return Reference(image, mask, str(stem))


def _drawn(image: np.ndarray, outline: list[tuple[int, int]]) -> Reference:
    """A photo with a mask drawn by hand: the corners of its outline, x and y in pixels."""
    mask = Image.new("1", (image.shape[1], image.shape[0]))
    ImageDraw.Draw(mask).polygon(outline, fill=1)
    return Reference(image, np.asarray(mask).copy(), "skimage")


def shipped_subjects() -> dict[str, Reference]:
    """The cat, the coffee cup and the rocket that scikit-image ships, outlined by hand."""
    cat = [(38, 0), (34, 90), (60, 190), (120, 250), (250, 285), (335, 240), (352, 110), (405, 0)]
    cup = [(180, 60), (200, 30), (250, 18), (330, 22), (385, 48), (430, 75), (415, 110),
           (460, 160), (480, 215), (460, 300), (400, 355), (310, 385), (200, 375), (120, 320),
           (80, 240), (80, 170), (110, 110), (175, 85)]  # fmt: skip
    ship = [(318, 120), (326, 135), (334, 340), (336, 424), (306, 424), (306, 340), (310, 135)]
    return {
        "cat": _drawn(skimage.data.chelsea(), cat),
        "coffee": _drawn(skimage.data.coffee(), cup),
        "rocket": _drawn(skimage.data.rocket(), ship),
    }


def _noise(rng: np.random.Generator, height: int, width: int, power: float) -> np.ndarray:
    """Colored 1/f noise, as smooth as ``power`` says."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    scale = 1.0 / np.maximum(np.hypot(fy, fx), 1.0 / max(height, width)) ** power
    planes = [
        np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * scale, (height, width))
        for _ in range(3)
    ]
    field = np.stack([(p - p.mean()) / p.std() for p in planes], axis=-1)
    return np.clip(rng.uniform(60, 190, 3) + 40 * field, 0, 255).astype(np.uint8)


def _gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    first, second = rng.uniform(0, 255, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:height, 0:width]
    ramp = x / width * np.cos(angle) + y / height * np.sin(angle)
    ramp = (ramp - ramp.min()) / (ramp.max() - ramp.min())
    return (first + (second - first) * ramp[..., None]).astype(np.uint8)


def background_photos(half: str, data: Path) -> list[np.ndarray]:
    """Photographs for backgrounds; the two halves share none."""
    names = {
        "tune": ["brick", "grass", "astronaut", "motorcycle_left", "ihc"],
        "held-out": ["gravel", "coffee", "rocket", "hubble_deep_field", "chelsea", "retina"],
    }[half]
    folder = Path(skimage.data.__file__).parent
    found = [path for name in names for path in sorted(folder.glob(f"{name}.*"))]
    people = sorted((data / "benchmarks/xversebench/human").glob("*.*"))
    found += people[:6] if half == "tune" else people[6:14]
    return [np.asarray(Image.open(path).convert("RGB")) for path in found]


def background(
    rng: np.random.Generator, photos: list[np.ndarray], width: int, height: int
) -> np.ndarray:
    """A photograph's random part (in 7 of 10), a gradient, or noise."""
    draw = rng.uniform()
    if draw < 0.15:
        return _gradient(rng, height, width)
    if draw < 0.3:
        return _noise(rng, height, width, rng.uniform(0.7, 1.6))
    image = Image.fromarray(photos[rng.integers(len(photos))])
    share = rng.uniform(0.6, 1.0)
    factor = max(width / image.width, height / image.height) / share
    image = image.resize((max(round(image.width * factor), width),
                          max(round(image.height * factor), height)))  # fmt: skip
    left = rng.integers(image.width - width + 1)
    top = rng.integers(image.height - height + 1)
    return np.asarray(image.crop((left, top, left + width, top + height)))


def _box(rng: np.random.Generator, cut: CutOut, size: tuple[int, int], scale: float) -> Box | None:
    width, height = size
    h, w = cut.mask.shape
    factor = scale * min(width, height) / max(w, h)
    w, h = w * factor, h * factor
    left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
    return Box(left, top, left + w, top + h)


def _gap(first: Box, second: Box) -> float:
    """Pixels between two boxes; negative where they overlap."""
    dx = max(first.left, second.left) - min(first.right, second.right)
    dy = max(first.top, second.top) - min(first.bottom, second.bottom)
    return max(dx, dy)


def _layout(
    rng: np.random.Generator, cuts: list[CutOut], size: tuple[int, int], touching: bool
) -> list[Box]:
    """Boxes for the cuts: apart by 2 in 100 at least, or each touching the one before it."""
    short = min(size)
    largest = {1: 0.7, 2: 0.6, 3: 0.5}.get(len(cuts), 0.42)
    for _ in range(20000):
        boxes = [_box(rng, cut, size, rng.uniform(0.25, largest)) for cut in cuts]
        gaps = [[_gap(a, b) for b in boxes[:i]] for i, a in enumerate(boxes)]
        ious = [a.iou(b) for i, a in enumerate(boxes) for b in boxes[:i]]
        if touching:
            near = all(min(g) <= 0.005 * short for g in gaps[1:])
            if near and max(ious, default=0) < 0.15:
                return boxes
        elif all(g >= 0.02 * short for row in gaps for g in row):
            return boxes
    raise RuntimeError("no layout found")


def _visible(cuts: list[CutOut], boxes: list[Box], size: tuple[int, int]) -> list[Box]:
    """Boxes of what later pastes leave visible."""
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    seen: list[np.ndarray] = []
    for cut, box in zip(cuts, boxes, strict=True):
        flat = CutOut(np.full((*cut.mask.shape, 3), 255, np.uint8), cut.mask)
        mask = paste(canvas, [Placed(flat, box)])[..., 0] > 127
        seen = [old & ~mask for old in seen] + [mask]
    return [mask_box(mask) for mask in seen]


def collage(
    rng: np.random.Generator,
    items: list[tuple[str, CutOut]],
    photos: list[np.ndarray],
    touching: bool,
    kind: str,
) -> Collage:
    """The cuts pasted on a background, mirrored at times and changed a little in brightness."""
    size = (int(rng.integers(512, 769)), int(rng.integers(512, 769)))
    cuts = []
    for _, cut in items:
        turned = cut.mirrored() if rng.uniform() < 0.5 else cut
        light = np.clip(turned.image * rng.uniform(0.8, 1.15), 0, 255).astype(np.uint8)
        cuts.append(CutOut(light, turned.mask))
    boxes = _layout(rng, cuts, size, touching)
    placed = [Placed(cut, box) for cut, box in zip(cuts, boxes, strict=True)]
    image = paste(background(rng, photos, *size), placed, feather_px=1.0)
    truth = list(zip([name for name, _ in items], _visible(cuts, boxes, size), strict=True))
    return Collage(image, truth, kind)


def collages(half: str, data: Path, pasted: list[int], count: int, seed: int) -> list[Collage]:
    """``count`` pictures of each kind: 1 to 4 subjects apart or touching, duplicates, empty."""
    photos = background_photos(half, data)
    cuts = {
        name: [cut_out(p.image, p.mask) for p in (photo(data, name, i) for i in pasted)]
        for name in NAMES
    }
    kinds = [("1 apart", 1, False)] + [
        (f"{n} {word}", n, word == "touching") for n in (2, 3, 4) for word in ("apart", "touching")
    ]
    out = []
    for number, (kind, n, touching) in enumerate(kinds):
        for k in range(count):
            rng = np.random.default_rng([seed, number, k])
            names = [str(name) for name in rng.permutation(NAMES)[:n]]
            items = [(name, cuts[name][rng.integers(len(pasted))]) for name in names]
            out.append(collage(rng, items, photos, touching, kind))
    for k in range(count):
        rng = np.random.default_rng([seed, 50, k])
        dogs = [(name, cuts[name][rng.integers(len(pasted))]) for name in ("corgi", "chow")]
        out.append(collage(rng, dogs, photos, k % 2 == 1, "two dogs"))
        twin = [str(name) for name in rng.permutation(NAMES)[:2]]
        items = [(name, cuts[name][rng.integers(len(pasted))]) for name in (twin[0], *twin)]
        out.append(collage(rng, items, photos, k % 2 == 1, "one twice"))
        size = (int(rng.integers(512, 769)), int(rng.integers(512, 769)))
        out.append(Collage(background(rng, photos, *size), [], "nobody"))
    for name in NAMES:
        for index in pasted:
            whole = photo(data, name, index)
            out.append(Collage(whole.image, [(name, mask_box(whole.mask))], "whole photo"))
    return out

"""A look at the drawn world: identities, a family of look-alikes, scenes with their references.

Usage: python examples/04_toon_world.py [FILE.png]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from personae.toons import look_alike, portrait, scene, toon

SIDE, GAP = 128, 4


def row(pictures: list[np.ndarray], width: int) -> np.ndarray:
    """Pictures side by side on white, as high as the highest."""
    sheet = np.full((max(p.shape[0] for p in pictures), width, 3), 255, np.uint8)
    left = 0
    for picture in pictures:
        sheet[: picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GAP
    return sheet


def scene_with_references(seed: int) -> np.ndarray:
    """A scene, and below it the references of its toons."""
    one = scene(seed, count=2, split="test")
    below = np.concatenate([member.reference.image for member in one.members], 1)
    return np.concatenate([one.image, below])


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out/toon-world.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    width = 8 * SIDE + 7 * GAP
    # The first seeds, nothing chosen; then one toon in four poses and four look-alikes of it.
    people = [portrait(toon(seed), seed, SIDE).image for seed in range(8)]
    poses = [portrait(toon(4), seed, SIDE).image for seed in range(4)]
    alike = [portrait(look_alike(toon(4), seed), seed, SIDE).image for seed in range(4)]
    scenes = [scene_with_references(seed) for seed in range(8)]
    rows = [row(people, width), row([*poses, *alike], width), row(scenes, width)]
    space = np.full((GAP, width, 3), 255, np.uint8)
    Image.fromarray(np.concatenate([part for r in rows for part in (r, space)])).save(path)

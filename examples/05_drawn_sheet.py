"""A sheet of unseen toons and what the checkpoint draws of them: lowest seeds, nothing retouched.

Usage: python examples/05_drawn_sheet.py [FILE.png] [MODEL]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from personae.diffusion.load import load_backbone
from personae.generation import draw
from personae.subjects.manifest import read_scenes
from personae.toons import ToonScene, scene, write_scenes

WIDTH, REFERENCE, GAP = 192, 64, 8


def card(asked: ToonScene, picture: np.ndarray) -> np.ndarray:
    """References above, the picture below, both in the middle of a white card."""
    sheet = np.full((REFERENCE + picture.shape[0] + GAP, WIDTH + 2 * GAP, 3), 255, np.uint8)
    references = np.concatenate([member.reference.image for member in asked.members], 1)
    for top, part in ((0, references), (REFERENCE, picture)):
        left = (sheet.shape[1] - part.shape[1]) // 2
        sheet[top : top + part.shape[0], left : left + part.shape[1]] = part
    return sheet


if __name__ == "__main__":
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out/drawn.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    backbone = load_backbone(sys.argv[2] if len(sys.argv) > 2 else "toons")
    asked = [scene(seed, count=2 + seed % 2, split="test") for seed in range(12)]
    with tempfile.TemporaryDirectory() as folder:
        read = read_scenes(write_scenes(asked, Path(folder))).scenes
        cards = [card(one, draw(backbone, two, 0)) for one, two in zip(asked, read, strict=True)]
    rows = [np.concatenate(cards[start : start + 6], 1) for start in (0, 6)]
    Image.fromarray(np.concatenate(rows)).save(path)

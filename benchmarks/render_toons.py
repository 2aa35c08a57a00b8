"""Rendering and composing: pictures a minute on one core, and what the drawing sheet saves.

    python benchmarks/render_toons.py

The baseline of the ratio is the same drawing on an RGBA sheet, which Pillow multiplies by alpha
before it averages (personae.toons.pen says why ours need not be).
"""

from __future__ import annotations

import time
from unittest.mock import patch

import numpy as np
from PIL import Image

from personae.toons import pen, portrait, scene, toon


def a_minute(make, count: int = 60) -> float:
    make(0)
    begun = time.process_time()
    for seed in range(count):
        make(seed)
    return 60 * count / (time.process_time() - begun)


class PlainImage:
    """Pillow as it is: a transparent RGBA sheet."""

    @staticmethod
    def new(mode: str, size: tuple[int, int], color: tuple[int, ...]) -> Image.Image:
        return Image.new("RGBA", size, color)

    Image = Image.Image


def finished(self) -> np.ndarray:
    small = self.sheet.convert("RGBa").reduce(4)
    return np.asarray(small, np.float32) / np.float32(255)


def main() -> None:
    makes = {
        "portraits of 64 pixels": lambda seed: portrait(toon(seed), seed),
        "scenes of two, with both references": lambda seed: scene(seed, count=2),
        "scenes of five, with all references": lambda seed: scene(seed, count=5),
    }
    for name, make in makes.items():
        ratios, ours = [], 0.0
        for _ in range(3):
            ours = max(ours, quick := a_minute(make))
            with (
                patch.object(pen, "Image", PlainImage),
                patch.object(pen.Pen, "finished", finished),
            ):
                ratios.append(quick / a_minute(make))
        print(
            f"{name}: {ours:.0f} a minute on one core, {np.median(ratios):.2f} times a plain "
            f"RGBA sheet ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()

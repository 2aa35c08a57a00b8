"""How many faces dlib finds, by size, tilt and squeeze, on known photographs: HOG, HOG and CNN.

    PERSONAE_DATA=DIR python benchmarks/face_recall.py [--pictures 20] [--no-cnn]

DIR holds photos/people and benchmarks/xversebench/human. Each photograph with one face is resized
so that the face is as wide as said, tilted in its plane or squeezed sideways (cos of an angle: a
stand-in for a turned head, which no photograph can be made into), and pasted on a street-like
background of 640 x 480 pixels.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import numpy as np
from PIL import Image

from personae.vision.faces import DlibFaceDetector

SIZES_PX = (20, 30, 40, 60, 80, 120)
TILTS = (0, 15, 30, 45)
SQUEEZES = (0, 30, 45, 60)
CANVAS = (640, 480)


def photographs(folder: Path, most: int) -> list[tuple[Image.Image, tuple[float, float, float]]]:
    """Photographs that show one clear face, with its middle and width."""
    detector, found = DlibFaceDetector(use_cnn=False), []
    people = sorted((folder / "photos/people").glob("*_[12].jpg"))
    for path in [*people, *sorted((folder / "benchmarks/xversebench/human").glob("*.jpg"))][:most]:
        picture = Image.open(path).convert("RGB")
        faces = detector.detect(np.asarray(picture))
        if len(faces) == 1:
            found.append((picture, (*faces[0].box.center, faces[0].box.width)))
    return found


def background(seed: int) -> Image.Image:
    """Coarse colored noise, smoothed: edges and blobs, but no face."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(CANVAS, Image.Resampling.BICUBIC)


def placed(photo, face, size_px, tilt, squeeze, seed):
    """The canvas, and where the middle of the face is on it."""
    scale = size_px / face[2]
    wide = scale * math.cos(math.radians(squeeze))
    small = photo.resize((max(1, round(photo.width * wide)), max(1, round(photo.height * scale))))
    center = np.array([face[0] * wide, face[1] * scale])
    reach = round(size_px * 1.3)
    left, top = (int(value) for value in np.round(center) - reach)
    part = small.crop((left, top, left + 2 * reach, top + 2 * reach))
    inside = Image.new("L", small.size, 255).crop((left, top, left + 2 * reach, top + 2 * reach))
    canvas, corner = background(seed), (CANVAS[0] // 2 - reach, CANVAS[1] // 2 - reach)
    turned = part.rotate(tilt, Image.Resampling.BICUBIC)
    canvas.paste(turned, corner, inside.rotate(tilt))
    return np.asarray(canvas)


def recall(photos, detector, size_px, tilt=0, squeeze=0):
    """Share of faces found, detections elsewhere, seconds a picture."""
    hits, elsewhere, start = 0, 0, time.perf_counter()
    for seed, (photo, face) in enumerate(photos):
        found = detector.detect(placed(photo, face, size_px, tilt, squeeze, seed), expected=1)
        near = [
            math.dist(item.box.center, (CANVAS[0] / 2, CANVAS[1] / 2)) < size_px / 2
            for item in found
        ]
        hits, elsewhere = hits + any(near), elsewhere + near.count(False)
    seconds = (time.perf_counter() - start) / len(photos)
    return f"{hits / len(photos):.2f} | {elsewhere} | {seconds:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--no-cnn", action="store_true")
    options = parser.parse_args()
    photos = photographs(Path(os.environ["PERSONAE_DATA"]), options.pictures)
    print(
        f"{len(photos)} photographs\n\n| eyes | face px | tilt | squeeze | recall | elsewhere | s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    cases = [(size, 0, 0) for size in SIZES_PX]
    cases += [(120, tilt, 0) for tilt in TILTS[1:]] + [
        (120, 0, squeeze) for squeeze in SQUEEZES[1:]
    ]
    for use_cnn in (False, True)[: 1 if options.no_cnn else 2]:
        detector = DlibFaceDetector(use_cnn=use_cnn)
        for size, tilt, squeeze in cases:
            line = recall(photos, detector, size, tilt, squeeze)
            eyes = "HOG + CNN" if use_cnn else "HOG"
            print(f"| {eyes} | {size} | {tilt} | {squeeze} | {line} |", flush=True)


if __name__ == "__main__":
    main()

"""Embedding aligned faces: ours in one batch against a loop over dlib's own call.

    python benchmarks/embed_faces.py [--faces 32] [--repeats 5] [--threads N]

Both take the same crops, in the same run, by turns. The crops are one photograph's face, shifted.
"""

from __future__ import annotations

import argparse
import statistics
import time

import dlib
import numpy as np
import skimage.data
import torch

from personae.vision.faces.align import aligned_crops
from personae.vision.faces.detect import DlibFaceDetector
from personae.vision.faces.embed import DLIB_WEIGHTS, DlibFaceEmbedder


def chips(count: int) -> np.ndarray:
    """(count, 150, 150, 3) uint8: the astronaut's face, landmarks moved a little each time."""
    image = skimage.data.astronaut()
    face = DlibFaceDetector(use_cnn=False).detect(image)[0].landmarks
    moved = face + np.random.default_rng(0).normal(0, 2, (count, 5, 2))
    picture = torch.from_numpy(image).permute(2, 0, 1).float()
    crops = aligned_crops([picture], [moved])
    return crops.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous().numpy()


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(faces: int, repeats: int) -> list[tuple[float, float]]:
    """Seconds of dlib's loop and of our batch, for each repeat; first checked to agree."""
    model = dlib.face_recognition_model_v1(str(DLIB_WEIGHTS.path()))
    embedder, arrays = DlibFaceEmbedder(), chips(faces)

    def loop():
        return np.array([model.compute_face_descriptor(chip) for chip in arrays])

    def batch():
        with torch.inference_mode():
            crops = torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 255
            return embedder.embed(crops).numpy()

    difference = np.abs(loop() - batch()).max()
    print(f"largest difference between the two: {difference:.1e}")
    assert difference < 1e-5, "the two do not compute the same"
    return [(seconds(loop), seconds(batch)) for _ in range(repeats)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    times = measure(options.faces, options.repeats)
    ratios = sorted(dlib_s / ours_s for dlib_s, ours_s in times)
    dlib_rate, our_rate = (
        options.faces / statistics.median(side) for side in zip(*times, strict=True)
    )
    print(f"faces {options.faces}, repeats {options.repeats}, torch threads {options.threads}")
    print(f"dlib {dlib_rate:.1f} faces/s, personae {our_rate:.1f} faces/s")
    middle = statistics.median(ratios)
    print(f"ratio min {ratios[0]:.2f}, median {middle:.2f}, max {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()

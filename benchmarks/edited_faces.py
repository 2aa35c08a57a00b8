"""How like themselves toons stay when the world edits what they wear and do: `[edited] same`.

    python benchmarks/edited_faces.py [SCENES]

Training scenes of two, drawn bare and as they are (`personae.toons.scene`, ``bare``); each face is
compared with its own before, by the eyes that the data pipelines use on toons.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.optimize import linear_sum_assignment

from personae.data.pipeline.people import descriptors_of, face_eyes, look
from personae.toons import scene

COUNT = 2


def main(num_scenes: int) -> None:
    eyes = face_eyes("toons")
    similarities: list[float] = []
    edited = missed = 0
    for seed in range(num_scenes):
        pair = [scene(seed, count=COUNT, split="train", bare=bare).image for bare in (True, False)]
        if np.array_equal(*pair):
            continue
        edited += 1
        before, after = (look(eyes, picture, COUNT) for picture in pair)
        missed += (len(before) != COUNT) + (len(after) != COUNT)
        if not before or not after:
            continue
        similar = eyes.embedder.similarity(descriptors_of(before), descriptors_of(after)).numpy()
        similarities += similar[linear_sum_assignment(-similar)].tolist()
    least, fifth, median = np.quantile(similarities, [0, 0.05, 0.5])
    print(f"{edited} of {num_scenes} scenes edited; pictures with not {COUNT} faces: {missed}")
    print(f"{len(similarities)} faces: least {least:.3f}, 5th {fifth:.3f}, median {median:.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)

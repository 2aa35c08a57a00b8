"""200 pictures of two people, end to end, against a plain loop of dlib's calls and SciPy.

Both read the same files, find every face, embed it, match it to the references and give ID-Sim, one
to one. The plain loop is what one writes with dlib's own calls: detector with one enlargement,
five-point landmarks, `compute_face_descriptor`, a NumPy distance, `linear_sum_assignment`.
Ours runs `evaluate` with one process a core, from a cold start without a cache, and also writes all
other metrics. Only faces that the detector of both finds are pasted: where one is missing, ours
looks again with dlib's CNN, which takes about a second a picture and which the plain loop lacks.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment
from skimage import data
from timing import print_ratio, seconds

from personae.evaluation.evaluate import Evaluation, evaluate
from personae.metrics.witnesses import EyesChoice
from personae.vision.faces import DlibFaceDetector

NUM_PICTURES = 200
SIDE = 512


def faces() -> list[np.ndarray]:
    """The astronaut, and small grey faces enlarged: (200, 200, 3) uint8 each."""
    grey = [
        Image.fromarray((face * 255).clip(0, 255).astype(np.uint8))
        for face in data.lfw_subset()[:100]
    ]
    others = [
        np.asarray(face.resize((200, 200), Image.Resampling.BICUBIC).convert("RGB"))
        for face in grey
    ]
    detector = DlibFaceDetector(use_cnn=False)
    found = [face for face in others if len(detector.detect(framed(face), 1)) == 1]
    return [data.astronaut()[0:200, 120:320], *found[:40]]


def framed(photo: np.ndarray) -> np.ndarray:
    """A photo with room around it, as a reference."""
    return np.pad(photo, ((40, 40), (40, 40), (0, 0)), mode="edge")


def write_set(folder: Path) -> None:
    """References, scenes and pictures."""
    photos = faces()
    (folder / "images").mkdir(parents=True)
    for index, photo in enumerate(photos):
        Image.fromarray(framed(photo)).save(folder / f"{index}.png")
    lines = []
    generator = np.random.default_rng(0)
    for number in range(NUM_PICTURES):
        second = 1 + number % (len(photos) - 1)
        picture = generator.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
        for index, left in ((0, 30), (second, 280)):
            top = int(generator.integers(20, 280))
            picture[top : top + 200, left : left + 200] = photos[index]
        Image.fromarray(picture).save(folder / "images" / f"s{number}.png")
        subjects = {
            name: {"noun": "person", "kind": "person", "references": [f"{index}.png"]}
            for name, index in (("a", 0), ("b", second))
        }
        lines.append(
            json.dumps({"id": f"s{number}", "prompt": "{a} and {b}", "subjects": subjects})
        )
    (folder / "scenes.jsonl").write_text("\n".join(lines))


def plain_loop(folder: Path) -> list[float]:
    """Detector, dlib, SciPy; nothing batched, one process."""
    import dlib

    spec = find_spec("face_recognition_models")
    models = Path(spec.submodule_search_locations[0]) / "models"
    detector = dlib.get_frontal_face_detector()
    shapes = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(
        str(models / "dlib_face_recognition_resnet_model_v1.dat")
    )

    def descriptors(path: Path) -> np.ndarray:
        image = np.asarray(Image.open(path).convert("RGB"))
        found = [shapes(image, box) for box in detector(image, 1)]
        rows = [np.array(network.compute_face_descriptor(image, shape)) for shape in found]
        return np.array(rows).reshape(len(rows), 128)

    known: dict[str, np.ndarray] = {}
    scores = []
    for line in (folder / "scenes.jsonl").read_text().splitlines():
        scene = json.loads(line)
        references = []
        for subject in scene["subjects"].values():
            path = subject["references"][0]
            if path not in known:
                known[path] = descriptors(folder / path)[:1]
            references.append(known[path])
        seen = descriptors(folder / "images" / f"{scene['id']}.png")
        if not len(seen) or not all(len(item) for item in references):
            scores.append(0.0)
            continue
        distance = np.linalg.norm(np.concatenate(references)[:, None] - seen[None], axis=2)
        rows, columns = linear_sum_assignment(distance)
        scores.append(float(1 - distance[rows, columns].mean()))
    return scores


def ours(folder: Path) -> None:
    """The whole command, two processes."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    task = Evaluation(
        scenes=folder / "scenes.jsonl",
        images=folder / "images",
        out=out,
        eyes=EyesChoice(cache=None),
        num_workers=0,
    )
    evaluate(task)


def main(repeats: int = 3) -> None:
    """Print the ratio."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder)
        pairs = [
            (seconds(lambda: ours(folder)), seconds(lambda: plain_loop(folder)))
            for _ in range(repeats)
        ]
    print_ratio(f"scoring {NUM_PICTURES} pictures", "plain loop of dlib and SciPy", pairs)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)

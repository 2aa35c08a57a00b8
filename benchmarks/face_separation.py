"""How well dlib's descriptor tells people apart: distances, calibrated similarity, AUC.

    PERSONAE_DATA=DIR python benchmarks/face_separation.py

DIR holds photos/people (two people, three faces each, and a third person) and
benchmarks/xversebench/human (20 generated identities, one picture each).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from personae.vision.faces import DlibFaceDetector, DlibFaceEmbedder, FaceEyes

GROUP = {"obama": (636, 254), "biden": (430, 271), "third": (858, 580)}


def named_faces(folder: Path) -> tuple[list[str], torch.Tensor]:
    """Who each face is, and its descriptor; generated ones are named by their file."""
    eyes = FaceEyes(DlibFaceDetector(use_cnn=False), DlibFaceEmbedder())
    people = sorted((folder / "photos/people").glob("*.jpg"))
    names, rows = [], []
    for path in [*people, *sorted((folder / "benchmarks/xversebench/human").glob("*.jpg"))]:
        found, descriptors = eyes.faces(np.asarray(Image.open(path).convert("RGB")))
        for item, row in zip(found, descriptors, strict=True):
            where = {who: np.hypot(*np.subtract(item.box.center, at)) for who, at in GROUP.items()}
            group = path.stem == "obama_and_biden"
            who = min(where, key=where.__getitem__) if group else path.stem
            names.append(who if group or path.stem[0].isdigit() else path.stem.split("_")[0])
            rows.append(row)
    return names, torch.stack(rows)


def auc(same: np.ndarray, different: np.ndarray) -> float:
    """Share of (same, different) pairs of pairs in the right order; ties count half."""
    return float((np.sign(same[:, None] - different[None]) / 2 + 0.5).mean())


def line(what: str, values: np.ndarray, similarity: np.ndarray, same: np.ndarray) -> None:
    quantiles = " ".join(f"{value:.2f}" for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1]))
    low, half = (similarity < 0.1).mean(), (similarity < 0.5).mean()
    area = "" if values is same else f"{auc(-same, -values):.3f}"
    print(f"| {what} | {len(values)} | {quantiles} | {low:.3f} | {half:.3f} | {area} |")


def main() -> None:
    names, rows = named_faces(Path(os.environ["PERSONAE_DATA"]))
    distance = torch.cdist(rows.double(), rows.double()).numpy()
    similar = DlibFaceEmbedder().similarity(rows, rows).numpy()
    first, second = np.triu_indices(len(names), 1)
    alike = np.array([names[a] == names[b] for a, b in zip(first, second, strict=True)])
    drawn = np.array([name[0].isdigit() for name in names])
    generated = drawn[first] & drawn[second]
    values, scores = distance[first, second], similar[first, second]
    print("| pairs | n | distance: min 5% 50% 95% max | similarity < 0.1 | < 0.5 | AUC |")
    print("| --- | --- | --- | --- | --- | --- |")
    kinds = {
        "same person": alike,
        "strangers, all": ~alike,
        "strangers, a photograph among them": ~alike & ~generated,
        "strangers, both generated": generated,
    }
    same = values[alike]
    for what, chosen in kinds.items():
        line(what, same if what == "same person" else values[chosen], scores[chosen], same)
    order = [k for k in np.argsort(values) if generated[k]][:5]
    print("closest generated strangers:")
    for k in order:
        print(f"  {names[first[k]]} and {names[second[k]]}: {values[k]:.2f}, {scores[k]:.2f}")


if __name__ == "__main__":
    main()

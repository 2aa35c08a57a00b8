"""How well eyes see toons: faces found, identities told apart, claims answered; with intervals.

    python benchmarks/toon_eyes.py [--eyes toons --eyes examiner --eyes dlib --eyes efficientnet]

Everything is measured on test identities: scenes of one to five toons, and an album of families
(a toon and two look-alikes with one trait changed, each in a scene and in two portraits).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from personae.subjects.box import Box
from personae.toons.scene import ToonScene, scene
from personae.training.eyes_album import Album, AlbumPlan, album
from personae.training.eyes_noise import blurred, softened
from personae.training.eyes_trial import (
    Pairs,
    Sightings,
    descriptors,
    matched,
    sightings,
    verification,
    verification_pairs,
)
from personae.vision.detectors import GuidedDetector
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.embedders.crops import image_tensor, square_crop_batch
from personae.vision.faces import DlibFaceDetector, DlibFaceEmbedder
from personae.vision.toons import Examiner, ToonFaceDetector, ToonFaceEmbedder

NAMES = ("dlib", "efficientnet", "toons", "examiner")


def line(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def said(value: tuple[float, float, float]) -> str:
    return f"{value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"


def drawn(image: np.ndarray, how: str) -> np.ndarray:
    """A clean rendering as a small autoencoder might give it back."""
    if how == "clean":
        return image
    pixels = image_tensor(image)[None]
    noise = torch.randn(
        pixels.shape, generator=torch.Generator().manual_seed(int(image.sum()) % 2**31)
    )
    made = blurred(pixels, 0.8) if how == "blurred" else softened(pixels, 2.0, 0.03 * noise)
    return (made[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


# Identities


def dlib_points(rows: np.ndarray) -> np.ndarray:
    """dlib's five points (corners of the eyes, base of the nose) where a toon has them."""
    left, right, nose = rows[:, 0], rows[:, 1], rows[:, 2]
    corner = 0.2 * (right - left)
    return np.stack([right + corner, right - corner, left - corner, left + corner, nose], 1)


def efficientnet_rows(pages: Album) -> torch.Tensor:
    """Box crops of one and a half faces, as for things."""
    eyes, rows = EfficientNetEmbedder(), []
    for face, index in enumerate(pages.picture):
        left, top, right, bottom = pages.row[face, :4].astype(float)
        dx, dy = (right - left) / 4, (bottom - top) / 4
        image = pages.image(int(index))
        box = Box(left - dx, top - dy, right + dx, bottom + dy)
        box = box.clipped(image.shape[1], image.shape[0])
        crops = square_crop_batch(image, [box], eyes.side_px)
        with torch.inference_mode():
            rows.append(eyes.embed(crops))
    return torch.cat(rows)


def known(name: str, pages: Album) -> torch.Tensor:
    points = pages.row[:, 4:].reshape(-1, 5, 2)
    if name == "efficientnet":
        return efficientnet_rows(pages)
    if name == "dlib":
        return descriptors(DlibFaceEmbedder(), pages, dlib_points(points))
    embedder = ToonFaceEmbedder() if name == "toons" else Examiner.load().embedder
    return descriptors(embedder, pages)


def scores(name: str, rows: torch.Tensor, pairs: Pairs) -> np.ndarray:
    first, second = rows[pairs.first], rows[pairs.second]
    if name == "dlib":
        return -(first - second).square().sum(1).numpy()
    if name in {"toons", "examiner"}:
        embedder = ToonFaceEmbedder() if name == "toons" else Examiner.load().embedder
        return embedder.agreement(first[:, None], second[:, None])[:, 0, 0].detach().numpy()
    return torch.cosine_similarity(first, second).numpy()


def identities(name: str, pages: Album, pairs: Pairs) -> None:
    seen = verification(scores(name, known(name, pages), pairs), pairs)
    counts = f"{seen.num_same}, {seen.num_strangers}, {seen.num_look_alikes}"
    line(name, said(seen.strangers), said(seen.look_alikes), counts)


def through_detection(name: str, pages: Album, pairs: Pairs, how: str) -> None:
    """The same by the landmarks that the eyes' own detector finds; scenes drawn with ``how``."""
    examiner = Examiner.load()
    detector = ToonFaceDetector() if name == "toons" else examiner.detector
    embedder = ToonFaceEmbedder() if name == "toons" else examiner.embedder
    points = np.full((len(pages.row), 5, 2), np.nan)
    pixels = pages.pixels.copy()
    for index in range(len(pages.shapes)):
        faces = pages.faces_of(index)
        image = drawn(pages.image(index), how if pages.place[index] >= 0 else "clean")
        start = int(pages.starts[index])
        pixels[start : start + image.size] = image.reshape(-1)
        found = detector.detect(image, len(faces))
        true = [Box(*map(float, pages.row[face, :4])) for face in faces]
        for number, other in matched([item.box for item in found], true).items():
            points[faces[number]] = found[other].landmarks
    seen = np.isfinite(points).all((1, 2))
    points[~seen] = pages.row[~seen, 4:].reshape(-1, 5, 2)
    changed = Album(**{**pages.arrays(), "pixels": pixels})
    values = scores(name, descriptors(embedder, changed, points), pairs)
    values[~(seen[pairs.first] & seen[pairs.second])] = np.nan
    result = verification(values, pairs)
    line(name, how, said(result.strangers), said(result.look_alikes), f"{seen.mean():.3f}")


# Faces


def truth(item: ToonScene) -> list[Box]:
    return [member.face for member in item.members]


def faces(name: str, scenes: list[ToonScene], what: str, how: str = "clean") -> None:
    detectors = {
        "dlib": DlibFaceDetector,
        "toons": ToonFaceDetector,
        "examiner": lambda: Examiner.load().detector,
    }
    images = [drawn(item.image, how) for item in scenes]
    began = time.perf_counter()
    seen, _ = sightings(detectors[name](), images, [truth(item) for item in scenes])
    each = (time.perf_counter() - began) / len(scenes)
    count = f"{len(scenes)}, {int(seen.true.sum())}"
    line(name, what, how, count, said(seen.recall()), said(seen.precision()), f"{each:.3f}")


def things(scenes: list[ToonScene]) -> None:
    """The guided detector, given each toon's masked reference: is the whole figure found?"""
    detector, parts = GuidedDetector(EfficientNetEmbedder()), []
    for item in scenes:
        cast = {member.name: [member.reference.reference] for member in item.members}
        nouns = {member.name: member.toon.noun for member in item.members}
        found = detector.detect(item.image, cast, nouns)
        hits = 0
        for member in item.members:
            own = [thing.box for thing in found if thing.subject == member.name]
            hits += any(max(box.iou(member.box), box.iou(member.face)) >= 0.5 for box in own)
        parts.append((len(item.members), hits, len(found)))
    seen = Sightings(*(np.array(part) for part in zip(*parts, strict=True)))
    count = f"{len(scenes)}, {int(seen.true.sum())}"
    line("guided", "2 toons", "clean", count, said(seen.recall()), said(seen.precision()), "-")


# Claims


def claims(scenes: list[ToonScene], how: str) -> None:
    """The examiner on the faces that it finds: shares right, with and without something."""
    judge, right = Examiner.load(), dict[str, list[bool]]()
    for item in scenes:
        image = drawn(item.image, how)
        right.setdefault("place", []).append(judge.detector.place(image) == item.place)
        found = judge.detector.detect(image, len(item.members))
        pairs = matched([one.box for one in found], truth(item))
        points = np.array([found[other].landmarks for other in pairs.values()]).reshape(-1, 5, 2)
        for number, (worn, done) in zip(pairs, judge.reader.read(image, points), strict=True):
            member = item.members[number]
            for kind, asked, seen in (
                ("wears", member.wears, worn),
                ("action", member.action, done),
            ):
                which = kind if asked else f"no {kind}"
                right.setdefault(which, []).append(seen == (asked or "nothing"))
    for kind, values in sorted(right.items()):
        line(kind, how, len(values), f"{np.mean(values):.3f}")


DRAWN = ("clean", "blurred", "softened")


def identity_tables(eyes: list[str], pages: Album) -> None:
    pairs = verification_pairs(pages)
    line("eyes", "AUC, strangers", "AUC, look-alikes", "pairs: same, strangers, look-alikes")
    line(*["---"] * 4)
    for name in eyes:
        identities(name, pages, pairs)
    line("eyes", "scenes", "AUC, strangers", "AUC, look-alikes", "found")
    line(*["---"] * 5)
    for name in eyes:
        for how in DRAWN if name in {"toons", "examiner"} else ():
            through_detection(name, pages, pairs, how)


def face_tables(eyes: list[str], rows: dict[int, list[ToonScene]]) -> None:
    line("eyes", "what", "drawn", "n scenes, faces", "recall", "precision", "s/picture")
    line(*["---"] * 7)
    everything = [item for part in rows.values() for item in part]
    for name in eyes:
        if name == "efficientnet":
            things(rows[2][:10])
            continue
        for count, part in rows.items():
            faces(name, part, f"{count} toons")
        for how in DRAWN[:1] if name == "dlib" else DRAWN:
            faces(name, everything, "all", how)


def claim_table(rows: dict[int, list[ToonScene]]) -> None:
    line("claim", "drawn", "n", "right")
    line(*["---"] * 4)
    for how in DRAWN:
        claims([item for part in rows.values() for item in part], how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eyes", action="append", choices=NAMES)
    parser.add_argument("--part", action="append", choices=("identities", "faces", "claims"))
    parser.add_argument("--families", type=int, default=300)
    parser.add_argument("--scenes", type=int, default=60, help="of each number of toons")
    parser.add_argument("--albums", type=Path, default=Path("albums"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    eyes, parts = given.eyes or list(NAMES), given.part or ["identities", "faces", "claims"]
    if "identities" in parts:
        plan = AlbumPlan(split="test", families=given.families, seed=2)
        identity_tables(eyes, album(plan, given.albums))
    rows = {
        count: [scene(10_000 + i, count=count, split="test") for i in range(given.scenes)]
        for count in range(1, 6)
    }
    if "faces" in parts:
        face_tables(eyes, rows)
    if "claims" in parts:
        claim_table(rows)


if __name__ == "__main__":
    main()

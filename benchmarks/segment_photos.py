"""Masks found with no mask given, against the masks of twenty photographs: mean IoU.

    PERSONAE_DATA=... python benchmarks/segment_photos.py [--together 5] [--methods ...] [--sheet F]

Methods: ``estimate``, the guided detector's foreground estimate alone; ``box``, GrabCut in a box
that leaves a tenth of the photo on each side; ``first``, GrabCut on the estimate; ``together``,
what ``personae prepare`` does without weights. The settings of ``together`` were chosen on these
very photographs; ``--toons`` looks at drawn portraits instead, which no setting was chosen on.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from personae import toons
from personae.data.contact_sheet import SheetPhoto, SheetRow, contact_sheet, shown
from personae.data.segment import TogetherCutter, face_detector, person_middle
from personae.metrics.summary import cluster_bootstrap
from personae.subjects.box import Box
from personae.subjects.mask import mask_iou
from personae.subjects.picture import read_mask, read_picture
from personae.vision.detectors import GuidedDetector
from personae.vision.detectors.foreground import estimated_masks, likely_places
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.segmenters import GrabCut
from personae.vision.segmenters.grabcut import main_part

NAMES = ("chow", "corgi", "monster", "robot")
Masks = list[np.ndarray]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo and its true mask."""

    name: str
    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Found:
    """What a method made of a photo."""

    subject: str
    photo: Photo
    mask: np.ndarray
    seconds: float

    @property
    def iou(self) -> float:
        return mask_iou(self.mask, self.photo.mask)


def photographs(data: Path) -> dict[str, list[Photo]]:
    """The twenty photographs."""
    found: dict[str, list[Photo]] = {}
    for name in NAMES:
        for path in sorted((data / "photos" / "subjects" / name).glob("0?.jpg")):
            image = read_picture(path)
            mask = read_mask(path.with_suffix(".mask.png"), image.shape[:2])
            found.setdefault(name, []).append(Photo(path.name, image, mask))
    return found


def portraits(count: int) -> dict[str, list[Photo]]:
    """Five portraits of each of so many toons from the test identities."""
    found: dict[str, list[Photo]] = {}
    for seed in toons.identities("test", count):
        one = toons.toon(seed)
        drawn = [toons.portrait(one, seed=number, side=256) for number in range(5)]
        found[f"toon {seed}"] = [Photo(str(i), p.image, p.mask) for i, p in enumerate(drawn)]
    return found


class Methods:
    """Each takes a subject's photos and gives their masks."""

    def __init__(self) -> None:
        self.detector = GuidedDetector(EfficientNetEmbedder())
        self.grabcut = GrabCut()
        self.cutter = TogetherCutter(self.grabcut, self.detector)
        self.faces = face_detector("toons")

    def _dense(self, image: np.ndarray) -> torch.Tensor:
        return self.detector.dense_map(image, 480)

    def estimate(self, images: Masks) -> Masks:
        return estimated_masks(images, self._dense)

    def box(self, images: Masks) -> Masks:
        boxes = [Box(*(np.array([1, 1, 9, 9]) / 10 * (image.shape[1::-1] * 2))) for image in images]
        return [
            main_part(self.grabcut.segment(image, box))
            for image, box in zip(images, boxes, strict=True)
        ]

    def first(self, images: Masks) -> Masks:
        likely = likely_places([self._dense(image) for image in images])
        return [
            main_part(self.grabcut.segment(image, np.asarray(places)))
            for image, places in zip(images, likely, strict=True)
        ]

    def together(self, images: Masks) -> Masks:
        return self._cut(images, [None] * len(images))

    def faces_first(self, images: Masks) -> Masks:
        """As ``together``, told where the (toon's) face is, as `prepare` does for people."""
        middles = [
            person_middle(image.shape[:2], found[0].box) if found else None
            for image, found in ((image, self.faces.detect(image)) for image in images)
        ]
        return self._cut(images, middles)

    def _cut(self, images: Masks, middles: list[np.ndarray | None]) -> Masks:
        cuts = self.cutter.cut(images, [None] * len(images), "", middles)
        return [
            np.zeros(image.shape[:2], bool) if cut.mask is None else main_part(cut.mask)
            for image, cut in zip(images, cuts, strict=True)
        ]


def measure(
    method: Callable[[Masks], Masks], photos: dict[str, list[Photo]], together: int
) -> list[Found]:
    """Look at so many photos of a subject at a time."""
    rows = []
    for subject, items in photos.items():
        for start in range(0, len(items), together):
            part = items[start : start + together]
            began = time.process_time()
            with torch.inference_mode():
                masks = method([item.image for item in part])
            seconds = (time.process_time() - began) / len(part)
            rows += [
                Found(subject, item, mask, seconds) for item, mask in zip(part, masks, strict=True)
            ]
    return rows


def table_line(name: str, rows: list[Found]) -> str:
    """A method: mean IoU with its interval over photos, per subject, the worst, seconds."""
    ious = [row.iou for row in rows]
    low, high = cluster_bootstrap(ious, range(len(ious))) or (float("nan"),) * 2
    subjects = dict.fromkeys(row.subject for row in rows)
    means = [np.mean([row.iou for row in rows if row.subject == name]) for name in subjects]
    each = (
        ", ".join(f"{mean:.3f}" for mean in means)
        if len(means) <= 4
        else f"{min(means):.3f} to {max(means):.3f}"
    )
    worst = sorted(rows, key=lambda row: row.iou)[:3]
    told = ", ".join(f"{row.subject} {row.photo.name} {row.iou:.2f}" for row in worst)
    seconds = float(np.mean([row.seconds for row in rows]))
    return (
        f"| {name} | {np.mean(ious):.3f} [{low:.3f}, {high:.3f}] | {len(ious)} | {each} | {told} "
        f"| {seconds:.1f} |"
    )


def save_sheet(rows: list[Found], path: Path) -> None:
    """A contact sheet of what was found."""
    subjects = dict.fromkeys(row.subject for row in rows)
    sheet = [
        SheetRow(
            name,
            tuple(
                SheetPhoto(shown(r.photo.image, r.mask), f"IoU {r.iou:.2f}", r.iou < 0.8)
                for r in rows
                if r.subject == name
            ),
        )
        for name in subjects
    ]
    path.write_bytes(contact_sheet(sheet))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default="estimate,box,first,together")
    parser.add_argument("--together", type=int, default=5, help="photos looked at together")
    parser.add_argument("--toons", type=int, default=0, help="so many toons instead of photographs")
    parser.add_argument("--sheet", type=Path, help="where a contact sheet of the last goes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    photos = portraits(args.toons) if args.toons else photographs(Path(os.environ["PERSONAE_DATA"]))
    methods, rows = Methods(), []
    methods.together([np.zeros((64, 64, 3), np.uint8)])  # loads the weights
    print("| method | mean IoU | photos | subjects | worst | CPU s/photo |")
    print("|---|---|---|---|---|---|")
    for name in args.methods.split(","):
        rows = measure(getattr(methods, name), photos, args.together)
        print(table_line(name, rows), flush=True)
    if args.sheet is not None:
        save_sheet(rows, args.sheet)


if __name__ == "__main__":
    main()

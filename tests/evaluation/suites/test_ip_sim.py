"""XVerseBench's IP-Sim from Florence-2's answer to the row, against its program's way by Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from personae.evaluation.measure import Shot, measure
from personae.metrics.evidence import Witness
from personae.metrics.eyes import ThingsEyes
from personae.subjects.scene import Scene
from personae.subjects.subject import ReferenceFile, Subject
from personae.vision.detectors import ThingEyes
from tests.vision.test_detectors_cut_out import SIDE, Disk, Plain
from tests.vision.test_detectors_florence import Told, places

WIDTH, HEIGHT = 200, 120
RNG = np.random.default_rng(5)
SEEN, REFERENCE = (
    np.kron(RNG.integers(0, 200, shape, dtype=np.uint8), np.ones((16, 16, 1), np.uint8))[:HEIGHT]
    for shape in ((8, 13, 3), (4, 4, 3))
)
SEEN = SEEN[:, :WIDTH]
# Too small in area (8 x 11 pixels); three that count; and a fourth that does not.
BOXES = [(0, 0, 40, 91), (200, 100, 500, 900), (500, 300, 950, 500), (300, 0, 420, 999),
         (600, 400, 899, 900)]  # fmt: skip


class Colors(Plain):
    """White is nothing to be alike by."""

    def embed(self, crops):
        return F.normalize(1.001 - crops.flatten(1), dim=1)


def answer(*boxes: tuple[int, ...]) -> str:
    return "</s><s>corgi" + "".join(places(*box) for box in boxes) + "</s>"


def slow_ip_similarity(picture: np.ndarray, reference: torch.Tensor, boxes) -> list[float]:
    """All scores that the program takes the maximum of, instance by instance."""
    least, scores = WIDTH // 20, []
    for box in boxes:
        sides = (WIDTH, HEIGHT, WIDTH, HEIGHT)
        exact = [(k + 0.5) * side / 1000 for k, side in zip(box, sides, strict=True)]
        left, top, right, bottom = (round(place) for place in exact)
        high, wide = bottom - top, right - left
        if wide * high < least * least or min(wide, high) < least // 4 or len(scores) == 3:
            continue
        middle = ((exact[0] + exact[2]) / 2, (exact[1] + exact[3]) / 2)
        where = type("Where", (), {"center": middle})
        white = np.where(Disk().segment(picture, where)[..., None], picture, 255)
        cut = Image.fromarray(white.astype(np.uint8)).crop((left, top, right, bottom))
        square = Image.new("RGB", (max(cut.size), max(cut.size)), "white")
        square.paste(cut, ((square.width - wide) // 2, (square.height - high) // 2))
        small = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) / 255
        crop = torch.from_numpy(small).permute(2, 0, 1).float()
        scores.append(float(Colors().cosine(Colors().embed(crop[None]), reference)[0, 0]))
    return scores


@pytest.fixture
def row(tmp_path: Path):
    """The official row of IP-Sim where Florence-2 answers so."""
    for name, image in {"seen": SEEN, "reference": REFERENCE}.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    file = ReferenceFile(tmp_path / "reference.png")
    subject = Subject("corgi", "corgi", "animal", (file,))
    scene = Scene("single-000", "a {corgi}", {"corgi": subject})

    def measured(text: str):
        eyes = ThingEyes(Told({"corgi": text}), Colors(), segmenter=Disk())
        witness = Witness(ThingsEyes(eyes))
        rows = measure({"thing": witness}, Shot(scene, 0, tmp_path / "seen.png"), "official")
        known = witness.gallery(scene.subjects).known["corgi"]
        return next(one for one in rows if one["metric"] == "ip_similarity"), known

    return measured


def test_the_best_of_the_first_three_instances_that_are_large_enough(row) -> None:
    told, reference = row(answer(*BOXES))
    slow = slow_ip_similarity(SEEN, reference, BOXES)
    assert len(slow) == 3 and np.ptp(slow) > 0.01
    assert told["value"] == pytest.approx(max(slow), abs=0.002)
    # In another order another three count.
    turned, _ = row(answer(*BOXES[::-1]))
    slow = slow_ip_similarity(SEEN, reference, BOXES[::-1])
    assert turned["value"] == pytest.approx(max(slow), abs=0.002)
    assert turned["value"] != pytest.approx(told["value"], abs=0.002)


def test_nothing_found_is_0_and_an_unreadable_answer_is_unmeasured(row) -> None:
    assert row(answer())[0]["value"] == 0
    assert row(answer(BOXES[0]))[0]["value"] == 0
    told, _ = row("</s><s>corgi<loc_1><loc_2></s>")
    assert told["value"] is None
    assert told["unmeasured"].startswith("the eyes failed: Florence-2's answer cannot be read")

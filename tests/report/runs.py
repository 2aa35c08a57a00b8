"""Small made-up runs of known content: pictures of colored disks, rows, facts."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw

COLORS = {"ann": (210, 90, 60), "bob": (60, 110, 200), "cup": (70, 160, 90)}
BOXES = {"ann": [20, 30, 90, 140], "bob": [110, 30, 180, 140], "cup": [190, 90, 236, 140]}
CASES = ("good", "absent", "twice", "stranger", "unmeasured", "lost")


def write_run(folder: Path, *, cases=CASES, lift: float = 0.0, prompt: str = "{ann} and {bob}"):
    """A run with one scene a case; ``lift`` is added to every similarity of a matched pair."""
    folder.mkdir(parents=True, exist_ok=True)
    subjects = {
        name: {"noun": noun, "kind": kind, "references": [f"refs/{name}.jpg"]}
        for name, noun, kind in (
            ("ann", "woman", "person"),
            ("bob", "man", "person"),
            ("cup", "cup", "object"),
        )
    }
    scenes = [{"id": case, "prompt": prompt, "subjects": subjects} for case in cases]
    _write_pictures(folder, cases)
    _write_lines(folder / "scenes.jsonl", scenes)
    rows = [row for case in cases for row in rows_of(case, lift)]
    _write_lines(folder / "results.jsonl", rows)
    (folder / "run.json").write_text(json.dumps(run_facts(cases)))
    (folder / "summary.json").write_text(json.dumps(summary_of(rows)))
    return folder


def run_facts(cases):
    references = {name: [f"refs/{name}.jpg"] for name in COLORS}
    return {
        "scenes": "scenes.jsonl",
        "images": "images",
        "protocol": "strict",
        "eyes": {"person": "disk-eyes", "object": "disk-eyes"},
        "separability": [
            {"subjects": ["ann", "bob"], "separable": False, "reason": "0.92 between them"},
            {"subjects": ["ann", "cup"], "separable": True, "reason": ""},
        ],
        "environment": {"personae": "0.1.0", "torch": "none"},
        "references": dict.fromkeys(cases, references),
    }


def summary_of(rows):
    entries = {}
    for row in rows:
        entries.setdefault(row["metric"], []).append(row["value"])
    metrics = []
    for metric, values in entries.items():
        known = [value for value in values if value is not None]
        mean = sum(known) / len(known)
        metrics.append(
            {
                "metric": metric,
                "protocol": "strict",
                "eyes": "disk-eyes",
                "mean": mean,
                "ci95": [max(0, mean - 0.1), min(1, mean + 0.1)],
                "n": len(known),
                "n_absent": known.count(0.0),
                "n_unmeasured": len(values) - len(known),
                "higher_is_better": metric != "copy_paste",
            }
        )
    return {"metrics": metrics, "environment": {"personae": "0.1.0"}}


def people_details(case, lift=0.0):
    boxes = [BOXES["ann"], BOXES["bob"]]
    matrix = [[0.7 + lift, 0.1], [0.15, 0.8 + lift]]
    details = {"strangers": [], "duplicates": [], "match": [0, 1]}
    if case == "absent":
        boxes, matrix, details["match"] = boxes[:1], [[0.7 + lift], [0.15]], [0, None]
    if case in ("twice", "stranger"):
        boxes = [*boxes, BOXES["cup"]]
        matrix = [[*row, extra] for row, extra in zip(matrix, (0.05, 0.66), strict=True)]
        details["duplicates" if case == "twice" else "strangers"] = [2]
    details |= {"kind": "person", "subjects": ["ann", "bob"], "boxes": boxes}
    details |= {"scores": [0.9] * len(boxes), "similarity": matrix, "size": [240, 160]}
    return details | {"notes": []}


def rows_of(case, lift=0.0):
    image = None if case == "lost" else f"{case}/0.png"
    why = {"lost": "no picture", "unmeasured": "no face in reference <x>.jpg"}.get(case)
    credit = {"good": 0.8, "absent": 0.35, "twice": 0.6, "stranger": 0.7}.get(case, 0.0) + lift
    states = {"absent": ("bob", 0.0, 0), "twice": ("bob", 0.5, 2)}
    rows = [_row(case, image, "strict_matching_reward", None, credit, why)]
    rows[0]["details"] = None if why else people_details(case, lift)
    rows.append(_row(case, image, "copy_paste", None, 0.3, why))
    for subject in COLORS:
        name, value, copies = states.get(case, (None, 1.0, 1))
        if name != subject:
            value, copies = 1.0, 1
        rows.append(_row(case, image, "presence", subject, value, why))
        rows[-1]["details"] = {"found": value > 0, "copies": copies, "absent": value == 0}
        rows.append(_row(case, image, "strict_id_similarity", subject, value * 0.7, why))
    return rows


def _row(case, image, metric, subject, value, why):
    row = {"scene": case, "seed": 0, "image": image, "metric": metric, "subject": subject}
    row |= {"protocol": "strict", "eyes": "disk-eyes", "value": None if why else value}
    return row | {"unmeasured": why, "details": None}


def _write_pictures(folder: Path, cases) -> None:
    for name, color in COLORS.items():
        picture = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(picture).ellipse([8, 8, 56, 56], fill=color)
        (folder / "refs").mkdir(exist_ok=True)
        picture.save(folder / "refs" / f"{name}.jpg")
    for case in cases:
        if case == "lost":
            continue
        picture = Image.new("RGB", (240, 160), (225, 225, 215))
        for name, box in BOXES.items():
            ImageDraw.Draw(picture).ellipse(box, fill=COLORS[name])
        (folder / "images" / case).mkdir(parents=True, exist_ok=True)
        picture.save(folder / "images" / case / "0.png")


def _write_lines(path: Path, rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

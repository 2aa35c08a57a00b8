"""Results folders of known content, and raters who answer by a rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

ASPECTS = ("subjects", "text", "naturalness")


def write_scenes(folder: Path, names, *, shared: bool = False) -> Path:
    """Scenes of two subjects; ``shared``: the same two in all, as in MuDI's sets."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, name in enumerate(names):
        cast = "all" if shared else name
        subjects = {}
        for place, (subject, noun) in enumerate((("a", f"{cast} cat"), ("b", f"{cast} dog"))):
            path = f"refs/{cast}-{subject}.png"
            (folder / "refs").mkdir(exist_ok=True)
            Image.new("RGB", (32, 40), (20 * number % 255, 120, 90 * place)).save(folder / path)
            subjects[subject] = {"noun": noun, "kind": "object", "references": [path]}
        lines.append({"id": name, "prompt": "{a} beside {b}, & <b>", "subjects": subjects})
    path = folder / "scenes.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_results(folder: Path, scenes: Path, values, *, tint=0) -> Path:
    """A results folder; ``values`` are of metric ``mine`` by (scene, seed), None: unmeasured."""
    images = folder / "images"
    rows = []
    for number, ((scene, seed), value) in enumerate(values.items()):
        path = images / scene / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((48, 48, 3), (tint, number % 256, 200), np.uint8)
        pixels[number % 40, :, 0] = 255
        Image.fromarray(pixels).save(path)
        row = {"scene": scene, "seed": seed, "image": f"{scene}/{seed}.png", "subject": None}
        row |= {"metric": "mine", "protocol": "strict", "eyes": "none", "details": None}
        rows.append({**row, "value": value, "unmeasured": "why" if value is None else None})
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    facts = {"scenes": str(scenes.resolve()), "images": "images"}
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


def write_models(folder: Path, *, num_scenes=6, seeds=2, models=("ours", "theirs"), shared=False):
    """Results of some models with random values; gives the folders and the values by model."""
    names = [f"s{number}" for number in range(num_scenes)]
    scenes = write_scenes(folder / "set", names, shared=shared)
    rng = np.random.default_rng(7)
    values = {
        model: {(name, seed): float(rng.random()) for name in names for seed in range(seeds)}
        for model in models
    }
    folders = [
        write_results(folder / model, scenes, values[model], tint=60 * place)
        for place, model in enumerate(models)
    ]
    return folders, values


def answer(key, question, worth):
    """What a rater says who sees the ``worth`` (0 to 1) of a picture, and passes every check."""
    shown = [key.pictures[place] for place in question.shown]
    seen = [_worth(picture, question, worth) for picture in shown]
    if question.kind == "each":
        said = {"appears": "no", "resembles": None}
        if seen[0] > 0.25:
            said = {"appears": "yes", "resembles": "yes" if seen[0] > 0.5 else "no"}
        return {"subjects": [said] * len(key.scenes[question.scene])}
    side = "equal" if seen[0] == seen[1] else "left" if seen[0] > seen[1] else "right"
    return {"better": dict.fromkeys(ASPECTS, side)}


def _worth(picture, question, worth):
    if picture.what == "references":
        return 2.0
    if picture.what == "plain" or picture.scene != question.scene:
        return -1.0
    return worth(picture.model, picture.scene, picture.seed)


def random_answer(key, question, rng):
    """What somebody says who does not look."""
    if question.kind == "pair":
        sides = rng.choice(["left", "right", "equal"], len(ASPECTS)).tolist()
        return {"better": dict(zip(ASPECTS, sides, strict=True))}
    subjects = []
    for _ in key.scenes[question.scene]:
        resembles = str(rng.choice(["yes", "no"]))
        subjects.append({"appears": "yes", "resembles": resembles})
    return {"subjects": subjects}


def sheet(key, rater, says) -> dict:
    """The content of a rater's file; ``says`` answers a question of the key."""
    answers = [{"question": q.id, "ms": 1500, **says(q)} for q in key.sheet(rater)]
    head = {"format": "personae.survey.answers", "version": 1, "survey": key.survey}
    return {**head, "rater": rater, "answers": answers}


def write_sheet(folder: Path, key, rater, says) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{rater}.json"
    path.write_text(json.dumps(sheet(key, rater, says)))
    return path

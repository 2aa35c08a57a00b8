"""What the data pipeline's sets teach, and what each filter buys: supervised fine-tuning on toons.

    python benchmarks/pipeline_sets.py OUT [--plans 480] [--workers 2] [--arms truth pipeline ...]
        [--steps 800] [--scenes 100] [--seeds 2] [--part 0/2] [--table]

All arms start as a toon checkpoint that was made to forget its references (fine-tuned on scenes
with those of others), and learn from as many pictures each. ``truth``: the world's own references.
``pipeline-cut``: `recipes/data/synthesize_toons.toml`, whose references a single-subject model
drew. ``pipeline``: the same, references not cut out. ``unfiltered``: that before its last filter.
``crops``: what was cut out, not drawn again. ``paired-cut``: `personae data pair --cut` on drawn
albums, references from other clips, ``paired``: as they stand there, ``paired-truth``: the same
pictures with the world's references; all with the world's captions.
Then half of the pictures with the world's references are spoiled in five known ways (`FAULTS`);
``spoiled`` is learned from as it is, ``filtered`` after all filters with their measured thresholds,
``without-...`` after all but one. Then each fault alone, in half of the pictures and in every
reference of them: ``half-FAULT`` is what is learned from without its filter, ``sound-half`` what a
filter that finds them all would leave, ``sound`` the same pictures before. The examiner, which
nothing was trained on, looks at what each draws of unseen toons. Resumes; ``--part I/N`` does every
N-th arm (one process a core), ``--table`` only reads what is there.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from toon_tables import cell, head, line, measured, write_truth

from personae.compute.runs import make_folder, read_json, write_atomic
from personae.compute.workers import make_workers
from personae.config import apply_settings, build_config, read_toml
from personae.data.pair import PairTask, make_pairs
from personae.data.pipeline.alike import Alike
from personae.data.pipeline.duplicates import Unlike
from personae.data.pipeline.finders import cut_head
from personae.data.pipeline.items import Item
from personae.data.pipeline.looks import perceptual_hash
from personae.data.pipeline.pairs import Pairs
from personae.data.pipeline.people import Faces, face_eyes, look
from personae.data.pipeline.runner import run_pipeline
from personae.data.synthesize import example_line, read_synthesis, synthesize
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.evaluation.compare import compare_runs
from personae.generation import Drawing, generate
from personae.subjects.box import Box
from personae.subjects.manifest import read_scenes
from personae.subjects.picture import read_picture
from personae.toons import scene, toon, write_clips
from personae.training.finetune import finetune
from personae.training.recipe import Recipe
from personae.vision.segmenters import GrabCut

RECIPES = Path(__file__).parents[1] / "recipes"
SET = RECIPES / "data" / "synthesize_toons.toml"
SFT = RECIPES / "sft_toons.toml"
FIRST_SEED = 50_000_000  # of scenes that nothing else is taught or measured on
FORGET_SEED = 60_000_000
FAULTS = ("stranger", "exchanged", "copied", "blurred", "duplicate")
TWO = ("attribute", "background", "action", "position", "complex")  # tasks with two subjects
SHARE = 0.1  # of the source, for each fault
CLEAN = ("truth", "pipeline-cut", "pipeline", "unfiltered", "crops")
PAIRED = ("paired-truth", "paired-cut", "paired")
FILTERS = ("same", "different", "copies", "sharpness", "duplicates")
MEASURED = Alike(eyes="toons")  # with the thresholds of docs/numbers.md
SPOILED = ("spoiled", "filtered", *(f"without-{name}" for name in FILTERS))
HALVES = ("sound", "sound-half", *(f"half-{fault}" for fault in FAULTS))
ARMS = ["forgetful", *CLEAN, *PAIRED, *SPOILED, *HALVES]
METRICS = (
    "presence",
    "strict_id_similarity",
    "strict_id_confusion",
    "prompt_fidelity",
    "strangers",
    "copy_paste",
)


def drawn_set(out: Path, choice: argparse.Namespace) -> list[Item]:
    """The recipe's items before its last filter; absolute paths, as another pipeline's source."""
    settings = [f"count={choice.plans}", f"world.start={FIRST_SEED}"]
    recipe = replace(read_synthesis(SET, settings), tasks=dict.fromkeys(TWO, 1.0))
    framed = replace(recipe.redrawn, cut_reference=False)
    easy = {"same": -1.0, "different": 1.0, "least_sharp": 0.0, "least_px": 0.0}
    alike = replace(recipe.alike, **easy, most_copied=2.0)
    wide = replace(recipe, redrawn=framed, alike=alike)
    account = synthesize(wide, out / "set", workers=make_workers(choice.workers))
    print(json.dumps(account.as_json(), indent=1))
    root = (out / "set").resolve()
    return [
        replace(item, files={key: str(root / path) for key, path in item.files.items()})
        for item in account.items()
    ]


# --- what is spoiled


def true_items(items: Sequence[Item], out: Path) -> list[Item]:
    """The same with the world's own references, looked at as the pipeline looks at its own."""
    eyes, root, made = face_eyes("toons"), out.resolve(), []
    for item in items:
        paths, files, people = _true_references(item, root), dict(item.files), []
        for name, path in zip(item.data["nouns"], paths, strict=True):
            told = _told(eyes, read_picture(path))
            if told is not None:
                people.append({**told, "name": name})
                files[f"reference-{name}"] = str(path)
        if len(people) == len(paths):
            made.append(replace(item, files=files, data={**item.data, "people": people}))
    return made


def spoiled(items: Sequence[Item], out: Path) -> Iterator[Item]:
    """The source, a tenth of it spoiled in each of five ways; ``data["fault"]`` says which."""
    eyes = face_eyes("toons")
    make_folder(out)
    for number, item in enumerate(items):
        roll = np.random.default_rng([FIRST_SEED, number]).random()
        place = int(roll / SHARE)
        fault = FAULTS[place] if place < len(FAULTS) else ""
        made = _spoil(item, fault, items[number - 1], eyes, out)
        yield item if made is None or fault == "duplicate" else made
        if fault == "duplicate" and made is not None:
            yield made


def _spoil(
    item: Item, fault: str, other: Item, eyes, out: Path, *, everyone: bool = False
) -> Item | None:
    """Another item with the fault, in one of its people or in all; None where it cannot have it."""
    people, files = [dict(one) for one in item.data["people"]], dict(item.files)
    data = {**item.data, "fault": fault}
    places = range(len(people) if everyone else 1)
    if fault == "stranger":
        for place in places:
            name, theirs = people[place]["name"], other.data["people"][place]
            people[place] = {**theirs, "name": name}
            files[f"reference-{name}"] = other.files[f"reference-{theirs['name']}"]
    elif fault == "exchanged":
        name, second = people[0]["name"], people[1]["name"]
        people[0], people[1] = {**people[1], "name": name}, {**people[0], "name": second}
        keys = (f"reference-{name}", f"reference-{second}")
        files[keys[0]], files[keys[1]] = files[keys[1]], files[keys[0]]
    elif fault in {"copied", "blurred"}:
        kind = "crop" if fault == "copied" else "reference"
        for place in places:
            name, path = people[place]["name"], out / f"{item.id}-{fault}-{place}.png"
            picture = Image.fromarray(read_picture(Path(files[f"{kind}-{name}"])))
            if fault == "blurred":
                picture = picture.filter(ImageFilter.GaussianBlur(picture.width / 64))
            told = _looked(eyes, picture, path)
            if told is None:
                return None
            people[place] = {**told, "name": name}
            files[f"reference-{name}"] = str(path.resolve())
    elif fault == "duplicate":
        picture = _again(read_picture(Path(files["image"])))
        path = out / f"{item.id}-again.png"
        Image.fromarray(picture).save(path)
        files["image"] = str(path.resolve())
        data |= {"hash": perceptual_hash(picture)}
        return replace(item, id=f"{item.id}-again", files=files, data={**data, "people": people})
    else:
        return None
    return replace(item, files=files, data={**data, "people": people})


def halves(items: Sequence[Item], out: Path, size: int) -> dict[str, list[Item]]:
    """The same pictures sound, half of them, and with each fault in the other half."""
    eyes = face_eyes("toons")
    make_folder(out)
    spoilt: dict[str, list[Item]] = {fault: [] for fault in FAULTS}
    sound: list[Item] = []
    for number, item in enumerate(items):
        other = items[number - 1]
        made = {f: _spoil(item, f, other, eyes, out, everyone=True) for f in FAULTS}
        if all(made.values()):  # the same pictures for each fault
            sound.append(item)
            for fault, one in made.items():
                spoilt[fault] += [one] if one else []
    sound = sound[:size]
    half = size // 2
    found = {"sound": sound, "sound-half": sound[:half]}
    for fault, held in spoilt.items():
        again = held[:half] if fault == "duplicate" else held[half:size]
        found[f"half-{fault}"] = sound[:half] + again
    return found


def _looked(eyes, picture: Image.Image, path: Path) -> dict | None:
    picture.save(path)
    return _told(eyes, np.asarray(picture))


def _told(eyes, picture: np.ndarray) -> dict | None:
    """What a redrawn reference tells of its face."""
    faces = look(eyes, picture, 1)
    return {**faces[0].as_json(), "shown": list(faces[0].box.xyxy)} if faces else None


def _again(picture: np.ndarray) -> np.ndarray:
    """As somebody else's copy has it: darker, through JPEG."""
    held = BytesIO()
    Image.fromarray((picture * 0.9).astype(np.uint8)).save(held, "JPEG", quality=60)
    return np.asarray(Image.open(held).convert("RGB"))


def filters(without: str | None, alike: Alike) -> list[Unlike | Alike]:
    """All filters but one."""
    recipe = read_synthesis(SET)
    if without == "same":
        alike = replace(alike, same=-1.0)
    elif without == "different":
        alike = replace(alike, different=1.0)
    elif without == "copies":
        alike = replace(alike, most_copied=2.0)
    elif without == "sharpness":
        alike = replace(alike, least_sharp=0.0)
    return [alike] if without == "duplicates" else [recipe.unlike, alike]


# --- what each arm learns from


def sets(out: Path, choice: argparse.Namespace) -> dict[str, list[Item]]:
    """The items of every arm, as many in each as the arm with the fewest has."""
    items = drawn_set(out, choice)
    kept = {
        one.id
        for one in _through(items, filters(None, read_synthesis(SET).alike), out / "kept", choice)
    }
    found = {"truth": items, "unfiltered": items, "crops": items}
    found["pipeline"] = [item for item in items if item.id in kept]
    true = true_items(items, out)
    dirty = list(spoiled(true, out / "spoiled"))
    found["spoiled"] = dirty
    for name in SPOILED[1:]:
        without = None if name == "filtered" else name.removeprefix("without-")
        found[name] = _through(dirty, filters(without, MEASURED), out / f"sets-{name}", choice)
    found["pipeline-cut"] = cut_references(found["pipeline"], out)
    paired = paired_items(out, choice)
    found |= {"paired": paired, "paired-truth": paired, "paired-cut": cut_references(paired, out)}
    tell_faults(dirty, found)
    size = min(map(len, found.values()))
    rng = np.random.default_rng(0)
    chosen = {name: [held[k] for k in sorted(rng.permutation(len(held))[:size])]
              for name, held in found.items()}  # fmt: skip
    return {**chosen, **halves(true, out / "halves", size)}


def paired_items(out: Path, choice: argparse.Namespace) -> list[Item]:
    """Pictures of several from drawn albums, with references of each from other clips."""
    clips = out.resolve() / "clips"
    if not (clips / "done").is_file():
        write_clips(clips, albums=choice.albums, clips=6, frames=3, start=100, together=0.6)
        write_atomic(clips / "done", "")
    task = PairTask(
        clips=clips,
        out=out.resolve() / "pairs",
        faces=Faces(eyes="toons"),
        pairs=Pairs(eyes="toons"),
        workers=make_workers(choice.workers),
    )
    account = make_pairs(task)
    print(json.dumps(account.as_json(), indent=1))
    return [
        replace(item, files={key: str(task.out / path) for key, path in item.files.items()})
        for item in account.items()
    ]


def cut_references(items: Sequence[Item], out: Path) -> list[Item]:
    """The same, the face in the middle of each reference cut out; without those where none is."""
    cutter, folder, made = GrabCut(), make_folder(out.resolve() / "cut"), []
    for item in items:
        files, whole = dict(item.files), True
        for number, one in enumerate(item.data["people"]):
            key = f"reference-{one['name']}" if "name" in one else f"reference-{number}-0"
            picture = read_picture(Path(files[key]))
            shown = one["shown"] if "name" in one else one["shown"][0]
            told = shown if isinstance(shown[0], list) else [shown]
            middle = Box(0, 0, picture.shape[1], picture.shape[0]).center
            boxes = sorted((Box(*box) for box in told), key=lambda box: _apart(box, middle))
            crop = cut_head(cutter, picture, boxes[0], boxes[1:])
            whole = whole and crop is not None
            if crop is not None:
                files[key] = str(folder / f"{item.id.replace('/', '-')}-{number}.png")
                Image.fromarray(crop).save(files[key])
        made += [replace(item, files=files)] if whole else []
    return made


def _apart(box: Box, point: tuple[float, float]) -> float:
    return float(np.hypot(*np.subtract(box.center, point)))


def paired_line(name: str, item: Item, root: Path) -> dict:
    """A line of a picture that was paired: captions, and for the truth references, by the world."""
    album, clip, frame = item.id.split("/")
    home = root / "clips" / album
    told = json.loads((home / "scenes.json").read_text())[f"{clip}/{int(frame):03d}.png"]
    drawn = scene(told["seed"], toons=[toon(seed) for seed in told["toons"]])
    order = sorted(drawn.members, key=lambda member: member.face.center[0])
    people = sorted(range(len(order)), key=lambda k: item.data["people"][k]["box"][0])
    members = dict(zip(people, order, strict=True))
    words = {m.name: f"{m.toon.noun}{place + 1}" for place, m in members.items()}
    paths = [item.files[f"reference-{place}-0"] for place in range(len(order))]
    if name == "paired-truth":
        folder = make_folder(root / "truth-references")
        for place, member in members.items():
            paths[place] = str(folder / f"{album}-{clip}-{frame}-{place}.png")
            Image.fromarray(member.reference.image).save(paths[place])
    return {
        "id": item.id,
        "image": item.files["image"],
        "prompt": drawn.prompt.format(**words),
        "references": paths,
        "kinds": ["person"] * len(order),
    }


def _through(
    items: Sequence[Item], steps: Sequence[Unlike | Alike], out: Path, choice: argparse.Namespace
) -> list[Item]:
    account = run_pipeline(items, steps, out, workers=make_workers(choice.workers))
    return list(account.items())


def tell_faults(dirty: Sequence[Item], found: Mapping[str, Sequence[Item]]) -> None:
    """How many of each fault go through which filters."""
    came = Counter(item.data.get("fault", "") for item in dirty)
    print(head("let through", *(f"{name or 'sound'} ({came[name]})" for name in ("", *FAULTS))))
    for name in SPOILED:
        left = Counter(item.data.get("fault", "") for item in found[name])
        print(line([name, *(f"{left[fault]}" for fault in ("", *FAULTS))]))


def write_set(name: str, items: Sequence[Item], out: Path) -> Path:
    """The examples of an arm; all of their files are below its folder, ``out``."""
    words = read_synthesis(SET).subject_words
    root, lines = out.resolve(), []
    for item in items:
        told = paired_line(name, item, root) if name in PAIRED else example_line(item, words)
        if name == "crops":
            told["references"] = [item.files[f"crop-{one}"] for one in item.data["nouns"]]
        if name == "truth":
            told["references"] = _true_references(item, root)
        paths = [Path(path).relative_to(root) for path in (told["image"], *told["references"])]
        told |= {"image": str(paths[0]), "references": [str(path) for path in paths[1:]]}
        lines.append(json.dumps(told))
    path = root / f"{name}.jsonl"
    write_atomic(path, "".join(f"{one}\n" for one in lines))
    return path


def _true_references(item: Item, root: Path) -> list[Path]:
    folder = make_folder(root / "truth-references")
    told = item.data["world"]
    drawn = scene(told["seed"], count=told["count"], split=told["split"], look_alikes=told["alike"])
    paths = []
    for member in drawn.members:
        path = folder / f"{item.id}-{member.name}.png"
        Image.fromarray(member.reference.image).save(path)
        paths.append(path)
    return paths


# --- learning and looking


def forgetful(out: Path, choice: argparse.Namespace) -> Path:
    """An adapter that has learned not to look at references: they were those of others."""
    path = make_folder(out.resolve() / "forget") / "examples.jsonl"
    if not path.is_file():
        write_atomic(path, "".join(_strange_lines(path.parent, choice.forget)))
    return learned(path, out / "runs" / "forgetful", None, choice.forget_steps)


def _strange_lines(folder: Path, count: int) -> Iterator[str]:
    before: list[Path] = []
    for number in range(count):
        drawn = scene(FORGET_SEED + number, count=2 + number % 2, split="train")
        names = {m.name: f"{m.toon.noun}{k}" for k, m in enumerate(drawn.members, 1)}
        paths = []
        for name, picture in [
            ("image", drawn.image),
            *((m.name, m.reference.image) for m in drawn.members),
        ]:
            paths.append(folder / f"{number}-{name}.png")
            Image.fromarray(picture).save(paths[-1])
        strange = (before + paths[1:])[: len(drawn.members)]
        before = paths[1:][::-1] + before[:1]
        told = {
            "id": str(number),
            "image": str(paths[0]),
            "prompt": drawn.prompt.format(**names),
            "references": [str(path) for path in strange],
            "kinds": ["person"] * len(strange),
        }
        if number:
            yield f"{json.dumps(told)}\n"


def learned(examples: Path, run: Path, start: Path | None, steps: int) -> Path:
    """The adapter of a run of SFT."""
    settings = [f"training.steps={steps}", "optimizer.lr=1e-3", "samples.every=0"]
    settings += [f"lora.start={start}"] if start else []
    done = run / "adapter"
    if not (done / "pytorch_lora_weights.safetensors").is_file():
        result = finetune(sft_recipe(examples, settings), run, resume=run.exists())
        print(f"{run.name}: {result.steps} steps in {result.seconds:.0f} s", flush=True)
    return done


def sft_recipe(examples: Path, settings: Sequence[str]) -> Recipe:
    """recipes/sft_toons.toml on a file instead of the world."""
    told = {**read_toml(SFT), "data": {"file": str(examples), "workers": 1}}
    return build_config(Recipe, apply_settings(told, settings), str(SFT))


def looked_at(name: str, adapter: Path, out: Path, choice: argparse.Namespace) -> None:
    """Draw the test scenes and examine them."""
    scenes = write_truth(out / "scenes", choice.scenes, 2)
    folder = out / "arms" / name
    if not (folder / "rows" / "summary.json").is_file():
        backbone = load_backbone("toons")
        load_lora(backbone, adapter)
        generate(read_scenes(scenes).scenes, backbone, folder / "drawn",
                 Drawing(adapter=name), seeds=choice.seeds)  # fmt: skip
        measured(scenes, folder / "drawn" / "images", folder / "rows")


def print_table(out: Path, arms: Sequence[str]) -> None:
    held = [name for name in arms if (out / "arms" / name / "rows" / "summary.json").is_file()]
    print(head("", *METRICS))
    for name in held:
        rows = read_json(out / "arms" / name / "rows" / "summary.json")["metrics"]
        by = {row["metric"]: row for row in rows}
        print(line([name, *(cell(by.get(metric)) for metric in METRICS)]))
    for against in ("truth", "paired-truth", "filtered", "sound-half"):
        if against not in held:
            continue
        print(f"\nPaired difference to {against}:\n{head('', *METRICS)}")
        for name in held:
            if name != against:
                apart = {d.metric: asdict(d) for d in compare_runs(
                    out / "arms" / against / "rows", out / "arms" / name / "rows")}  # fmt: skip
                print(line([name, *(cell(apart.get(metric), "+") for metric in METRICS)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--plans", type=int, default=480)
    parser.add_argument("--albums", type=int, default=24)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--forget", type=int, default=1200)
    parser.add_argument("--forget-steps", type=int, default=800)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--only-sets", action="store_true")
    choice = parser.parse_args()
    if not choice.table:
        held = sets(choice.out, choice)
        print({name: len(items) for name, items in held.items()}, flush=True)
        if choice.only_sets:
            return
        start = forgetful(choice.out, choice)
        first, every = (int(part) for part in choice.part.split("/"))
        for name in choice.arms[first::every]:
            adapter = start
            if name != "forgetful":
                path = write_set(name, held[name], choice.out)
                adapter = learned(path, choice.out / "runs" / name, start, choice.steps)
            looked_at(name, adapter, choice.out, choice)
    print_table(choice.out, choice.arms)


if __name__ == "__main__":
    main()

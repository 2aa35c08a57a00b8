"""Two toons from five pictures each: MuDI, its baselines and its ablations, by the examiner.

    python benchmarks/personalize.py OUT [--kinds distinct alike alike6] [--casts 4]
        [--arms mudi mudi@0.3 ...] [--count 2] [--scenes 16] [--seeds 2] [--part 0/2] [--table]
        [--sheet FILE.png]

Each cast is learned by itself by recipes/mudi_toons.toml with the settings of an arm, and its
test scenes are drawn without references in context. The examiner compares with portraits that
nothing was trained on. ``--part I/N`` does every N-th cast (one process a core); ``--table`` only
reads what is there. Resumes. Intervals resample casts, then their scenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import personalize_apart as apart
import torch
from PIL import Image
from toon_tables import head, line, measured

from personae.compute.runs import read_rows
from personae.config import apply_settings, build_config, read_toml
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.diffusion.tokens import load_tokens
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.evaluation.select import select_examples
from personae.generation import Drawing, MatchingRater, generate
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.subjects.manifest import read_scenes
from personae.subjects.picture import read_picture
from personae.toons import (
    CastToon,
    Toon,
    identities,
    look_alike,
    portrait,
    scene,
    toon,
    write_cast,
    write_cast_scenes,
    write_places,
    write_scenes,
)
from personae.training.finetune import finetune
from personae.training.recipe import Recipe, read_recipe
from personae.vision.toons import Examiner

RECIPE = Path(__file__).parents[1] / "recipes" / "mudi_toons.toml"
AGAIN = RECIPE.with_name("mudi_toons_again.toml")
PROMPTS = 48  # that the iterative arm draws, of which it keeps a third
TOKENS = ("olis", "hta", "ult", "amg", "lun")
METRICS = (
    "success",
    "presence",
    "strict_detect_and_compare",
    "strict_id_confusion",
    "strict_id_similarity",
    "prompt_fidelity",
    "strangers",
)
RESAMPLES = 2000
APART = 0.5  # most similarity of portraits of two toons of three and more
CHANGES = 3  # traits of a look-alike: the examiner takes one or two for the same toon


@dataclass(frozen=True)
class Arm:
    """What is trained, and how it is drawn; ``run`` is shared by arms that train the same."""

    run: str
    settings: tuple[str, ...] = ()
    drawing: Mapping[str, object] = field(default_factory=dict)


INIT = {"init": "mean-shift", "gamma": 1.0, "layout": "planned"}
NEGATIVE = {"guidance": 2.0, "negative": "{a} and {b}"}  # "a dog and a dog": bare nouns
DREAMBOOTH = ("data.cast.mix=none",)
CUT_MIX = ("data.cast.mix=cut_mix", "data.cast.seg_mix.backgrounds=['white']")
INVERSION = ("data.cast.mix=none", "data.cache_text=false", "tokens.alone=true")  # no [lora]
PLAIN = ("data.cast.descriptive=false",)
ARMS: dict[str, Arm] = {
    "initialization alone": Arm("none", (), INIT),
    "textual-inversion": Arm("inversion", INVERSION),
    "dreambooth": Arm("dreambooth", DREAMBOOTH),
    "dreambooth+regions": Arm("dreambooth", DREAMBOOTH, {"regions": True, "layout": "planned"}),
    "cut-mix": Arm("cut-mix", CUT_MIX),
    "cut-mix, negative": Arm("cut-mix", CUT_MIX, NEGATIVE),
    "seg-mix": Arm("seg-mix"),
    "mudi": Arm("seg-mix", (), INIT),
    "mudi, no seg-mix": Arm("dreambooth", DREAMBOOTH, INIT),
    "mudi, plain nouns": Arm("plain", PLAIN, INIT),
    "mudi+iterative": Arm("iterative", (), INIT),
    "fused": Arm("fused", (), INIT),
    "modular": Arm("modular", (), INIT),
    "mudi, best of 4": Arm("seg-mix", (), {**INIT, "best_of": 4}),
    "mudi, best of 16": Arm("seg-mix", (), {**INIT, "best_of": 16}),
}


def arm_of(name: str) -> Arm:
    """By its name; ``mudi@0.3`` is mudi with that gamma."""
    bare, at, gamma = name.partition("@")
    if bare not in ARMS or (at and "gamma" not in ARMS[bare].drawing):
        raise SystemExit(f"--arms {name!r}: expected some of {list(ARMS)}, with @GAMMA or not")
    arm = ARMS[bare]
    return replace(arm, drawing={**arm.drawing, "gamma": float(gamma)}) if at else arm


def members(kind: str, number: int, count: int) -> list[Toon]:
    """The toons of a cast: strangers to each other, or look-alikes of the first.

    ``alike6`` are look-alikes that differ in six traits. Of three and more, each can be told from
    every other by the examiner: success at toons that are one to it would say nothing.
    """
    start = 1000 * count + 10 * number
    first = toon(identities("test", 1, start)[0])
    if not kind.startswith("alike"):
        return [first, *(toon(identities("test", 1, start + p)[0]) for p in range(1, count))]
    changes = int(kind.removeprefix("alike") or CHANGES)
    found = [first]
    for seed in range(start + 1, start + 1000):
        other = look_alike(first, seed, changes)
        if count == 2 or all(likeness(one, other) <= APART for one in found):
            found.append(other)
        if len(found) == count:
            break
    return found


@lru_cache(maxsize=4096)
def likeness(first: Toon, second: Toon) -> float:
    """The examiner's similarity of portraits of two toons, the mean of nine pairs."""
    eyes = Examiner.load().eyes
    rows = [[eyes.faces(portrait(one, k, 128).image, 1)[1][:1] for k in range(3)]
            for one in (first, second)]  # fmt: skip
    return float(eyes.embedder.similarity(*(torch.cat(row) for row in rows)).mean())


def write_inputs(folder: Path, kind: str, number: int, choice: argparse.Namespace) -> None:
    """The cast, places to mix before, test scenes as they are examined and as they are drawn."""
    if (folder / "cast" / "prompts.jsonl").is_file():
        return
    toons = members(kind, number, choice.count)
    cast = {n: CastToon(t, k) for n, t, k in zip("abcde", toons, TOKENS, strict=False)}
    path = write_cast(cast, folder / "cast", start=100 * number, size=size_of(choice))
    write_places(folder / "places", size=size_of(choice))
    first = 5000 + 100 * number
    tests = [scene(s, toons=toons, split="test") for s in range(first, first + choice.scenes)]
    write_scenes(tests, folder / "scenes")
    write_cast_scenes(tests, path)
    others = (scene(seed, toons=toons) for seed in range(9000, 9000 + PROMPTS))
    write_cast_scenes(others, path, "prompts.jsonl")


def size_of(choice: argparse.Namespace) -> tuple[int, int]:
    """So wide that heads keep their size: 128 for two, 64 more for each that joins them."""
    return (64 * choice.count, 128)


def steps_of(arm: Arm, choice: argparse.Namespace) -> int:
    """Of training: mixes have more to show the more subjects there are, single photos have not."""
    return choice.steps * (1 if arm.run == "dreambooth" else min(choice.count - 1, 3))


def common(folder: Path, choice: argparse.Namespace) -> list[str]:
    counts = [1.0] * (choice.count - 1)
    return [
        f"data.cast.file={folder / 'cast' / 'cast.jsonl'}",
        f"data.cast.backgrounds={folder / 'places'}",
        f"data.sizes=[{list(size_of(choice))}]",
        f"data.cast.seg_mix.counts={counts}",
        f"training.threads={torch.get_num_threads()}",
    ]


def train(folder: Path, arm: Arm, choice: argparse.Namespace) -> None:
    """The adapter or the tokens of an arm, unless they are there."""
    out = folder / "runs" / arm.run
    if arm.run == "none" or (out / "adapter").is_dir() or (out / "tokens").is_dir():
        return
    if arm.run == "iterative":
        train_again(folder, out, choice)
        return
    if arm.run in {"fused", "modular"}:
        train_apart(folder, out, choice)
        return
    data = read_toml(RECIPE)
    if arm.run == "inversion":  # a word each, and nothing else
        del data["lora"]
    steps = f"training.steps={steps_of(arm, choice)}"
    data = apply_settings(data, [*common(folder, choice), steps, *arm.settings])
    finetune(build_config(Recipe, data), out, resume=True)


def train_again(folder: Path, out: Path, choice: argparse.Namespace) -> None:
    """The best of what the first adapter draws, by the eyes of rewards, and one more on those."""
    train(folder, ARMS["mudi"], choice)
    scenes, drawn = folder / "cast" / "prompts.jsonl", out / "drawn"
    draw(folder, ARMS["mudi"], scenes, drawn, choice, seeds=1)
    eyes, images = EyesChoice(faces="toons"), drawn / "images"
    evaluate(Evaluation(scenes=scenes, images=images, out=drawn / "results", eyes=eyes))
    kept = select_examples(drawn, drawn / "results", top=1 / 3)
    first = folder / "runs" / "seg-mix" / "adapter"
    settings = [f"data.file={kept.path}", f"lora.under={first}"]
    settings += [f"data.sizes=[{list(size_of(choice))}]"]
    settings += [f"training.threads={torch.get_num_threads()}"]
    finetune(read_recipe(AGAIN, settings), out, resume=True)


def train_apart(folder: Path, out: Path, choice: argparse.Namespace) -> None:
    """One adapter a toon, fused; for ``modular`` another one on top of that."""
    cast, settings = folder / "cast" / "cast.jsonl", common(folder, choice)
    half = [*settings, f"training.steps={choice.steps // 2}"]
    adapters = apart.train_alone(RECIPE, cast, half, folder / "runs")
    fused = folder / "runs" / "fused"
    if not (fused / "adapter").is_dir():
        apart.fuse(cast, adapters, fused)
    if out == fused:
        return
    drawn = apart.draw_alone(cast, adapters, out / "drawn")
    apart.train_modular(RECIPE, drawn, settings, fused / "adapter", out)


def draw(
    folder: Path, arm: Arm, scenes: Path, out: Path, choice: argparse.Namespace, seeds: int
) -> None:
    """Pictures of scenes by an arm's adapter or tokens."""
    run = folder / "runs" / arm.run
    backbone = load_backbone("toons")
    if arm.run != "none" and not ((run / "tokens").is_dir() or (run / "adapter").is_dir()):
        raise SystemExit(f"{run}: training was stopped; run the same command again to go on")
    if (run / "tokens").is_dir():
        load_tokens(backbone, run / "tokens")
    together = run / "together"
    adapter = together if together.is_dir() else run / "adapter"
    if adapter.is_dir():
        load_lora(backbone, adapter)
    found = read_scenes(scenes).scenes
    drawing = Drawing(in_context=False, adapter=arm.run, size=size_of(choice), **arm.drawing)
    rater = None
    if drawing.best_of > 1:
        rater = MatchingRater(build_witnesses(EyesChoice(faces="toons"), ("person",)))
    generate(found, backbone, out, drawing, seeds=seeds, rater=rater)


def rows_of(folder: Path, name: str, choice: argparse.Namespace) -> Path:
    """Train, draw and examine one arm of one cast, as far as it is not done."""
    arm, rows = arm_of(name), folder / "rows" / slug(name)
    if not (rows / "summary.json").is_file():
        train(folder, arm, choice)
        drawn = folder / "drawn" / slug(name)
        draw(folder, arm, folder / "cast" / "scenes.jsonl", drawn, choice, choice.seeds)
        measured(folder / "scenes" / "scenes.jsonl", drawn / "images", rows)
    return rows


def slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def values_of(rows: Path, metric: str) -> dict[str, float]:
    """By scene: the mean over seeds and subjects."""
    found: dict[str, list[float]] = {}
    for row in read_rows(rows / "results.jsonl"):
        if row["metric"] == metric and row["value"] is not None:
            found.setdefault(row["scene"], []).append(row["value"])
    return {one: float(np.mean(held)) for one, held in found.items()}


def resampled(casts: Sequence[np.ndarray]) -> np.ndarray:
    """Means of casts drawn with repeats, and of their scenes drawn with repeats."""
    rng = np.random.default_rng(0)
    means = []
    for _ in range(RESAMPLES):
        chosen = rng.integers(len(casts), size=len(casts))
        parts = [casts[c][rng.integers(len(casts[c]), size=len(casts[c]))] for c in chosen]
        means.append(np.mean([part.mean() for part in parts]))
    return np.array(means)


def cell(casts: Sequence[np.ndarray], sign: str = "") -> str:
    if not casts:
        return "-"
    low, high = np.quantile(resampled(casts), (0.025, 0.975))
    mean = np.mean([part.mean() for part in casts])
    return f"{mean:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def print_table(choice: argparse.Namespace, kind: str) -> None:
    """Every arm; then the paired difference of each to MuDI."""
    folders = [choice.out / f"{kind}-{choice.count}-{n:02d}" for n in range(choice.casts)]
    done = {
        name: [f for f in folders if (f / "rows" / slug(name) / "summary.json").is_file()]
        for name in choice.arms
    }
    told = [name for name in choice.arms if done[name]]
    print(f"\n{kind}, {choice.count} subjects, {choice.scenes} scenes a cast, {choice.seeds} seeds")
    print(head("", "casts", *METRICS))
    for name in told:
        cells = []
        for metric in METRICS:
            held = [values_of(f / "rows" / slug(name), metric) for f in done[name]]
            cells.append(cell([np.array([*one.values()]) for one in held if one]))
        print(line([name, str(len(done[name])), *cells]))
    if "mudi" not in told:
        return
    print("\nPaired difference to mudi:\n" + head("", "casts", *METRICS))
    for name in told:
        both = [f for f in done[name] if f in done["mudi"]]
        cells = [cell(list(differences(both, name, metric)), "+") for metric in METRICS]
        if name != "mudi":
            print(line([name, str(len(both)), *cells]))


def differences(folders: Sequence[Path], name: str, metric: str) -> Iterator[np.ndarray]:
    for folder in folders:
        own, other = (values_of(folder / "rows" / slug(arm), metric) for arm in (name, "mudi"))
        both = sorted(set(own) & set(other))
        if both:
            yield np.array([own[one] - other[one] for one in both])


def write_sheet(choice: argparse.Namespace, kind: str, count: int = 10) -> None:
    """The first cast: its photos, then a row an arm of the first scenes, nothing chosen."""
    folder = choice.out / f"{kind}-{choice.count}-00"
    names = [name for name in choice.arms if (folder / "drawn" / slug(name)).is_dir()]
    each = count // choice.count
    photos = [folder / "cast" / name / f"{k:02d}.png" for name in "abcde"[: choice.count]
              for k in range(min(each, 5))]  # fmt: skip
    rows = [[read_picture(path) for path in photos]]
    for name in names:
        images = sorted((folder / "drawn" / slug(name) / "images").glob("*/0.png"))[:count]
        rows.append([read_picture(path) for path in images])
    width = max(sum(picture.shape[1] for picture in row) for row in rows)
    bands = [np.concatenate(row, 1) for row in rows if row]
    bands = [
        np.pad(b, ((3, 3), (0, width - b.shape[1]), (0, 0)), constant_values=255) for b in bands
    ]
    choice.sheet.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(bands)).save(choice.sheet)
    print(f"{choice.sheet}: photos, then {', '.join(names)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["distinct", "alike"])
    parser.add_argument("--casts", type=int, default=4)
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--count", type=int, default=2)
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=800, help="Of two.")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--sheet", type=Path)
    choice = parser.parse_args()
    choice.out = choice.out.resolve()
    part, parts = (int(number) for number in choice.part.split("/"))
    work = [(n, kind) for n in range(choice.casts) for kind in choice.kinds]
    for number, kind in () if choice.table else work[part::parts]:
        folder = choice.out / f"{kind}-{choice.count}-{number:02d}"
        write_inputs(folder, kind, number, choice)
        for name in choice.arms:
            rows_of(folder, name, choice)
            print(f"{folder.name}: {name}", flush=True)
    for kind in choice.kinds:
        print_table(choice, kind)
        if choice.sheet:
            write_sheet(choice, kind)


if __name__ == "__main__":
    main()

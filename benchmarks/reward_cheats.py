"""Attempted cheats: what each reward pays for pictures that only pretend.

    python benchmarks/reward_cheats.py [--scenes 200] [--sheet docs/cheats.png]

From scenes of two validation toons, drawn by the renderer: the honest picture; one person left
out; one person twice and the other gone; a third figure that is a copy, a look-alike, or a
stranger; both figures half of each; and the two references pasted side by side. For each reward
the mean, and in how many of 100 scenes the cheat pays at least as much as honesty.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from personae.subjects.subject import Reference
from personae.toons import identities, look_alike, scene, toon
from personae.training.rewards.asked import Asked
from personae.training.rewards.make import make_reward
from personae.training.rewards.recipe import RewardsRecipe

REWARDS = ("sir", "pairwise", "mimr", "strict_matching")
NAMES = {
    "honest": "both, once each",
    "dropped": "one left out",
    "instead": "one twice, the other gone",
    "copy": "a third: copy of the first",
    "alike": "a third: look-alike of the first",
    "bystander": "a third: a stranger",
    "blended": "both half of each",
    "pasted": "references pasted",
}


def cheats(seed: int) -> tuple[dict[str, np.ndarray], Asked]:
    true = scene(seed, count=2, split="validation")
    first, second = (member.toon for member in true.members)
    other = toon(identities("validation", 1, 900_000 + seed)[0])

    def drawn(*cast: object) -> np.ndarray:
        return scene(seed, toons=list(cast), split="validation").image  # type: ignore[arg-type]

    halves = [drawn(one, one).astype(float) for one in (first, second)]
    references = [member.reference.image for member in true.members]
    pasted = np.full_like(true.image, 200)
    pasted[32:96, :64], pasted[32:96, 64:128] = references
    pictures = {
        "honest": drawn(first, second),
        "dropped": drawn(first),
        "instead": drawn(first, first),
        "copy": drawn(first, second, first),
        "alike": drawn(first, second, look_alike(first, seed, 2)),
        "bystander": drawn(first, second, other),
        "blended": (sum(halves) / 2).astype(np.uint8),
        "pasted": pasted,
    }
    subjects = {str(i): (Reference(image),) for i, image in enumerate(references, 1)}
    return pictures, Asked(subjects)


def measured(num_scenes: int) -> dict[str, dict[str, np.ndarray]]:
    """By reward and cheat, (scenes,)."""
    recipe = RewardsRecipe(weights=dict.fromkeys(REWARDS, 1.0), faces="toons")
    reward = make_reward(recipe, torch.device("cpu"), ("person",))
    rows: dict[str, dict[str, list[float]]] = {r: {c: [] for c in NAMES} for r in REWARDS}
    for seed in range(700, 700 + num_scenes):
        pictures, asked = cheats(seed)
        shown = torch.from_numpy(np.stack(list(pictures.values()))).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            parts = reward(shown, [asked] * len(pictures)).parts
        for name in REWARDS:
            for cheat, value in zip(pictures, parts[name].tolist(), strict=True):
                rows[name][cheat].append(value)
    return {r: {c: np.array(v) for c, v in held.items()} for r, held in rows.items()}


def print_table(rows: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    print("| picture | " + " | ".join(REWARDS) + " |\n" + "|---" * (len(REWARDS) + 1) + "|")
    for cheat, words in NAMES.items():
        cells = []
        for name in REWARDS:
            values, honest = rows[name][cheat], rows[name]["honest"]
            seen = np.isfinite(values) & np.isfinite(honest)
            pays = 100 * (values >= honest)[seen].mean()
            told = "" if cheat == "honest" else f" (pays in {pays:.0f})"
            cells.append(f"{values[seen].mean():.3f}{told}")
        print(f"| {words} | " + " | ".join(cells) + " |")


def write_sheet(path: Path, seeds: range) -> None:
    """A row a scene, a column a picture, its strict and its released reward below."""
    recipe = RewardsRecipe(weights=dict.fromkeys(REWARDS, 1.0), faces="toons")
    reward = make_reward(recipe, torch.device("cpu"), ("person",))
    side, foot = 128, 26
    sheet = Image.new("RGB", (len(NAMES) * (side + 4), len(seeds) * (side + foot)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, seed in enumerate(seeds):
        pictures, asked = cheats(seed)
        shown = torch.from_numpy(np.stack(list(pictures.values()))).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            parts = reward(shown, [asked] * len(pictures)).parts
        for column, (name, picture) in enumerate(pictures.items()):
            corner = (column * (side + 4), row * (side + foot))
            sheet.paste(Image.fromarray(picture), corner)
            strict, released = (parts[key][column].item() for key in ("strict_matching", "mimr"))
            words = f"{name}\nstrict {strict:.2f} MIMR {released:.2f}"
            pen.text((corner[0] + 2, corner[1] + side), words, fill="black", font_size=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--sheet", type=Path)
    choice = parser.parse_args()
    print_table(measured(choice.scenes))
    if choice.sheet:
        write_sheet(choice.sheet, range(700, 704))


if __name__ == "__main__":
    main()

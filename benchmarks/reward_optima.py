"""Attempted cheats after training: what pictures of each arm do that a reward may have paid for.

    python benchmarks/reward_optima.py TABLE [--against sft]

TABLE is the folder of reward_training.py with its arms drawn and examined. For each arm, by the
examiner, how many of 100 pictures

- drop somebody: fewer faces than subjects,
- add somebody: more faces than subjects,
- multiply: a subject has a second face,
- blend: one face is present as two subjects at once,
- hold everybody once and nobody else,

and how much a kept face is a copy of its reference (copy-paste). In brackets 95 in 100 by
bootstrap over scenes; then the paired difference.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from toon_tables import head, line

from personae.compute.runs import read_rows
from personae.metrics.witnesses import EyesChoice, build_witnesses

CHEATS = ("dropped", "added", "multiplied", "blended", "all once")
RESAMPLES = 2000


def of_picture(details: dict, present: float) -> list[float]:
    """Each of `CHEATS`, 0 or 1."""
    likes = np.array(details["similarity"], float).reshape(len(details["subjects"]), -1)
    asked, there = likes.shape
    matched = [face for face in details["match"] if face is not None]
    kept = [
        likes[who, face] >= present for who, face in enumerate(details["match"]) if face is not None
    ]
    return [
        float(there < asked),
        float(there > asked),
        float(bool(details["duplicates"])),
        float(bool(((likes >= present).sum(0) > 1).any())),
        float(len(matched) == asked == there and all(kept)),
    ]


def found(arm: Path, present: float) -> tuple[np.ndarray, np.ndarray]:
    """(scenes, seeds, cheats), and (scenes,) mean copy-paste; NaN where nobody is kept."""
    cheats: dict[str, list] = {}
    pasted: dict[str, list] = {}
    for row in read_rows(arm / "rows" / "results.jsonl"):
        if row["metric"] == "strict_matching_reward" and row["details"]:
            cheats.setdefault(row["scene"], []).append(of_picture(row["details"], present))
        elif row["metric"] == "copy_paste":
            value = np.nan if row["value"] is None else row["value"]
            pasted.setdefault(row["scene"], []).append(value)
    copies = [np.nanmean(held) if np.isfinite(held).any() else np.nan for held in pasted.values()]
    return np.array([cheats[scene] for scene in pasted]), np.array(copies)


def cell(values: np.ndarray, sign: str = "", digits: int = 0) -> str:
    """Mean over scenes with its interval."""
    values = values[np.isfinite(values)]
    chosen = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[chosen].mean(1), (0.025, 0.975))
    form = f"{sign}.{digits}f"
    return f"{values.mean():{form}} [{low:{form}}, {high:{form}}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--against", default="sft")
    choice = parser.parse_args()
    eyes = build_witnesses(EyesChoice(faces="examiner", cache=None), ("person",))["person"].eyes
    arms = {
        path.parent.parent.name: found(path.parent.parent, eyes.present)
        for path in sorted(choice.table.glob("*/rows/results.jsonl"))
    }
    names = (*CHEATS, "copy-paste")
    print(head("of 100 pictures", *arms))
    for place, name in enumerate(names):
        print(line([name, *(cells(held, place) for held in arms.values())]))
    others = {name: held for name, held in arms.items() if name != choice.against}
    print(f"\nPaired difference to {choice.against}:\n" + head("", *others))
    for place, name in enumerate(names):
        against = arms[choice.against]
        print(line([name, *(cells(held, place, against) for held in others.values())]))


def cells(held: tuple, place: int, against: tuple | None = None) -> str:
    """One row's cell of an arm, or of its difference to another."""
    sign = "" if against is None else "+"
    if place == len(CHEATS):
        return cell(held[1] - (0 if against is None else against[1]), sign, 3)
    apart = held[0][:, :, place] - (0 if against is None else against[0][:, :, place])
    return cell(100 * apart.mean(1), sign)


if __name__ == "__main__":
    main()

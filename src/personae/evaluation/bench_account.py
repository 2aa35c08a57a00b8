"""An account of what a run of a suite did not do, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personae.evaluation.judging import JudgingAccount
from personae.evaluation.pictures import PictureSet
from personae.evaluation.suites.suite import LoadedSuite, missing_files
from personae.generation import Failure

__all__ = ["Account", "account_of"]

_MOST_REASONS = 12
_NO_FILE = re.compile(r"(?:[^;/]+: )?/[^;]*?: no such file; check the path")


@dataclass(frozen=True)
class Account:
    """What was asked for and what of it is not there.

    Attributes:
        num_pictures: wanted: scenes times seeds.
        num_there: of them, those that are there.
        without_picture: scenes that have none.
        missing_files: photos that are not there -> scenes that need each.
        failures: pictures that could not be drawn.
        unmeasured: reasons why rows have no value, the commonest first, and how many rows.
        problems: items and files that could not be used.
        judging: of the judge, None where nobody was asked.
    """

    num_pictures: int
    num_there: int
    without_picture: tuple[str, ...]
    missing_files: Mapping[str, int]
    failures: tuple[str, ...]
    unmeasured: Mapping[str, int]
    problems: tuple[str, ...]
    judging: JudgingAccount | None

    @property
    def failed(self) -> bool:
        """Did something fail, or could not be read? A photo that is missing is told of, no more."""
        judge = self.judging
        unjudged = judge is not None and bool(judge.stopped or judge.num_missing)
        return bool(self.failures or self.problems or unjudged)

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        judging = None if self.judging is None else vars(self.judging)
        return {**vars(self), "judging": judging, "told": self.told()}

    def told(self) -> list[str]:
        """In words, a line a thing; nothing where all was done."""
        lines = []
        if self.num_there < self.num_pictures:
            lines.append(
                f"{self.num_pictures - self.num_there} of {self.num_pictures} pictures are not "
                f"there; {len(self.without_picture)} scenes have none{_among(self.without_picture)}"
            )
        if self.missing_files:
            lines.append(
                f"{len(self.missing_files)} photos are missing{_among(self.missing_files)}; "
                "`--check` names them all"
            )
        lines += [f"not drawn: {text}" for text in self.failures]
        lines += [f"problem: {text}" for text in self.problems]
        lines += [f"{count} rows unmeasured: {reason}" for reason, count in self.unmeasured.items()]
        return lines + _judging_told(self.judging)


def account_of(
    loaded: LoadedSuite,
    *,
    rows: Iterable[Mapping[str, Any]],
    pictures: PictureSet,
    num_seeds: int,
    failures: Sequence[Failure],
    problems: Sequence[str],
    judged: JudgingAccount | None,
) -> Account:
    """Count what is there against what was asked for."""
    reasons = Counter(_kind(row["unmeasured"]) for row in rows if row["value"] is None)
    common = dict(reasons.most_common(_MOST_REASONS))
    rest = sum(reasons.values()) - sum(common.values())
    if rest:
        common["other reasons (results.jsonl has them)"] = rest
    there = Counter(picture.scene for picture in pictures.pictures)
    return Account(
        num_pictures=len(loaded.scenes) * num_seeds,
        num_there=sum(min(count, num_seeds) for count in there.values()),
        without_picture=pictures.missing,
        missing_files={str(path): len(scenes) for path, scenes in missing_files(loaded).items()},
        failures=tuple(f"{item.scene}, seed {item.seed}: {item.reason}" for item in failures),
        unmeasured=common,
        problems=tuple(dict.fromkeys(problems)),
        judging=judged,
    )


def _kind(reason: str) -> str:
    """A reason without whom it is about and by how much, so that like ones are counted together."""
    bare = re.sub(r"^[^ ]+ and [^ ]+: (?=two photos)", "", str(reason))
    # Which file it is, `--check` says; every subject has its own.
    bare = _NO_FILE.sub("a photo is not there", bare)
    bare = re.sub(r"(a photo is not there)(; ?\1)+", r"\1", bare)
    return re.sub(r"\b\d+\.\d+\b", "N", bare)


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    return f"{'; '.join(listed[:most])}{'; ...' if len(listed) > most else ''}"


def _among(names: Iterable[str]) -> str:
    some = _some(names)
    return f" ({some})" if some else ""


def _judging_told(judging: JudgingAccount | None) -> list[str]:
    if judging is None:
        return []
    lines = []
    if judging.num_missing:
        common = sorted(judging.reasons, key=lambda reason: -judging.reasons[reason])[:3]
        lines.append(
            f"the judge gave no value for {judging.num_missing} of {judging.num_pictures} "
            f"pictures, and is asked again next time: {'; '.join(common)}"
        )
    if judging.stopped:
        lines.append(
            f"the judge stopped ({judging.stopped}); {judging.num_not_asked} of "
            f"{judging.num_pictures} pictures were not judged, the same command goes on"
        )
    if judging.without_value:
        lines.append(f"without the judge's value: {_some(judging.without_value, 6)}")
    return lines

"""MultiID-Bench (WithAnyone, arXiv 2510.14975): one to four people, with how they should look."""

from __future__ import annotations

from pathlib import Path

from personae.evaluation.suites.card import Column, Fault, SuiteCard
from personae.evaluation.suites.mapped import UNVERIFIED, Defaults, load_mapped
from personae.evaluation.suites.published import MULTIID_ROWS
from personae.evaluation.suites.suite import LoadedSuite, Suite, SuiteOptions

__all__ = ["MULTIID"]

_NEEDS_TARGETS = "targets: --column targets=THEIRS"

_CARD = SuiteCard(
    name="multiid",
    title="MultiID-Bench",
    paper="WithAnyone, arXiv 2510.14975",
    source="the data set that the repository Doby-Xu/WithAnyone names",
    licence="non-commercial research only",
    sizes={"1 person": 0, "2 people": 0, "3-4 people": 0},
    seeds=1,
    eyes="ArcFace",
    data_tree="a .json, .jsonl or .csv of 435 items, and the pictures it names",
    unverified=UNVERIFIED,
    columns=(
        Column(
            name="Sim(GT)",
            official=None,
            strict="target_similarity",
            kinds=("person",),
            needs=_NEEDS_TARGETS,
        ),
        Column(
            name="Sim(Ref)",
            official="id_similarity",
            strict="strict_id_similarity",
            kinds=("person",),
        ),
        Column(
            name="CP",
            official=None,
            strict="copy_paste",
            kinds=("person",),
            needs=_NEEDS_TARGETS,
            higher_is_better=False,
        ),
    ),
    published=MULTIID_ROWS,
    faults=(
        Fault(
            "which face is whose, where several are there, is not documented",
            "Sim(GT) and CP: of the face matched one-to-one; an absent person has no CP",
        ),
        Fault("the number of items by people is not recorded", "counted from the file"),
    ),
)


def _subset(count: int) -> str:
    return {1: "1 person", 2: "2 people"}.get(count, "3-4 people")


def _load(data: Path, options: SuiteOptions) -> LoadedSuite:
    defaults = Defaults(
        subset=_subset, kinds=lambda subset, count: ["person"] * count, noun="person"
    )
    return load_mapped(_CARD, defaults, data, options)


MULTIID = Suite(_CARD, _load)
"""MultiID-Bench through a mapping."""

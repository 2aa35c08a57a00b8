"""OmniContext (OmniGen2, arXiv 2506.18871): eight tasks, marked by a judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from personae.evaluation.suites.asked import AskedOverall
from personae.evaluation.suites.card import Average, Column, Fault, SuiteCard
from personae.evaluation.suites.mapped import UNVERIFIED, Defaults, load_mapped
from personae.evaluation.suites.published import OMNICONTEXT_ROWS
from personae.evaluation.suites.suite import LoadedSuite, Suite, SuiteOptions
from personae.subjects.subject import Kind

__all__ = ["OMNICONTEXT"]

_TASKS = (
    "single_character",
    "single_object",
    "multi_character",
    "multi_object",
    "multi_character_object",
    "scene_character",
    "scene_object",
    "scene_character_object",
)
_WITH_PEOPLE = tuple(task for task in _TASKS if "character" in task)
_JUDGE = "a judge that gives marks: --judge"

_CARD = SuiteCard(
    name="omnicontext",
    title="OmniContext",
    paper="OmniGen2, arXiv 2506.18871; identity: UMO, arXiv 2509.06818",
    source="the data set that the repository VectorSpaceLab/OmniGen2 names",
    licence="code Apache-2.0; of the data none was found",
    sizes=dict.fromkeys(_TASKS, 50),
    seeds=1,
    eyes="GPT-4.1 as judge; UMO's identity by XVerseBench's face program",
    data_tree="a .json, .jsonl or .csv of items, and the pictures it names",
    unverified=UNVERIFIED,
    columns=(
        Column(
            name="Overall",
            official="omnicontext_overall",
            strict="strict_omnicontext_overall",
            needs=_JUDGE,
        ),
        Column(
            name="ID-Sim",
            official="id_similarity",
            strict="strict_id_similarity",
            kinds=("person",),
            subsets=_WITH_PEOPLE,
            scale=10,
        ),
        Column(
            name="ID-Conf",
            official="id_confusion",
            strict="strict_id_confusion",
            kinds=("person",),
            subsets=_WITH_PEOPLE,
            scale=10,
        ),
    ),
    averages=(Average(name="AVG", of=("Overall", "ID-Sim", "ID-Conf"), subsets=_WITH_PEOPLE),),
    overall=("Overall", "ID-Sim", "ID-Conf"),
    published=OMNICONTEXT_ROWS,
    faults=(
        Fault(
            "an answer that cannot be read becomes a random mark of 0 to 10",
            "both: missing and counted, asked again",
        ),
        Fault(
            "the loop of three tries has no end: every item is judged three times, the last kept",
            "official: the last; strict: the mean",
        ),
        Fault(
            "identity is the most similar face for each reference; references without a face and "
            "pictures with fewer than two are skipped",
            "official: the same, counted; strict: one-to-one, an absent person is 0",
        ),
        Fault(
            "UMO's overall identity is the mean of SINGLE, MULTI and SCENE, the code's a mean over "
            "pictures",
            "the mean over tasks",
        ),
        Fault("rows of one model differ between papers", "sources are kept apart"),
    ),
)


def _kinds(subset: str, count: int) -> Sequence[Kind] | None:
    if subset.endswith("character_object"):
        return None
    return ["person" if "character" in subset else "object"] * count


def _load(data: Path, options: SuiteOptions) -> LoadedSuite:
    defaults = Defaults(
        subset=None, kinds=_kinds, noun="subject", asked=lambda subset: (AskedOverall(),)
    )
    return load_mapped(_CARD, defaults, data, options)


OMNICONTEXT = Suite(_CARD, _load)
"""OmniContext through a mapping."""

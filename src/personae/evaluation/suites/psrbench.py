"""PSRBench (PSR, arXiv 2512.01236): two to four animals and objects, seven subsets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from personae.errors import DataError
from personae.evaluation.suites.asked import AskedAlignment
from personae.evaluation.suites.card import Column, Fault, SuiteCard
from personae.evaluation.suites.published import PSRBENCH_ROWS
from personae.evaluation.suites.records import read_items, text_of
from personae.evaluation.suites.suite import LoadedSuite, Suite, SuiteOptions, spelled_as_on_disk
from personae.evaluation.suites.words import braced, subject_ids
from personae.subjects.scene import Relation, Scene
from personae.subjects.subject import ReferenceFile, Subject

__all__ = ["PSRBENCH", "first_relation"]

_SUBSETS = ("attribute", "action", "background", "position", "complex", "three", "four")
_JUDGED = tuple(name for name in _SUBSETS if name != "position")
# In the order in which the published program looks for them: the first that occurs counts.
_RELATIONS = (
    "to the left of",
    "to the right of",
    "on the left of",
    "on the right of",
    "above",
    "on top of",
    "below",
    "under",
)

_CARD = SuiteCard(
    name="psrbench",
    title="PSRBench",
    paper="PSR, arXiv 2512.01236",
    source="the repository wang-shulei/PSR, which links a folder on Google Drive",
    licence="none is given",
    sizes=dict.fromkeys(_SUBSETS, 50),
    seeds=1,
    eyes="Grounding DINO SwinT OGC (0.35, 0.25) and DINO ViT-S/16; a judge by Qwen2.5-VL; HPSv3",
    data_tree="a .json a subset, named after it (attribute, action, background, position, "
    "complex, three, four), subjects/ and animals/",
    columns=(
        Column(
            name="SC",
            official="subject_consistency",
            strict="strict_subject_consistency",
            kinds=("animal", "object"),
        ),
        Column(
            name="HPS",
            official="hps_v3",
            strict=None,
            scale=0.1,
            needs="HPSv3: --text hpsv3:PATH",
        ),
        Column(
            name="SA",
            official="semantic_alignment",
            strict="strict_semantic_alignment",
            swapped={"position": ("position_score", "strict_position_score")},
            needs="a judge that gives marks: --judge",
        ),
    ),
    overall=("SC", "HPS", "SA"),
    published=PSRBENCH_ROWS,
    faults=(
        Fault(
            "where nothing is detected, the whole picture or reference is compared",
            "official: omitted and counted; strict: an absent subject is 0",
        ),
        Fault(
            "subjects that share a category: with two, the second takes the second box in the "
            "detector's order; with three and four, all take the first",
            "official: the same; strict: one-to-one",
        ),
        Fault(
            "an answer without a mark counts 5 of 10, one that fails is dropped from the mean",
            "both: missing and counted, asked again",
        ),
        Fault(
            "the judge sees no references, so an unusual subject makes SC and SA disagree",
            "strict: it sees them",
        ),
        Fault(
            "an item of the position subset without a known phrase is dropped in silence",
            "told of and counted as missing",
        ),
        Fault(
            "real contact (on top of) costs position points; vertical relations are not tested "
            "for dominance",
            "official: the same; strict: contact is allowed, one test for all four",
        ),
        Fault("the README says input_paths, the programs read input_path", "both are read"),
        Fault("SC is probably the reward that PSR was trained on", "say so beside its row"),
    ),
)


def first_relation(instruction: str) -> str | None:
    """The phrase by which the published program measures an instruction, None without one.

    It is the first of its list that occurs, wherever the instruction has it.

    >>> first_relation("The cup is below the shelf and to the left of the lamp")
    'to the left of'
    """
    return next((words for words in _RELATIONS if words in instruction), None)


def _load(data: Path, options: SuiteOptions) -> LoadedSuite:
    """Every subset that has a file.

    Raises:
        DataError: no subset at all.
    """
    del options
    scenes: list[Scene] = []
    subset_of: dict[str, str] = {}
    given: dict[str, tuple[Path, ...]] = {}
    problems: list[str] = []
    for subset in _SUBSETS:
        path = _file_of(data, subset)
        if path is None:
            problems.append(f"{data}: no .json for the subset {subset}; its 50 items are left out")
            continue
        try:
            records = read_items(path)
        except DataError as error:
            problems.append(f"{error}; its 50 items are left out")
            continue
        for number, record in enumerate(records):
            where = f"{path}: item {number}"
            try:
                if isinstance(record, DataError):
                    raise record
                scene = _scene(record, f"{subset}-{number:03d}", data, where, subset)
            except DataError as error:
                problems.append(str(error))
                continue
            if subset == "position" and scene.relation is None:
                problems.append(f"{where}: no phrase of {list(_RELATIONS)}; position is missing")
            scenes.append(scene)
            subset_of[scene.id] = subset
            picture = record.get("result_path")
            if isinstance(picture, str) and picture:
                given[scene.id] = (_below(data, picture, where),)
    if not scenes:
        raise DataError(f"{data}: no item of PSRBench; expected {_CARD.data_tree}; {problems}")
    asked = {
        name: (AskedAlignment(subset, strict=False), AskedAlignment(subset, strict=True))
        for name, subset in subset_of.items()
        if subset in _JUDGED
    }
    return LoadedSuite(
        card=_CARD,
        scenes=tuple(scenes),
        subset_of=subset_of,
        asked=asked,
        given=given,
        problems=tuple(problems),
    )


def _file_of(data: Path, subset: str) -> Path | None:
    files = [path for path in sorted(data.glob("*.json")) if subset in path.stem.lower()]
    return files[0] if files else None


def _scene(record: Mapping[str, Any], name: str, data: Path, where: str, subset: str) -> Scene:
    instruction = text_of(record, "instruction", where)
    paths = record.get("input_path", record.get("input_paths"))
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths) or not paths:
        raise DataError(f"{where}: input_path: expected a list of paths; got {paths!r}")
    nouns = [text_of(record, f"category{place}", where) for place in range(1, len(paths) + 1)]
    ids = subject_ids(nouns)
    prompt, words = braced(instruction, nouns, ids)
    subjects = {
        subject: Subject(
            subject,
            noun,
            "animal" if "animals" in PurePosixPath(path).parts else "object",
            (ReferenceFile(_below(data, path, where)),),
        )
        for subject, noun, path in zip(ids, words, paths, strict=True)
    }
    said = first_relation(instruction) if subset == "position" and len(ids) > 1 else None
    relation = None if said is None else Relation(ids[0], said, ids[1])
    return Scene(name, prompt, subjects, relation=relation, where=where)


def _below(data: Path, path: str, where: str) -> Path:
    found = PurePosixPath(path)
    if ".." in found.parts:
        raise DataError(f"{where}: {path!r} leaves the folder; expected a path below it")
    return spelled_as_on_disk(data / found)


PSRBENCH = Suite(_CARD, _load)
"""PSRBench from its folder."""

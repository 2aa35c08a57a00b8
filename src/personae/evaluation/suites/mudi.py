"""MuDI's pairs (arXiv 2404.04243): eight pairs of like things, and five to count with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from personae.errors import DataError
from personae.evaluation.suites.card import Column, Fault, SuiteCard
from personae.evaluation.suites.published import MUDI_ROWS
from personae.evaluation.suites.records import read_records, text_of
from personae.evaluation.suites.suite import LoadedSuite, Suite, SuiteOptions
from personae.subjects.scene import Scene
from personae.subjects.subject import ReferenceFile, Subject

__all__ = ["MUDI"]

_PAIRS = (
    "actionfigure_2_and_dog0",
    "bear_plushie_and_robot_toy",
    "can_and_monster_toy",
    "cat2_and_pet_dog1",
    "dog6_and_dog2",
    "monster_toy_and_robot_toy",
    "plushie_teddybear_and_bear_plushie",
    "scene_castle_and_scene_lighthouse",
)
_COUNT = "count_ablation"
_COUNTS = range(2, 6)
# The evaluation prompts are not published; these stand in the paper's figures and their captions.
_PROMPTS = ("{a} and {b}, floating on pool.", "{a} and {b} in the jungle.")
_NUMBERS = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}
_ROOTS = ("", "dataset/category", "category")

_CARD = SuiteCard(
    name="mudi",
    title="MuDI's pairs",
    paper="MuDI, arXiv 2404.04243",
    source="the repository agwmon/MuDI, dataset/category",
    licence="none for the repository; photos CC BY 4.0 (DreamBooth), CC BY-SA 4.0 and Unsplash "
    "(CustomConcept101)",
    sizes={"pairs": len(_PAIRS) * len(_PROMPTS), **{f"count-{count}": 1 for count in _COUNTS}},
    seeds=10,
    eyes="OWLv2 base (0.4) with DreamSim (D&C-DS) or DINOv2 base, mean of tokens (D&C-DINO)",
    data_tree=f"{_PAIRS[0]}/metadata.jsonl with its photos, and so on for eight pairs, and "
    f"{_COUNT}/ (or dataset/category/...)",
    columns=(
        Column(name="D&C", official="detect_and_compare", strict="strict_detect_and_compare"),
        Column(name="presence", official=None, strict="presence", kinds=("animal", "object")),
        Column(name="success", official=None, strict="success", scale=100),
        Column(
            name="CLIP-T",
            official="clip_t",
            strict=None,
            needs="CLIP: --text clip",
        ),
    ),
    published=MUDI_ROWS,
    faults=(
        Fault(
            "evaluation prompts, pictures a pair and the tables of D&C are not in the repository",
            "two prompts of the figures, or yours (--prompts), ten pictures of each; numbers "
            "compare with each other alone",
        ),
        Fault(
            "a wrong count is 0, whatever was drawn, and a detector without suppression counts one "
            "thing twice",
            "official: the same; strict: 1 / N for each duplicate, an absent subject costs its row",
        ),
        Fault(
            "columns are matched greedily, in the order of the file; self-pairs inflate the "
            "diagonal; the spectral norm grows with N",
            "official: the same; strict: Hungarian, no self-pairs, relative to the size",
        ),
        Fault("crops are compared with whole references", "the same: masks are not used"),
        Fault("a manifest ends in silence at its first bad line", "the line is named"),
        Fault(
            "success was judged by people; how many and of how many pictures is not published",
            "strict: every subject there exactly once, by these eyes",
        ),
    ),
)


def _load(data: Path, options: SuiteOptions) -> LoadedSuite:
    """Every pair that is there, and the five.

    Raises:
        DataError: none of them.
    """
    prompts = _prompts(options.prompts)
    scenes: list[Scene] = []
    subset_of: dict[str, str] = {}
    problems: list[str] = []
    for folder in (*_PAIRS, _COUNT):
        path = _metadata(data, folder)
        try:
            subjects = _subjects(path)
            made = (
                _counted(subjects, path)
                if folder == _COUNT
                else [_pair(folder, number, text, subjects, path) for number, text in prompts]
            )
        except DataError as error:
            problems.append(str(error))
            continue
        scenes += made
        subset_of |= {
            scene.id: f"count-{len(scene.subjects)}" if folder == _COUNT else "pairs"
            for scene in made
        }
    if not scenes:
        raise DataError(f"{data}: no pair of MuDI; expected {_CARD.data_tree}; {problems[:1]}")
    return LoadedSuite(
        card=_CARD, scenes=tuple(scenes), subset_of=subset_of, problems=tuple(problems)
    )


def _metadata(data: Path, folder: str) -> Path:
    paths = [data / root / folder / "metadata.jsonl" for root in _ROOTS]
    return next((path for path in paths if path.is_file()), paths[0])


def _subjects(path: Path) -> list[Subject]:
    """The subjects of a metadata.jsonl, with photos that need not be there yet.

    Line 1 gives each id its token and class, every other line is a photo of an id.

    Raises:
        DataError: no such file, or a bad line; it is named, and the others are not guessed at.
    """
    rows = read_records(path)
    names = rows[0].get("id") if rows else None
    if not isinstance(names, dict) or not names:
        raise DataError(f'{path}:1: expected {{"id": {{"a": "TOKEN CLASS", ...}}}}; got {names!r}')
    photos: dict[str, list[ReferenceFile]] = {name: [] for name in names}
    for number, row in enumerate(rows[1:], start=2):
        where, name = f"{path}:{number}", row.get("id")
        if name not in photos:
            raise DataError(f"{where}: id: expected one of {list(photos)}; got {name!r}")
        photo = path.parent / text_of(row, "file_name", where)
        photos[name].append(ReferenceFile(photo))
    return [
        _subject(name, text_of(names, name, f"{path}:1"), photos[name]) for name in sorted(names)
    ]


def _subject(name: str, told: str, photos: Sequence[ReferenceFile]) -> Subject:
    """A class of one word has no token before it."""
    token, _, noun = told.partition(" ")
    references = tuple(sorted(photos, key=lambda file: file.image))
    return Subject(name, noun or token, "object", references, token=token if noun else None)


def _prompts(path: Path | None) -> list[tuple[int, str]]:
    """Prompts by number, from a file of one a line or our own.

    Raises:
        DataError: the file cannot be read, or a prompt lacks a subject.
    """
    if path is None:
        return list(enumerate(_PROMPTS))
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--prompts {path}: cannot be read ({error})") from error
    prompts = [line.strip() for line in lines if line.strip()]
    for number, prompt in enumerate(prompts, start=1):
        if "{a}" not in prompt or "{b}" not in prompt:
            raise DataError(f"{path}: prompt {number}: expected {{a}} and {{b}}; got {prompt!r}")
    return list(enumerate(prompts))


def _pair(folder: str, number: int, prompt: str, subjects: Sequence[Subject], path: Path) -> Scene:
    held = {subject.id: subject for subject in subjects}
    if set(held) != {"a", "b"}:
        raise DataError(f"{path}: expected the ids a and b; got {sorted(held)}")
    return Scene(f"{folder}-{number:03d}", prompt, held, where=str(path))


def _counted(subjects: Sequence[Subject], path: Path) -> list[Scene]:
    """The first two of the five, the first three, and so on, in the words of the figure."""
    scenes = []
    for count in _COUNTS:
        if count > len(subjects):
            break
        held = {subject.id: subject for subject in subjects[:count]}
        names = ", ".join("{" + name + "}" for name in held)
        prompt = f"{_NUMBERS[count]} objects: {names} in the jungle."
        scenes.append(Scene(f"{_COUNT}-{count}", prompt, held, where=str(path)))
    return scenes


MUDI = Suite(_CARD, _load)
"""MuDI's data folder."""

"""XVerseBench (XVerse, arXiv 2506.21416): people, animals and objects, one to three at once."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from personae.compute.runs import read_json
from personae.errors import DataError
from personae.evaluation.suites.asked import AskedTree
from personae.evaluation.suites.card import Average, Column, Fault, SuiteCard
from personae.evaluation.suites.published import XVERSEBENCH_ROWS
from personae.evaluation.suites.suite import (
    LoadedSuite,
    Suite,
    SuiteOptions,
    plain_stem,
    spelled_as_on_disk,
)
from personae.evaluation.suites.words import braced, subject_ids
from personae.subjects.scene import Scene
from personae.subjects.subject import Kind, ReferenceFile, Subject
from personae.vision.judges import QuestionTree, read_question_trees

__all__ = ["XVERSEBENCH"]

_LISTS = ("single", "multi")
_THINGS: tuple[Kind, ...] = ("animal", "object")
_KINDS: dict[str, Kind] = {"human": "person", "animal": "animal", "object": "object"}
_PROMPT_LETTERS = 40

_CARD = SuiteCard(
    name="xversebench",
    title="XVerseBench",
    paper="XVerse, arXiv 2506.21416; ID-Conf and its average: UMO, arXiv 2509.06818",
    source="assets of the repository bytedance/XVerse",
    licence="data CC0, adapted from DreamBench++ (its terms apply)",
    sizes={"single": 90, "multi": 210},
    seeds=4,
    grid=2,
    eyes="facer RetinaFace (0.8) and IR-SE50 for faces; Florence-2-large, SAM2.1-hiera-L and "
    "DINO ViT-S/16 for things; mPLUG-large for DPG; aesthetic-predictor-v2.5",
    data_tree="XVerseBench_{single,multi}.json, XVerseBench_{single,multi}_DSG.json, "
    "human/, animal/, object/ (or assets/XVerseBench/human/ ...)",
    columns=(
        Column(
            name="DPG",
            official="dpg_score",
            strict="strict_dpg_score",
            scale=100,
            needs="a judge of yes-or-no questions: --judge",
        ),
        Column(
            name="ID-Sim",
            official="id_similarity",
            strict="strict_id_similarity",
            kinds=("person",),
            scale=100,
        ),
        Column(
            name="ID-Conf",
            official="id_confusion",
            strict="strict_id_confusion",
            kinds=("person",),
            subsets=("multi",),
            scale=100,
        ),
        Column(
            name="IP-Sim",
            official="ip_similarity",
            strict="strict_subject_consistency",
            kinds=_THINGS,
            scale=100,
        ),
        Column(
            name="AES",
            official="grid_aesthetic",
            strict="aesthetic",
            scale=10,
            needs="aesthetic-predictor-v2.5: --whole aesthetic:HEAD.safetensors[@SIGLIP]",
        ),
    ),
    averages=(
        Average(name="AVG", of=("DPG", "ID-Sim", "IP-Sim", "AES")),
        Average(name="AVG (UMO)", of=("ID-Sim", "IP-Sim"), subsets=("single",)),
        Average(name="AVG (UMO)", of=("ID-Sim", "ID-Conf", "IP-Sim"), subsets=("multi",)),
    ),
    overall=("AVG",),
    published=XVERSEBENCH_ROWS,
    faults=(
        Fault(
            "ID-Sim takes the most similar face for each reference: one blended face satisfies two",
            "strict: one-to-one, an unmatched person is 0",
        ),
        Fault(
            "ID-Conf has no entry below two faces, so dropping people costs nothing",
            "official: omitted and counted as missing; strict: an absent person is 0",
        ),
        Fault(
            "the face program gives 0 whenever anything fails",
            "official: omitted and counted; a missing file is named",
        ),
        Fault(
            "ID-Conf detects again inside a crop, and scores 1 where that fails",
            "both: the landmarks of the first detection are used, so nothing is detected twice",
        ),
        Fault(
            "AES looks at the whole grid of four pictures",
            "official: the same (scenes without four pictures are counted as missing); strict: "
            "each picture by itself",
        ),
        Fault(
            "IP-Sim is DINO ViT-S/16, the paper says DINOv2",
            "rows say which eyes they were; --embedder dino-crop is the program's",
        ),
        Fault(
            "IP-Sim cuts things out on white, by Florence-2's boxes and SAM 2.1",
            "--detector florence-2 --segmenter sam2 --embedder dino-crop does (three beams, each "
            "noun asked alone, as the prompt spells it, first three large enough, the box itself "
            "for SAM 2); in float32 for bfloat16; crops come to 256 pixels bilinearly, not by "
            "Pillow's bicubic; a mask with nothing in its box keeps the background, not all white; "
            "where its Florence-2 answers with outlines it finds nothing, here their boxes count",
        ),
        Fault(
            "IP-Sim takes each reference photo whole, cut out on white beforehand, and DINO's "
            "center crop loses the ends of one that is not square",
            "--segmenter cuts a reference without a mask out by itself; its tight box, padded to a "
            "square, is compared",
        ),
        Fault(
            "IP-Sim reads what it can of an answer of Florence-2, else finds nothing and scores 0",
            "both: an answer that cannot be read is unmeasured, with the answer",
        ),
        Fault(
            "identity rests on few scenes: two people or more in 50 of 210",
            "intervals resample scenes",
        ),
    ),
)


class _Source(BaseModel):
    model_config = ConfigDict(strict=True)
    image_path: Annotated[str, Field(min_length=1)]
    caption: str


class _Modulation(BaseModel):
    model_config = ConfigDict(strict=True)
    src_inputs: list[_Source]
    # Which input, its words (twice), which of several mentions it is (`braced` finds it too).
    use_words: list[tuple[int, str, str] | tuple[int, str, str, int]]


class _Item(BaseModel):
    """An item of a list; what else it holds steers XVerse's own model."""

    model_config = ConfigDict(strict=True)
    index: int
    prompt: Annotated[str, Field(min_length=1)]
    modulation: Annotated[list[_Modulation], Field(min_length=1)]


def _load(data: Path, options: SuiteOptions) -> LoadedSuite:
    """Both lists, or the one that is there.

    Raises:
        DataError: no list at all.
    """
    del options
    scenes: list[Scene] = []
    subset_of: dict[str, str] = {}
    asked: dict[str, tuple[AskedTree, ...]] = {}
    stems: dict[str, str] = {}
    problems: list[str] = []
    for subset in _LISTS:
        path = data / f"XVerseBench_{subset}.json"
        if not path.is_file():
            problems.append(f"{path}: no such file; the {_CARD.sizes[subset]} scenes are left out")
            continue
        trees = _trees(data / f"XVerseBench_{subset}_DSG.json", problems)
        for number, entry in enumerate(_entries(path, problems)):
            where = f"{path}: item {number}"
            try:
                item = _item(entry, where)
                scene = _scene(item, subset, data, where)
            except DataError as error:
                problems.append(str(error))
                continue
            if scene.id in subset_of:
                problems.append(f"{where}: index {item.index} was used before; left out")
                continue
            scenes.append(scene)
            subset_of[scene.id] = subset
            stems[scene.id] = plain_stem(f"{item.index}_{item.prompt[:_PROMPT_LETTERS]}")
            tree = trees.get(item.prompt)
            asked[scene.id] = () if tree is None else (AskedTree(tree),)
        without = [name for name, each in asked.items() if not each and subset_of[name] == subset]
        if trees and without:
            problems.append(
                f"{path.stem}_DSG.json: no questions for {len(without)} prompts "
                f"({', '.join(without[:3])}); DPG of their pictures stays unmeasured"
            )
    if not scenes:
        raise DataError(f"{data}: no scene of XVerseBench; expected {_CARD.data_tree}; {problems}")
    return LoadedSuite(
        card=_CARD,
        scenes=tuple(scenes),
        subset_of=subset_of,
        asked=asked,
        stems=stems,
        problems=tuple(problems),
    )


def _entries(path: Path, problems: list[str]) -> list[object]:
    """The items of a list; of one that is damaged none, and the other list is still there."""
    try:
        found = read_json(path)
    except DataError as error:
        problems.append(f"{error}; its {_CARD.sizes[path.stem.split('_')[-1]]} scenes are left out")
        return []
    if not isinstance(found, list):
        problems.append(f"{path}: expected a list of items; got {type(found).__name__}")
        return []
    return found


def _item(entry: object, where: str) -> _Item:
    try:
        # In JSON a tuple is a list.
        return TypeAdapter(_Item).validate_python(entry, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{where}: {place}: {first['msg']}") from None


def _trees(path: Path, problems: list[str]) -> dict[str, QuestionTree]:
    try:
        return {tree.prompt: tree for tree in read_question_trees(path)}
    except DataError as error:
        problems.append(f"{error}; DPG of its pictures stays unmeasured")
        return {}


def _scene(item: _Item, subset: str, data: Path, where: str) -> Scene:
    sources = [source for part in item.modulation for source in part.src_inputs]
    nouns = [source.caption for source in sources]
    first = 0
    for part in item.modulation:
        for place, word, *_ in part.use_words:
            if not 0 <= place < len(part.src_inputs):
                raise DataError(f"{where}: use_words names input {place}, which is not there")
            nouns[first + place] = word
        first += len(part.src_inputs)
    ids = subject_ids(nouns)
    prompt, words = braced(item.prompt, nouns, ids)
    subjects = {
        name: _subject(name, noun, source, data, where)
        for name, noun, source in zip(ids, words, sources, strict=True)
    }
    return Scene(f"{subset}-{item.index:03d}", prompt, subjects, where=where)


def _subject(name: str, noun: str, source: _Source, data: Path, where: str) -> Subject:
    """The photo by its last two names, ``human/05_man.jpg``, below the folder or as it is named."""
    path = PurePosixPath(source.image_path)
    if len(path.parts) < 2 or path.parts[-2] not in _KINDS or ".." in path.parts:
        raise DataError(
            f"{where}: image_path {source.image_path!r}: expected one in human/, animal/ or object/"
        )
    near = data / path.parts[-2] / path.name
    named = data / path.relative_to("/") if path.is_absolute() else data / path
    photo = named if named.is_file() and not near.is_file() else near
    return Subject(name, noun, _KINDS[path.parts[-2]], (ReferenceFile(spelled_as_on_disk(photo)),))


XVERSEBENCH = Suite(_CARD, _load)
"""XVerseBench as published in two lists."""

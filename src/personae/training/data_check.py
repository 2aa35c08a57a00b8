"""What a recipe trains on and is validated by, looked at before anything is encoded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personae.data.cast_check import cast_oddities
from personae.data.cast_examples import CastExamples, CastRecipe
from personae.data.examples import ExampleFile, ToonExamples
from personae.data.latents import bucket_name
from personae.diffusion.backbone import Limits
from personae.errors import DataError, PersonaeError
from personae.subjects.manifest import json_lines
from personae.training.recipe import Recipe
from personae.training.recipe_check import Finding, Mistake, Remark, mistake_of

__all__ = ["DataFacts", "Shape", "assumed_data", "look_at_data"]

_LOOKS = 12  # examples that are made, to see their shapes
_COUNTED = 1000  # scenes of toons whose number of toons is asked for


@dataclass(frozen=True)
class Shape:
    """Pictures that can stand in one batch: (width, height) of the picture and its references."""

    name: str
    share: float

    @property
    def pictures(self) -> list[tuple[int, int]]:
        """The picture, then its references.

        >>> Shape("192x128+64x64", 1.0).pictures
        [(192, 128), (64, 64)]
        """
        pairs = (item.split("x") for item in self.name.split("+"))
        return [(int(width), int(height)) for width, height in pairs]


@dataclass(frozen=True)
class DataFacts:
    """What is trained on.

    Attributes:
        source: in words.
        examples: how many that can be used; 0: not known.
        shapes: what was seen in some of them.
        seconds_each: to make or read one, by one process.
        priors: how many are stored beside them.
    """

    source: str
    examples: int
    shapes: tuple[Shape, ...]
    seconds_each: float
    priors: int = 0

    @property
    def stored(self) -> int:
        """Pictures that are encoded once."""
        return self.examples + self.priors


def look_at_data(
    recipe: Recipe, limits: Limits | None, multiple: int
) -> tuple[DataFacts | None, list[Finding]]:
    """What the recipe's data are, and what is wrong with them and with those of validation.

    Args:
        recipe: which data.
        limits: of the base; None: it is not known, and what depends on it is not looked at.
        multiple: sides of pictures are multiples of this many pixels.
    """
    findings = [*_sizes(recipe, limits, multiple), *_validation(recipe, limits)]
    if recipe.data.toons is not None:
        facts, told = _toons(recipe, limits)
        return facts, [*findings, *told]
    if recipe.data.cast is not None:
        facts, told = _cast(recipe, recipe.data.cast, limits)
        return facts, [*findings, *told]
    if recipe.data.file is None:
        return None, findings
    facts, told = _file(recipe, recipe.data.file, limits, "data.file")
    return facts, [*findings, *told]


def assumed_data(recipe: Recipe, limits: Limits) -> DataFacts:
    """Where data cannot be looked at: the largest size, and two references."""
    width, height = max(
        recipe.data.sizes or limits.sizes or ((1024, 1024),), key=lambda size: size[0] * size[1]
    )
    side = limits.reference_px
    count = min(2, limits.max_subjects) if side else 0
    name = "+".join([f"{width}x{height}", *[f"{side}x{side}"] * count])
    return DataFacts("unknown examples, pictures assumed", 0, (Shape(name, 1.0),), 0.0)


def _sizes(recipe: Recipe, limits: Limits | None, multiple: int) -> Iterator[Finding]:
    for width, height in recipe.data.sizes:
        if min(width, height) < multiple or width % multiple or height % multiple:
            came = f"{width} x {height}"
            todo = f"round both sides to multiples of {multiple}"
            yield Mistake("data.sizes", f"positive multiples of {multiple}", came, todo)
    is_sized = recipe.data.file is not None or recipe.data.cast is not None
    if is_sized and limits and not (recipe.data.sizes or limits.sizes):
        todo = "name the sizes that pictures are brought to, such as [[1024, 1024]]"
        yield Mistake("data.sizes", "at least one, since the base has none", "none", todo)


def _validation(recipe: Recipe, limits: Limits | None) -> list[Finding]:
    wanted, data = recipe.validation, recipe.data
    if not wanted.every or data.toons is not None:
        return []
    if data.cast is not None:
        todo = "set it to 0; look at the sample sheets"
        return [Mistake("validation.every", "0 with a cast", str(wanted.every), todo)]
    if wanted.file is None:
        expected = "a file with examples of identities that are not trained on"
        todo = "name one, or set validation.every to 0"
        return [Mistake("validation.file", expected, "none", todo)]
    findings = _file(recipe, wanted.file, limits, "validation.file")[1]
    if data.file is not None and wanted.file.resolve() == data.file.resolve():
        todo = "split the identities between two files"
        expected = "other identities than those of data.file"
        findings.append(Mistake("validation.file", expected, "the same file", todo))
    return findings


def _cast(
    recipe: Recipe, wanted: CastRecipe, limits: Limits | None
) -> tuple[DataFacts | None, list[Finding]]:
    sizes = recipe.data.sizes or (limits.sizes if limits else ()) or ((64, 64),)
    key, findings = "data.cast", list[Finding]()
    try:
        sources = [
            CastExamples(wanted, sizes, recipe.seed, limits=limits, prior=prior)
            for prior in (False, True)[: 1 + recipe.has_prior]
        ]
        source = sources[0]
        findings += [Remark(f"{key}: {odd}") for odd in cast_oddities([*source.subjects.values()])]
        findings += _without_tokens(recipe, source)
        began = time.monotonic()
        names = {bucket_name(made[place]) for made in sources for place in range(_LOOKS)}
    except PersonaeError as error:
        todo = "mend the cast, or run `personae prepare` again"
        return None, [mistake_of(key, str(wanted.file), error, todo, "a whole cast")]
    seconds = (time.monotonic() - began) / _LOOKS
    facts = DataFacts(
        f"photos and mixes of {len(source.subjects)} subjects",
        len(source),
        tuple(Shape(name, 1 / len(names)) for name in sorted(names)),
        seconds / len(sources),
        len(source) if recipe.has_prior else 0,
    )
    return facts, findings


def _without_tokens(recipe: Recipe, source: CastExamples) -> Iterator[Finding]:
    """Subjects of which `finetune` could learn no token."""
    bare = [subject.id for subject in source.subjects.values() if subject.token is None]
    if recipe.tokens is not None and bare:
        todo = f"name one in {source.path}, a word that the model does not know"
        yield Mistake("tokens", "a token of every subject of the cast", f"none for {bare}", todo)


def _toons(recipe: Recipe, limits: Limits | None) -> tuple[DataFacts | None, list[Finding]]:
    toons = recipe.data.toons
    assert toons is not None
    findings: list[Finding] = []
    if limits is not None and len(toons.weights) > limits.max_subjects:
        came = f"shares up to {len(toons.weights)} toons"
        expected = f"at most {limits.max_subjects} toons a scene, which the base takes"
        findings.append(Mistake("data.toons.weights", expected, came, "give fewer shares"))
    try:
        source = ToonExamples(
            count=toons.count,
            start=toons.start,
            weights=toons.weights,
            look_alike_share=toons.look_alike_share,
            portrait_share=toons.portrait_share,
        )
    except PersonaeError as error:
        return None, [*findings, mistake_of("data.toons", repr(toons), error)]
    return _toon_facts(source), findings


def _toon_facts(source: ToonExamples) -> DataFacts:
    """One scene of each number of toons is drawn; how many of each there are is counted."""
    counts: Counter[int] = Counter()
    first: dict[int, int] = {}
    for number in range(min(len(source), _COUNTED)):
        count, _ = source.choice(source.start + number)
        counts[count] += 1
        first.setdefault(count, number)
    began = time.monotonic()
    names = {count: bucket_name(source[number]) for count, number in first.items()}
    seconds = (time.monotonic() - began) / max(1, len(names))
    total = sum(counts.values())
    shapes = [Shape(names[count], counts[count] / total) for count in sorted(counts)]
    return DataFacts("drawn scenes of toons", len(source), tuple(shapes), seconds)


def _file(
    recipe: Recipe, path: Path, limits: Limits | None, key: str
) -> tuple[DataFacts | None, list[Finding]]:
    sizes = recipe.data.sizes or (limits.sizes if limits else ()) or ((64, 64),)
    try:
        source = ExampleFile(path, sizes, limits.reference_px if limits else 64)
    except DataError as error:
        return None, [mistake_of(key, str(path), error, "check the path", "a file of examples")]
    findings: list[Finding] = [_line_mistake(problem) for problem in source.problems]
    findings += _lines(path, limits, needs_references=recipe.rewards is not None)
    facts, told = _look(source, path)
    return facts, [*findings, *told]


def _line_mistake(problem: str) -> Mistake:
    """A problem says its file and line first."""
    where, _, text = problem.partition(": ")
    return mistake_of(where, "this line", text, "mend the line, or remove it", "an example")


def _lines(path: Path, limits: Limits | None, needs_references: bool) -> Iterator[Finding]:
    """Lines with more references than the base takes, and pictures that are not there."""
    most = limits.max_subjects if limits and limits.reference_px else None
    for number, line in json_lines(path):
        where = f"{path}:{number}"
        if not isinstance(line, Mapping) or not isinstance(line.get("references"), list):
            continue
        count = len(line["references"])
        if most is not None and count > most:
            expected = f"at most {most} references, which the base takes"
            yield Mistake(where, expected, str(count), "leave some out, or remove the line")
        if needs_references and not count:
            todo = "remove the line; a reward has nothing to compare"
            yield Mistake(where, "at least one reference", "none", todo)
        for name in [line.get("image"), *line["references"]]:
            if isinstance(name, str) and name and not (path.parent / name).is_file():
                yield Mistake(
                    where, f"a picture {name}", "no such file", "add it, or mend the line"
                )


def _look(source: ExampleFile, path: Path) -> tuple[DataFacts | None, list[Finding]]:
    """Some examples, evenly spread, are read as training reads them."""
    places = np.unique(np.linspace(0, len(source) - 1, _LOOKS).astype(int)).tolist()
    names: Counter[str] = Counter()
    findings: list[Finding] = []
    began = time.monotonic()
    for place in places:
        try:
            names[bucket_name(source[place])] += 1
        except DataError as error:
            came, todo = f"example {place + 1}", "mend the file, or remove the line"
            findings.append(mistake_of(str(path), came, error, todo, "pictures that can be read"))
    seconds = (time.monotonic() - began) / len(places)
    if len(source) > len(places):
        told = f"{path}: {len(places)} of {len(source):,} examples were opened, evenly spread"
        findings.append(Remark(told))
    total = sum(names.values())
    shapes = tuple(Shape(name, count / total) for name, count in sorted(names.items()))
    return DataFacts(f"examples of {path}", len(source), shapes, seconds), findings

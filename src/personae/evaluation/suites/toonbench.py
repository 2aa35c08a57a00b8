"""ToonBench: the suite that ships. Seven subsets after PSRBench's, in the drawn world."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from personae.compute.runs import make_folder, read_json, write_json
from personae.errors import DataError, RequestError
from personae.evaluation.suites.asked import AskedAlignment
from personae.evaluation.suites.card import Average, Column, Fault, SuiteCard
from personae.evaluation.suites.suite import LoadedSuite, Suite, SuiteOptions
from personae.subjects.manifest import read_scenes
from personae.toons import ToonScene, scene, write_scenes
from personae.toons.caption import caption

__all__ = ["SIZES", "TOONBENCH", "toonbench_scenes"]

SIZES: Mapping[str, int] = {"small": 12, "full": 50}
"""Scenes a subset, by the name of a size."""

_FACTS = "toonbench.json"
_VERSION = 1
# Seeds of the test split that belong to this suite: a hundred thousand for each subset.
_FIRST_SEED = 700_000
_STEP = 100_000


@dataclass(frozen=True)
class _Subset:
    """How many toons by turns, what the prompt tells of them, and what a scene must have for it.

    Every prompt tells who is there and where.
    """

    counts: tuple[int, ...]
    told: frozenset[str]
    has: Callable[[ToonScene], bool]


def _kinds(drawn: ToonScene) -> set[str]:
    return {claim.kind for claim in drawn.claims}


_SUBSETS: Mapping[str, _Subset] = {
    "attribute": _Subset((2,), frozenset({"wears"}), lambda drawn: "wears" in _kinds(drawn)),
    "background": _Subset((2,), frozenset(), lambda drawn: True),
    "action": _Subset((2,), frozenset({"action"}), lambda drawn: "action" in _kinds(drawn)),
    "position": _Subset((2,), frozenset({"relation"}), lambda drawn: drawn.relation is not None),
    "complex": _Subset(
        (2, 3),
        frozenset({"wears", "action", "relation"}),
        lambda drawn: {"wears", "action", "relation"} <= _kinds(drawn),
    ),
    "three": _Subset((3,), frozenset({"relation"}), lambda drawn: drawn.relation is not None),
    "four": _Subset((4, 5), frozenset({"relation"}), lambda drawn: drawn.relation is not None),
}

_CARD = SuiteCard(
    name="toonbench",
    title="ToonBench",
    paper="ours; subsets after PSRBench (PSR, arXiv 2512.01236)",
    source="drawn by personae.toons",
    licence="Apache-2.0, with the package",
    sizes=dict.fromkeys(_SUBSETS, SIZES["small"]),
    seeds=1,
    eyes="the examiner, which no training uses; it also judges, offline",
    data_tree="nothing: scenes, references and truth are drawn there",
    columns=(
        Column(
            name="ID",
            official="id_similarity",
            strict="strict_id_similarity",
            kinds=("person",),
        ),
        Column(
            name="ID-Conf",
            official="id_confusion",
            strict="strict_id_confusion",
            kinds=("person",),
        ),
        Column(name="presence", official=None, strict="presence", kinds=("person",)),
        Column(name="success", official=None, strict="success"),
        Column(
            name="SA",
            official=None,
            strict="strict_semantic_alignment",
            needs="the offline judge: --judge toons",
        ),
        Column(
            name="position",
            official="position_score",
            strict="strict_position_score",
            subsets=("position", "complex", "three", "four"),
        ),
    ),
    averages=(Average(name="AVG", of=("ID", "ID-Conf", "SA")),),
    overall=("ID", "ID-Conf", "presence", "success", "SA", "position", "AVG"),
    faults=(
        Fault(
            "the truth wears and does more than some prompts tell",
            "nothing asks about what is not told",
        ),
        Fault(
            "PSRBench's question shows no references, by which alone the offline judge knows whom "
            "a claim is about",
            "SA has a strict column only, whose question shows them",
        ),
    ),
)


def toonbench_scenes(per_subset: int) -> Iterator[tuple[str, ToonScene]]:
    """Subset and scene, a pure function: the first scenes of a larger size are those of a smaller.

    Scenes of a subset take turns between its numbers of toons, and every other pair of them are
    look-alikes. Toons, places and poses are of the test split, which no shipped model has seen.
    """
    for number, (subset, made) in enumerate(_SUBSETS.items()):
        seed = _FIRST_SEED + number * _STEP
        for place in range(per_subset):
            count = made.counts[place % len(made.counts)]
            drawn = None
            while drawn is None or not made.has(drawn):
                drawn = scene(seed, count=count, split="test", look_alikes=bool((place // 2) % 2))
                seed += 1
            yield subset, _retold(drawn, f"{subset}-{place:03d}", made.told)


def _retold(drawn: ToonScene, name: str, told: frozenset[str]) -> ToonScene:
    """The same picture with a prompt, and claims, of these kinds alone."""
    poses = [
        (
            member.name,
            replace(
                member.pose,
                wears=member.pose.wears if "wears" in told else None,
                action=member.pose.action if "action" in told else None,
            ),
        )
        for member in drawn.members
    ]
    relation = drawn.relation if "relation" in told else None
    kept = {"count", "place", *told}
    return replace(
        drawn,
        id=name,
        prompt=caption(poses, drawn.place, relation),
        relation=relation,
        claims=tuple(claim for claim in drawn.claims if claim.kind in kept),
    )


def _load(data: Path, options: SuiteOptions) -> LoadedSuite:
    """Draw the scenes into the folder, or read them where they were drawn before."""
    per_subset = _per_subset(options.size)
    facts = {"version": _VERSION, "scenes_per_subset": per_subset}
    path, done = data / "scenes.jsonl", data / _FACTS
    if not done.is_file():
        write_scenes(
            (drawn for _, drawn in toonbench_scenes(per_subset)), make_folder(data), truth=True
        )
        write_json(done, facts)
    elif read_json(done) != facts:
        raise RequestError(
            f"{data} holds ToonBench of another size ({read_json(done)}, now {facts}); use another "
            "--data or --out"
        )
    manifest = read_scenes(path)
    if len(manifest.scenes) != per_subset * len(_SUBSETS):
        raise DataError(
            f"{path}: {len(manifest.scenes)} scenes, expected {per_subset * len(_SUBSETS)}; remove "
            f"{data} and it is drawn again; {manifest.problems[:1]}"
        )
    subset_of = {item.id: item.id.rsplit("-", 1)[0] for item in manifest.scenes}
    return LoadedSuite(
        card=replace(_CARD, sizes=dict.fromkeys(_SUBSETS, per_subset)),
        scenes=manifest.scenes,
        subset_of=subset_of,
        asked={
            name: (AskedAlignment(_INTENTS.get(subset, subset), strict=True),)
            for name, subset in subset_of.items()
        },
    )


# PSRBench has no question for positions, which it measures: the whole of the prompt is asked for.
_INTENTS = {"position": "complex"}


def _per_subset(size: str) -> int:
    if size in SIZES:
        return SIZES[size]
    if size.isdigit() and int(size) > 0:
        return int(size)
    raise RequestError(f"--size {size!r}: expected {', '.join(SIZES)}, or scenes a subset")


TOONBENCH = Suite(_CARD, _load, makes_data=True)
"""The drawn suite."""

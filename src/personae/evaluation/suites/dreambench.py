"""DreamBench with several subjects: DreamBooth's things in pairs that nobody has written down."""

from __future__ import annotations

from pathlib import Path

from personae.evaluation.suites.card import Column, Fault, SuiteCard
from personae.evaluation.suites.mapped import UNVERIFIED, Defaults, load_mapped
from personae.evaluation.suites.published import DREAMBENCH_ROWS
from personae.evaluation.suites.suite import LoadedSuite, Suite, SuiteOptions
from personae.subjects.subject import KINDS

__all__ = ["DREAMBENCH"]

_CARD = SuiteCard(
    name="dreambench",
    title="DreamBench",
    paper="DreamBooth, arXiv 2208.12242; pairs after UNO, arXiv 2504.02160",
    source="the repository google/dreambooth",
    licence="CC BY 4.0 for the repository",
    sizes={"single": 0, "multi": 0},
    seeds=4,
    eyes="CLIP and DINO (ViT-S/16 in DreamBooth) on whole pictures",
    data_tree="a .json, .jsonl or .csv of your items, and the photos it names",
    unverified=f"{UNVERIFIED}; pairs and prompts of the multi-subject form are not recorded",
    columns=(
        Column(
            name="CLIP-I",
            official="clip_i",
            strict=None,
            kinds=KINDS,
            needs="CLIP: --whole clip[:PATH]",
        ),
        Column(name="CLIP-T", official="clip_t", strict=None, needs="CLIP: --text clip[:PATH]"),
        Column(
            name="DINO",
            official="dino_i",
            strict=None,
            kinds=KINDS,
            needs="DINO: --whole dino[:PATH]",
        ),
        Column(
            name="SC",
            official="subject_consistency",
            strict="strict_subject_consistency",
            kinds=("animal", "object"),
        ),
    ),
    published=DREAMBENCH_ROWS,
    faults=(
        Fault("pasted references beat the oracle's DINO score", "look at SC and at the pictures"),
        Fault(
            "how pictures of several subjects are averaged, and which CLIP and DINO are asked, is "
            "not recorded",
            "the mean over pictures and their subjects, each against the mean of its references; "
            "rows name the weights",
        ),
        Fault(
            "whole pictures are compared, so a background counts, and nobody need be there",
            "CLIP-I and DINO have no strict twin; SC, one-to-one on crops, stands beside them",
        ),
        Fault("UNO's row differs between papers", "sources are kept apart"),
    ),
)


def _load(data: Path, options: SuiteOptions) -> LoadedSuite:
    defaults = Defaults(
        subset=lambda count: "single" if count == 1 else "multi",
        kinds=lambda subset, count: ["object"] * count,
        noun="object",
    )
    return load_mapped(_CARD, defaults, data, options)


DREAMBENCH = Suite(_CARD, _load)
"""DreamBench through a mapping."""

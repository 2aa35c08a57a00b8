"""What published benchmarks make of a judge's answers: means of marks, trees of yes and no.

An answer that is missing is None here and stays it: no published default, no random mark. Means
say how many were missing, and between which numbers they would lie with them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

from personae.errors import DataError
from personae.vision.judges.question import HIGHEST_MARK

__all__ = [
    "JudgedMean",
    "TaskMeans",
    "dpg_score",
    "judged_mean",
    "omnicontext_overall",
    "semantic_alignment",
    "strict_dpg_score",
    "strict_omnicontext_overall",
    "strict_semantic_alignment",
    "task_means",
]

Marks = Sequence[float | None]


@dataclass(frozen=True)
class JudgedMean:
    """A mean over what was judged; ``mean`` None where nothing was.

    ``low`` and ``high``: the mean if all that is missing had the lowest or the highest value.
    """

    mean: float | None
    low: float
    high: float
    num_judged: int
    num_missing: int


@dataclass(frozen=True)
class TaskMeans:
    """Means of a benchmark's tasks and their unweighted mean, None where one task has none."""

    tasks: Mapping[str, JudgedMean]
    mean: float | None
    low: float
    high: float


def judged_mean(values: Marks, lowest: float = 0.0, highest: float = HIGHEST_MARK) -> JudgedMean:
    """Mean of the values that are there, and what the missing ones could make of it.

    Raises:
        DataError: no value at all, or one outside the range.

    >>> judged_mean([8.0, None, 6.0, 4.0])
    JudgedMean(mean=6.0, low=4.5, high=7.0, num_judged=3, num_missing=1)
    """
    if not values:
        raise DataError("a judged mean of nothing; give it the items that were asked")
    there = [value for value in values if value is not None]
    for value in there:
        if not lowest <= value <= highest:
            raise DataError(f"a judged value of {value}: expected {lowest:g} to {highest:g}")
    missing = len(values) - len(there)
    total = math.fsum(there)
    return JudgedMean(
        mean=total / len(there) if there else None,
        low=(total + missing * lowest) / len(values),
        high=(total + missing * highest) / len(values),
        num_judged=len(there),
        num_missing=missing,
    )


def task_means(
    tasks: Mapping[str, Marks], lowest: float = 0.0, highest: float = HIGHEST_MARK
) -> TaskMeans:
    """Mean of each task and their unweighted mean, as OmniContext's eight and PSRBench's seven.

    A task of which nothing was judged leaves the whole without a mean: one over the other tasks
    would be another benchmark.

    Raises:
        DataError: no task, or as `judged_mean`.

    >>> task_means({"single": [8.0, 6.0], "scene": [4.0]}).mean
    5.5
    """
    if not tasks:
        raise DataError("means of no task; give at least one")
    means = {name: judged_mean(values, lowest, highest) for name, values in tasks.items()}
    there = [item.mean for item in means.values() if item.mean is not None]
    return TaskMeans(
        tasks=means,
        mean=math.fsum(there) / len(there) if len(there) == len(means) else None,
        low=math.fsum(item.low for item in means.values()) / len(means),
        high=math.fsum(item.high for item in means.values()) / len(means),
    )


def semantic_alignment(repeats: Marks) -> float | None:
    r"""PSRBench's semantic alignment of one picture, in [0, 1]; higher is better.

    .. math:: m_1 / 10

    of the mark :math:`m_1` that the whole instruction got without references, asked once: repeats
    behind the first are not looked at. None where it is missing (the program takes 5 of 10 where
    it finds no mark). PSR, arXiv 2512.01236.

    >>> semantic_alignment([7.5, 2.0])
    0.75
    """
    return None if not repeats or repeats[0] is None else _marked(repeats[0]) / HIGHEST_MARK


def strict_semantic_alignment(repeats: Marks) -> float | None:
    r"""The same over all repeats that are there, in [0, 1]; None where none is.

    .. math:: \overline{m} / 10

    For marks of the strict question, which shows the references too.

    >>> strict_semantic_alignment([7.0, None, 8.0])
    0.75
    """
    mean = _mean(repeats)
    return None if mean is None else mean / HIGHEST_MARK


def omnicontext_overall(prompt_following: Marks, subject_consistency: Marks) -> float | None:
    r"""OmniContext's overall mark of one picture, in [0, 10]; higher is better.

    .. math:: \sqrt{\mathrm{PF} \cdot \mathrm{SC}}

    of the last repeats: the published loop asks three times and keeps the last. None where one of
    the two is missing (the program draws a random mark). OmniGen2, arXiv 2506.18871.

    >>> omnicontext_overall([9.0], [4.0])
    6.0
    """
    last = [marks[-1] if marks else None for marks in (prompt_following, subject_consistency)]
    return _geometric(*last)


def strict_omnicontext_overall(prompt_following: Marks, subject_consistency: Marks) -> float | None:
    r"""The same of each mark's mean over all repeats that are there, in [0, 10].

    .. math:: \sqrt{\overline{\mathrm{PF}} \cdot \overline{\mathrm{SC}}}

    >>> strict_omnicontext_overall([8.0, 10.0, None], [4.0])
    6.0
    """
    return _geometric(_mean(prompt_following), _mean(subject_consistency))


def dpg_score(
    answers: Mapping[str, float | None], parents: Mapping[str, Sequence[str]]
) -> float | None:
    r"""DPG of one picture: share of questions answered yes, in [0, 1]; higher is better.

    ``answers`` 1 for yes, 0 for no. Question by question in the order of ``parents``, an answer
    becomes 0 if one of its parents is 0 by then, as XVerseBench's program does it: a parent behind
    its child counts as it was answered. A missing answer is left out of the mean and fails no
    child; None where all are missing. DPG-Bench (ELLA, arXiv 2403.05135), after DSG (2310.18235).

    Raises:
        DataError: other questions than parents, or an answer that is neither 0 nor 1.

    >>> dpg_score({"1": 0.0, "2": 1.0, "3": 1.0}, {"1": [], "2": [], "3": ["1"]})
    0.3333333333333333
    """
    scores = _checked(answers, parents)
    for name, above in parents.items():
        if scores[name] is not None and any(scores[parent] == 0 for parent in above):
            scores[name] = 0.0
    there = [value for value in scores.values() if value is not None]
    return math.fsum(there) / len(there) if there else None


def strict_dpg_score(
    answers: Mapping[str, float | None], parents: Mapping[str, Sequence[str]]
) -> float | None:
    r"""The same with parents before their children whatever the order; None unless all is known.

    A question whose parent failed is 0 whatever its own answer, and though it be missing; another
    missing answer leaves the picture unmeasured, for a share of other questions could not be
    compared. In [0, 1]; higher is better.

    Raises:
        DataError: as `dpg_score`, or questions that wait for each other.

    >>> tree = {"1": ["2"], "2": ["3"], "3": []}
    >>> answers = {"1": 1.0, "2": 1.0, "3": 0.0}
    >>> strict_dpg_score(answers, tree), dpg_score(answers, tree)
    (0.0, 0.3333333333333333)
    """
    scores = _checked(answers, parents)
    try:
        order = tuple(TopologicalSorter(parents).static_order())
    except ValueError as error:
        raise DataError(f"DPG: questions wait for each other ({error})") from None
    for name in order:
        if any(scores[parent] == 0 for parent in parents[name]):
            scores[name] = 0.0
    there = [value for value in scores.values() if value is not None]
    return math.fsum(there) / len(there) if len(there) == len(scores) else None


def _checked(
    answers: Mapping[str, float | None], parents: Mapping[str, Sequence[str]]
) -> dict[str, float | None]:
    """A copy of the answers that fit their tree."""
    if not answers or set(answers) != set(parents):
        raise DataError(
            f"DPG: answers to {sorted(answers)}, parents of {sorted(parents)}; expected the same, "
            "and at least one"
        )
    for name, value in answers.items():
        if value not in (None, 0, 1):
            raise DataError(f"DPG: question {name}: 1 for yes or 0 for no; got {value}")
        for parent in parents[name]:
            if parent not in answers:
                raise DataError(f"DPG: question {name} hangs on {parent}, which is not there")
    return dict(answers)


def _mean(repeats: Marks) -> float | None:
    there = [_marked(value) for value in repeats if value is not None]
    return math.fsum(there) / len(there) if there else None


def _geometric(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return None
    return math.sqrt(_marked(first) * _marked(second))


def _marked(value: float) -> float:
    if not 0 <= value <= HIGHEST_MARK:
        raise DataError(f"a mark of {value}: expected 0 to {HIGHEST_MARK:g}")
    return value

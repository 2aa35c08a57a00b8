"""Does a judge agree with itself when it is asked the same again?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from personae.vision.judges.judgement import Judgement

__all__ = ["Agreement", "agreement"]


@dataclass(frozen=True)
class Agreement:
    """How alike the answers to the same question are, over many questions.

    ``exact`` is the share of pairs of answers that are the same, in [0, 1]; ``difference`` their
    mean absolute difference and ``deviation`` the standard deviation of a question's answers, both
    in marks (of a yes or no: in shares); each the mean over the ``num_questions`` that were
    answered at least twice, None where there is none. ``num_alone`` questions have fewer answers,
    ``num_missing`` answers are missing.
    """

    exact: float | None
    difference: float | None
    deviation: float | None
    num_questions: int
    num_alone: int
    num_missing: int


def agreement(repeats: Sequence[Sequence[Judgement]]) -> Agreement:
    r"""Agreement of a judge with itself; repeats of each question, all of the same kind.

    With the answers :math:`v_1, ..., v_K` of a question that are there, over its pairs:

    .. math:: \text{exact} = \overline{[v_i = v_j]}, \quad
              \text{difference} = \overline{|v_i - v_j|}, \quad
              \text{deviation} = \sqrt{\textstyle\sum_i (v_i - \bar v)^2 / (K - 1)}

    and the mean of each over questions, so that one asked more often does not weigh more. What is
    missing is in no pair, and counted.

    >>> marks = [[Judgement(6), Judgement(8)], [Judgement(5), Judgement.missing("no answer")]]
    >>> one = agreement(marks)
    >>> one.exact, one.difference, one.num_questions, one.num_alone, one.num_missing
    (0.0, 2.0, 1, 1, 1)
    """
    values = [[item.value for item in said if item.value is not None] for said in repeats]
    several = [marks for marks in values if len(marks) > 1]
    return Agreement(
        exact=_mean([_mean_of_pairs(marks, lambda a, b: float(a == b)) for marks in several]),
        difference=_mean([_mean_of_pairs(marks, lambda a, b: abs(a - b)) for marks in several]),
        deviation=_mean([float(np.std(marks, ddof=1)) for marks in several]),
        num_questions=len(several),
        num_alone=len(values) - len(several),
        num_missing=sum(len(said) for said in repeats) - sum(len(marks) for marks in values),
    )


def _mean_of_pairs(marks: Sequence[float], compare: Callable[[float, float], float]) -> float:
    return float(np.mean([compare(a, b) for a, b in combinations(marks, 2)]))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None

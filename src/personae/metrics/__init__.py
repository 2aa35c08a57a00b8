"""Scores of one picture, and what rewards are made of.

A function with a paper's name does the paper's arithmetic; ``strict_NAME`` is its honest twin.
"""

from personae.metrics.alignment import ClaimCheck, check_claims, prompt_fidelity
from personae.metrics.assignment import assign
from personae.metrics.cards import METRICS, MetricCard
from personae.metrics.copy_paste import copy_paste, copy_paste_reference
from personae.metrics.fidelity import (
    detect_and_compare,
    ip_similarity,
    reference_similarity,
    strict_detect_and_compare,
    strict_reference_similarity,
    strict_subject_consistency,
    subject_consistency,
)
from personae.metrics.identity import (
    id_confusion,
    id_similarity,
    strict_id_confusion,
    strict_id_similarity,
)
from personae.metrics.judged import (
    JudgedMean,
    TaskMeans,
    dpg_score,
    judged_mean,
    omnicontext_overall,
    semantic_alignment,
    strict_dpg_score,
    strict_omnicontext_overall,
    strict_semantic_alignment,
    task_means,
)
from personae.metrics.matching import (
    matching_reward,
    matching_rewards,
    single_identity_reward,
    strict_matching_reward,
    strict_matching_rewards,
)
from personae.metrics.position import RELATIONS, position_score, strict_position_score
from personae.metrics.presence import (
    Presence,
    balance,
    presence,
    presence_score,
    strangers,
    success,
)
from personae.metrics.score import Score
from personae.metrics.separability import PairSeparability, separability
from personae.metrics.summary import (
    MetricSummary,
    PairedDifference,
    cluster_bootstrap,
    paired_difference,
    paired_differences,
    summarize,
)
from personae.metrics.whole import grid_of, whole_similarity

__all__ = [
    "METRICS",
    "RELATIONS",
    "ClaimCheck",
    "JudgedMean",
    "MetricCard",
    "MetricSummary",
    "PairSeparability",
    "PairedDifference",
    "Presence",
    "Score",
    "TaskMeans",
    "assign",
    "balance",
    "check_claims",
    "cluster_bootstrap",
    "copy_paste",
    "copy_paste_reference",
    "detect_and_compare",
    "dpg_score",
    "grid_of",
    "id_confusion",
    "id_similarity",
    "ip_similarity",
    "judged_mean",
    "matching_reward",
    "matching_rewards",
    "omnicontext_overall",
    "paired_difference",
    "paired_differences",
    "position_score",
    "presence",
    "presence_score",
    "prompt_fidelity",
    "reference_similarity",
    "semantic_alignment",
    "separability",
    "single_identity_reward",
    "strangers",
    "strict_detect_and_compare",
    "strict_dpg_score",
    "strict_id_confusion",
    "strict_id_similarity",
    "strict_matching_reward",
    "strict_matching_rewards",
    "strict_omnicontext_overall",
    "strict_position_score",
    "strict_reference_similarity",
    "strict_semantic_alignment",
    "strict_subject_consistency",
    "subject_consistency",
    "success",
    "summarize",
    "task_means",
    "whole_similarity",
]

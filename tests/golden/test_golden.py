"""Numbers that others have published, or that a formula gives by hand."""

from __future__ import annotations

import numpy as np
import pytest

from personae import metrics

MUDI = np.array([[0.78, 0.28], [0.28, 0.77]])


@pytest.mark.parametrize(
    ("similarity", "score"),
    [
        ([[0.72, 0.26], [0.29, 0.71]], 0.933),
        ([[0.64, 0.28], [0.32, 0.70]], 0.853),
        ([[0.72, 0.28], [0.27, 0.71]], 0.935),
    ],
    ids=["good", "mixed", "good, appendix"],
)
def test_detect_and_compare_of_mudis_figures(similarity, score: float) -> None:
    for assignment in ("greedy", "hungarian"):
        value = float(metrics.detect_and_compare(np.array(similarity), MUDI, assignment))
        assert value == pytest.approx(score, abs=1e-3)


def test_detect_and_compare_of_three_dogs() -> None:
    expected = np.array([[0.75, 0.30, 0.48], [0.30, 0.73, 0.31], [0.48, 0.31, 0.67]])
    good = np.array([[0.65, 0.38, 0.48], [0.30, 0.71, 0.29], [0.53, 0.31, 0.59]])
    assert float(metrics.detect_and_compare(good, expected)) == pytest.approx(0.862, abs=1e-3)


def test_a_wrong_count_is_zero_officially() -> None:
    three = np.array([[0.72, 0.26], [0.29, 0.71], [0.3, 0.7]])
    assert float(metrics.detect_and_compare(three, MUDI)) == 0
    assert 0 < float(metrics.strict_detect_and_compare(three, MUDI)) < 0.5


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_matching_reward_shrinks_with_the_number_of_subjects(n: int) -> None:
    """(s - (n-1) u) / n, the known fault; the strict one stays as it is."""
    s, u = 0.7, 0.05
    similarity = np.full((n, n), u) + (s - u) * np.eye(n)
    assert float(metrics.matching_reward(similarity)) == pytest.approx((s - (n - 1) * u) / n)
    assert float(metrics.strict_matching_reward(similarity)) == pytest.approx(0.4 / 0.7)


@pytest.mark.parametrize(
    ("columns", "official", "strict"),
    [
        ([[0.7, 0.05], [0.05, 0.7]], 0.325, 4 / 7),
        ([[0.7, 0.05]], 0.325, 2 / 7),
        ([[0.7, 0.05], [0.05, 0.7], [0.0, 0.0]], 0.65 * 2 / 6, 4 / 7),
        ([[0.7, 0.05], [0.05, 0.7], [0.7, 0.05]], (1.3 - 0.75) / 6, 2 / 7),
        ([], 0.0, 0.0),
    ],
    ids=["right", "one missing", "bystander", "duplicate", "nobody"],
)
def test_toy_pictures_and_the_hacks_they_show(columns, official: float, strict: float) -> None:
    similarity = np.array(columns).reshape(-1, 2).T
    assert float(metrics.matching_reward(similarity)) == pytest.approx(official)
    assert float(metrics.strict_matching_reward(similarity)) == pytest.approx(strict)


def test_one_blended_face_pleases_the_official_similarity_only() -> None:
    """benchmarks.md: one face at 0.5 to both gives 0.50, matched with one missing 0.25."""
    face = np.array([[0.5], [0.5]])
    assert metrics.id_similarity(face).mean() == pytest.approx(0.5)
    assert metrics.strict_id_similarity(face).mean() == pytest.approx(0.25)


def test_id_confusion_by_hand() -> None:
    assert metrics.id_confusion(np.array([[0.8, 0.2], [-0.1, -0.2], [0.5, -0.5]])).tolist() == (
        pytest.approx([0.75, 0.0, 1.0])
    )
    same_face = np.array([[0.9, 0.1], [0.9, 0.1]])
    assert metrics.id_confusion(same_face).min() > 0.88
    assert metrics.strict_id_confusion(same_face).tolist() == [0.0, 0.0]


def box(x: float, y: float, w: float = 100, h: float = 100) -> list[float]:
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


@pytest.mark.parametrize(
    ("first", "second", "words", "official"),
    [
        (box(100, 100), box(400, 100), "to the left of", 1.0),
        (box(100, 100), box(400, 100), "right of", 0.0),
        (box(400, 100), box(100, 100), "on the right of", 1.0),
        (box(100, 100), box(400, 400), "left of", 0.0),
        (box(100, 100), box(400, 110), "above", 1.0),
        (box(100, 400), box(100, 100), "under", 1.0),
        (box(100, 100), box(100, 200), "on top of", 1.0),
        (box(100, 100), box(150, 100), "left of", 0.1 / (5000 / 15000)),
        (box(100, 100), box(120, 400), "next to", 1.0),
        (box(100, 100), box(400, 400), "near", 0.5),
    ],
)
def test_position_by_hand(first, second, words: str, official: float) -> None:
    score = float(metrics.position_score(np.array([first, second]), words))
    assert score == pytest.approx(official)


@pytest.mark.parametrize("relation", ["left of", "right of", "above", "below"])
def test_strict_position_is_one_rule_for_all_sides(relation: str) -> None:
    """Turning the picture turns the relation; swapping the two takes it away."""
    turns = {"left of": 0, "above": 1, "right of": 2, "below": 3}[relation]
    for first, second, expected in [
        (box(0, 0), box(100, 0), 1.0),
        (box(0, 0), box(300, 60), 1.0),
        (box(0, 0), box(40, 0), 0.8),
        (box(0, 0), box(300, 299), 2 - 2 * 299 / 300),
        (box(100, 0), box(0, 0), 0.0),
        (box(0, 0), box(0, 0), 0.0),
    ]:
        boxes = np.array([first, second])
        for _ in range(turns):
            boxes = boxes[:, [3, 0, 1, 2]] * np.array([-1, 1, -1, 1])
        score = float(metrics.strict_position_score(boxes, relation))
        assert score == pytest.approx(expected), (relation, first, second)
        bigger = float(metrics.strict_position_score(boxes * 7 + 3, relation))
        assert bigger == pytest.approx(expected)


def test_next_to_is_free_of_scale() -> None:
    for scale in (1, 10):
        close = np.array([box(0, 0), box(130, 0)]) * scale
        far = np.array([box(0, 0), box(300, 0)]) * scale
        assert float(metrics.strict_position_score(close, "next to")) == 1.0
        assert float(metrics.strict_position_score(far, "next to")) == pytest.approx(0.0)

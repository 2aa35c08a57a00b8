"""What the strict reward promises, over all matrices that hypothesis can think of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from personae.metrics import assign, matching_reward, strict_matching_reward

MARGIN = 0.3
SMALL = 1e-9


def reward(similarity: np.ndarray) -> float:
    return float(strict_matching_reward(similarity))


def random_matrix(m: int, n: int, seed: int) -> np.ndarray:
    """Similarities in [0, 1]; sparse, so that clean, blended and empty cells all come up."""
    generator = np.random.default_rng(seed)
    return generator.uniform(0, 1, (m, n)) * (generator.uniform(0, 1, (m, n)) < 0.6)


@st.composite
def pictures(draw, max_m: int = 4, max_n: int = 5, min_n: int = 1) -> np.ndarray:
    shape = draw(st.integers(1, max_m)), draw(st.integers(min_n, max_n))
    return random_matrix(*shape, draw(st.integers(0, 100_000)))


def claims(similarity: np.ndarray) -> np.ndarray:
    credit = np.clip((similarity - MARGIN) / (1 - MARGIN), 0, 1)
    return np.clip(2 * credit - credit.sum(axis=0, keepdims=True), 0, None)


def earned(similarity: np.ndarray) -> list[tuple[int, int]]:
    claim = claims(similarity)
    return [(i, j) for i, j in zip(*assign(claim), strict=True) if claim[i, j] > 0]


many = settings(max_examples=300, deadline=None)


@given(pictures())
@many
def test_it_lies_between_zero_and_one(picture: np.ndarray) -> None:
    assert 0 <= reward(picture) <= 1


@given(pictures(), st.integers(0, 1000))
@many
def test_order_does_not_matter(picture: np.ndarray, seed: int) -> None:
    generator = np.random.default_rng(seed)
    rows, columns = generator.permutation(len(picture)), generator.permutation(picture.shape[1])
    assert reward(picture[rows][:, columns]) == pytest.approx(reward(picture), abs=SMALL)


@given(pictures())
@many
def test_removing_a_subject_never_raises_it(picture: np.ndarray) -> None:
    """A subject is removed with all that claims it: its duplicates go, too."""
    claim = claims(picture)
    for i, _ in earned(picture):
        kept = picture[:, claim[i] == 0]
        assert reward(kept) <= reward(picture) + SMALL


@given(pictures())
@many
def test_removing_a_face_that_has_no_duplicate_never_raises_it(picture: np.ndarray) -> None:
    claim = claims(picture)
    for i, j in earned(picture):
        if (claim[i] > 0).sum() == 1:
            assert reward(np.delete(picture, j, axis=1)) <= reward(picture) + SMALL


@given(pictures())
@many
def test_a_duplicate_never_raises_it_and_costs_what_was_earned(picture: np.ndarray) -> None:
    for i, j in earned(picture):
        doubled = np.concatenate([picture, picture[:, j : j + 1]], axis=1)
        assert reward(doubled) <= reward(picture) + SMALL
        if (claims(picture)[i] > 0).sum() == 1:
            lost = claims(picture)[i, j] / len(picture)
            assert reward(doubled) == pytest.approx(reward(picture) - lost, abs=SMALL)


@given(pictures(), st.floats(0, 1))
@many
def test_a_look_alike_never_raises_it(picture: np.ndarray, alike: float) -> None:
    """A look-alike claims the subject no more than its own face does, and no one else."""
    for i, j in earned(picture):
        column = np.zeros((len(picture), 1))
        column[i] = alike * (MARGIN + (1 - MARGIN) * claims(picture)[i, j])
        more = np.concatenate([picture, column], axis=1)
        assert reward(more) <= reward(picture) + SMALL


@given(pictures(), st.integers(0, 1000))
@many
def test_a_bystander_changes_nothing(picture: np.ndarray, seed: int) -> None:
    column = np.random.default_rng(seed).uniform(-1, MARGIN, (len(picture), 1))
    more = np.concatenate([picture, column], axis=1)
    assert reward(more) == pytest.approx(reward(picture), abs=SMALL)


@given(pictures(min_n=2), st.booleans(), st.floats(0.05, 0.95))
@many
def test_blending_two_subjects_never_raises_it(
    picture: np.ndarray, both: bool, share: float
) -> None:
    """Two clean faces of two subjects, replaced by one or two that are a mix of both."""
    pairs = [
        (i, j)
        for i, j in earned(picture)
        if (np.delete(picture[:, j], i) <= MARGIN).all() and (claims(picture)[i] > 0).sum() == 1
    ]
    assume(len(pairs) >= 2)
    (_, a), (_, b) = pairs[:2]
    for mixed in (
        share * picture[:, a] + (1 - share) * picture[:, b],
        np.maximum(picture[:, a], picture[:, b]),
    ):
        blended = picture.copy()
        blended[:, a] = blended[:, b] = mixed
        result = blended if both else np.delete(blended, b, axis=1)
        assert reward(result) <= reward(picture) + SMALL


@given(st.floats(0.31, 1), st.floats(0.31, 1))
def test_one_face_for_two_references_never_pays(first: float, second: float) -> None:
    both = reward(np.array([[first], [second]]))
    alone = reward(np.array([[max(first, second)], [0.0]]))
    assert both <= alone + SMALL
    assert reward(np.array([[first], [first]])) == 0


@given(pictures(max_m=3, max_n=3), st.integers(2, 4))
@many
def test_its_size_does_not_depend_on_how_many_subjects(picture: np.ndarray, times: int) -> None:
    """The same situation several times over, each with subjects and faces of its own."""
    repeated = np.kron(np.eye(times), picture)
    assert reward(repeated) == pytest.approx(reward(picture), abs=SMALL)


@given(pictures(), st.integers(0, 10))
@many
def test_what_a_face_costs_never_exceeds_its_credit(picture: np.ndarray, column: int) -> None:
    """Making a face resemble others, however much, is never worse than leaving it out."""
    j = column % picture.shape[1]
    without = np.delete(picture, j, axis=1)
    if claims(picture)[:, j].max() == 0:
        assert reward(picture) == pytest.approx(reward(without), abs=SMALL)


@given(pictures())
@many
def test_every_matched_face_is_pulled_where_the_official_reward_pulls(picture: np.ndarray) -> None:
    ours = torch.tensor(picture, requires_grad=True)
    strict_matching_reward(ours).backward()
    theirs = torch.tensor(picture, requires_grad=True)
    matching_reward(theirs).backward()
    rows, columns = assign(claims(picture) + 1e-6 * picture)
    pull = ours.grad[rows, columns]
    assert (pull > 0).all()
    assert (theirs.grad != 0).all()
    assert torch.isfinite(ours.grad).all()


def test_blended_faces_are_pushed_off_the_other_subject() -> None:
    """Nothing is earned here, yet the gradient says which way is out."""
    picture = torch.tensor([[0.7, 0.68], [0.69, 0.7]], dtype=torch.float64, requires_grad=True)
    value = strict_matching_reward(picture)
    value.backward()
    assert value.item() < 0.03
    assert (picture.grad.diagonal() > 0).all()
    assert (picture.grad.fliplr().diagonal() < 0).all()


def test_a_duplicate_is_pushed_away() -> None:
    picture = torch.tensor([[0.9, 0.8]], dtype=torch.float64, requires_grad=True)
    strict_matching_reward(picture).backward()
    assert picture.grad[0, 0] > 0
    assert picture.grad[0, 1] < 0


@pytest.mark.parametrize("name", ["official", "strict"])
def test_gradient_is_the_finite_difference_where_no_limit_bites(name: str) -> None:
    base = [[0.9, 0.1, 0.45, 0.0], [0.05, 0.8, 0.0, 0.42], [0.4, 0.0, 0.1, 0.2]]
    picture = torch.tensor(base, dtype=torch.float64, requires_grad=True)
    function = matching_reward if name == "official" else strict_matching_reward
    if name == "strict":
        picture = picture[:2].detach().requires_grad_()
    function(picture).backward()
    for i in range(picture.shape[0]):
        for j in range(picture.shape[1]):
            step = torch.zeros_like(picture)
            step[i, j] = 1e-6
            slope = (function(picture + step) - function(picture - step)) / 2e-6
            assert picture.grad[i, j].item() == pytest.approx(slope.item(), abs=1e-6), (i, j)


def test_siblings_may_resemble_each_other_as_their_references_do() -> None:
    picture = np.array([[0.9, 0.6], [0.6, 0.9]])
    expected = np.array([[1.0, 0.6], [0.6, 1.0]])
    assert reward(picture) == pytest.approx((0.6 - 0.3) / 0.7)
    fair = float(strict_matching_reward(picture, reference_similarity=expected))
    assert fair == pytest.approx(0.6 / 0.7)

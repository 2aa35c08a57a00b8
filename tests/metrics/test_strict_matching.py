"""What the strict matching reward promises."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from personae.errors import DataError
from personae.metrics import matching_reward, strict_matching_reward
from tests.metrics.matrices import both_agree, matrices
from tests.reference import metric_loops as slow

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "metrics.json").read_text())
SOME = matrices(min_rows=1, min_columns=1)
TINY = 1e-9


def reward(similarity, references=None):
    return float(strict_matching_reward(similarity, reference_similarity=references))


def claimants(similarity, subject, references=None):
    """Columns that claim the subject, the one that counts first."""
    credit, claim = slow.claims(similarity, references=references)
    columns = [j for j in range(similarity.shape[1]) if claim[subject][j] > 0]
    return sorted(columns, key=lambda j: (-credit[subject][j], claim[subject][j]))


def siblings(count, seed):
    """A symmetric reference matrix with a diagonal of 1 and some likeness beside it."""
    half = np.triu(np.random.default_rng(seed).uniform(-0.2, 1, (count, count)), 1)
    return half + half.T + np.eye(count)


@st.composite
def scenes(draw):
    """A matrix, and (or None) how alike its references are."""
    similarity = draw(SOME)
    if draw(st.booleans()):
        return similarity, None
    return similarity, siblings(len(similarity), draw(st.integers(0, 100)))


@st.composite
def clear_scenes(draw):
    """The first two subjects are there, more or less, so that there is something to blend."""
    similarity = draw(matrices(min_rows=2, min_columns=2))
    similarity[[0, 1], [0, 1]] = draw(st.floats(0.5, 1)), draw(st.floats(0.5, 1))
    similarity[[1, 0], [0, 1]] = draw(st.floats(-0.2, 0.5)), draw(st.floats(-0.2, 0.5))
    similarity[:2, 2:] *= 0.4
    similarity[2:, :2] *= 0.5
    references = siblings(len(similarity), draw(st.integers(0, 100)))
    return similarity, references if draw(st.booleans()) else None


@pytest.mark.parametrize(
    "case", GOLDEN["strict_matching_reward"]["cases"], ids=lambda case: case["name"]
)
def test_golden_values(case):
    assert reward(np.array(case["similarity"])) == pytest.approx(case["value"])


@given(scenes())
def test_agrees_with_the_slow_one_and_lies_in_its_range(scene):
    similarity, references = scene
    value = reward(similarity, references)
    assert value == pytest.approx(
        slow.strict_matching_reward(similarity, references=references), abs=1e-9
    )
    assert 0 <= value <= 1


@given(scenes(), st.randoms())
def test_order_does_not_matter(scene, random):
    similarity, references = scene
    rows, columns = list(range(len(similarity))), list(range(similarity.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    mixed = None if references is None else references[rows][:, rows]
    assert reward(similarity[rows][:, columns], mixed) == pytest.approx(
        reward(similarity, references)
    )


@given(scenes(), st.data())
def test_removing_a_subject_never_raises_it(scene, data):
    similarity, references = scene
    subject = data.draw(st.integers(0, len(similarity) - 1))
    faces = claimants(similarity, subject, references)
    assume(len(faces) == 1)
    without = np.delete(similarity, faces[0], axis=1)
    assert reward(without, references) < reward(similarity, references) + TINY


@given(scenes(), st.data())
def test_a_duplicate_or_a_look_alike_never_raises_it(scene, data):
    similarity, references = scene
    subject = data.draw(st.integers(0, len(similarity) - 1))
    faces = claimants(similarity, subject, references)
    assume(faces)
    original = similarity[:, faces[0]]
    double = np.column_stack([similarity, original])
    assert reward(double, references) < reward(similarity, references) + TINY
    # As like this subject as its face, or less, and whatever it likes to the others who are there.
    alike = np.array([data.draw(st.floats(-1, 1)) for _ in original])
    alike[subject] = min(alike[subject], original[subject])
    for other in range(len(similarity)):
        there = claimants(similarity, other, references)
        limit = similarity[other, there[0]] if there else 0.3
        alike[other] = min(alike[other], limit)
    assert reward(np.column_stack([similarity, alike]), references) < (
        reward(similarity, references) + TINY
    )


@given(clear_scenes(), st.sampled_from([np.mean, np.max]))
def test_blending_two_subjects_never_raises_it(scene, blend):
    similarity, references = scene
    first, second = claimants(similarity, 0, references), claimants(similarity, 1, references)
    assume(len(first) == len(second) == 1)
    blended = similarity.copy()
    blended[:, [first[0], second[0]]] = blend(similarity[:, [first[0], second[0]]], 1)[:, None]
    assert reward(blended, references) < reward(similarity, references) + TINY


@given(scenes(), st.data())
def test_one_face_satisfying_two_references_never_raises_it(scene, data):
    similarity, references = scene
    assume(len(similarity) > 1)
    i, k = data.draw(st.permutations(range(len(similarity))))[:2]
    faces = claimants(similarity, i, references)
    assume(len(faces) == 1)
    both = similarity.copy()
    both[k, faces[0]] = max(both[k, faces[0]], both[i, faces[0]])
    assert reward(both, references) < reward(similarity, references) + TINY
    # Nor does one face for two people ever reach what one face for one of them does.
    alone = similarity[:, [faces[0]]]
    assert reward(both[:, [faces[0]]], references) < reward(alone, references) + TINY


@given(scenes(), st.lists(st.floats(-1, 0.3), min_size=4, max_size=4))
def test_an_unrelated_bystander_changes_nothing(scene, values):
    similarity, references = scene
    with_bystander = np.column_stack([similarity, values[: len(similarity)]])
    assert reward(with_bystander, references) == pytest.approx(
        reward(similarity, references), abs=TINY
    )


@given(SOME, st.integers(2, 4))
def test_its_size_does_not_depend_on_the_number_of_subjects(similarity, times):
    many = np.kron(np.eye(times), similarity)
    assert reward(many) == pytest.approx(reward(similarity), abs=TINY)


@given(SOME, st.data())
def test_what_a_face_costs_never_exceeds_its_credit(similarity, data):
    """A subject gets at least 0, so making its only face resemble others never costs more."""
    subject = data.draw(st.integers(0, len(similarity) - 1))
    faces = claimants(similarity, subject)
    assume(len(faces) == 1)
    credit = slow.claims(similarity)[0][subject][faces[0]]
    worse = similarity.copy()
    worse[:, faces[0]] = np.maximum(worse[:, faces[0]], worse[subject, faces[0]])
    assert reward(similarity) - reward(worse) <= credit / len(similarity) + TINY


def test_siblings_cost_only_what_goes_beyond_their_own_likeness():
    references = np.array([[1.0, 0.65], [0.65, 1.0]])
    perfect = references.copy()
    assert reward(perfect) == pytest.approx(0.5)
    assert reward(perfect, references) == pytest.approx(1.0)
    # More like the other than their own photos are: that is blending.
    assert reward(np.array([[1.0, 0.65], [0.825, 1.0]]), references) == pytest.approx(0.875)
    with pytest.raises(DataError, match="a row and a column"):
        strict_matching_reward(perfect, reference_similarity=np.eye(3))


def test_it_is_continuous_where_a_face_turns_from_one_subject_into_another():
    turns = np.linspace(0.3, 1, 141)
    values = [reward(np.array([[0.9, turn], [0.0, 1.3 - turn]])) for turn in turns]
    # Up to where the turned face resembles the first subject more than that subject's own face.
    assert np.abs(np.diff(values))[turns[1:] < 0.9].max() < 0.02


@given(SOME)
def test_matched_terms_have_a_gradient_where_the_official_reward_has_one(similarity):
    official = torch.tensor(similarity, requires_grad=True)
    matching_reward(official, negative=0.0).backward()
    strict = torch.tensor(similarity, requires_grad=True)
    strict_matching_reward(strict).backward()
    matched = official.grad > 0
    assert matched.sum() == min(similarity.shape)
    assert (strict.grad[matched] > 0.99 / len(similarity)).all()


def test_a_blended_a_weak_and_a_doubled_face_are_still_pulled():
    def pull(rows):
        similarity = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
        assert strict_matching_reward(similarity).item() == pytest.approx(0.0, abs=1e-12)
        strict_matching_reward(similarity).backward()
        return similarity.grad

    blended = pull([[0.8, 0.8], [0.8, 0.8]])
    assert (blended.diagonal() > 0).all()
    assert (blended.fliplr().diagonal() < 0).all()
    assert pull([[0.1]])[0, 0] > 0
    doubled = pull([[0.8, 0.8]])
    assert sorted(doubled[0].sign().tolist()) == [-1, 1]


def finite_difference(similarity, references, step=1e-6):
    slope = np.zeros_like(similarity)
    for place in np.ndindex(similarity.shape):
        moved = [similarity.copy(), similarity.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        slope[place] = (reward(moved[0], references) - reward(moved[1], references)) / (2 * step)
    return slope


@given(st.integers(1, 4), st.integers(0, 10_000), st.booleans())
@settings(deadline=None, max_examples=40)
def test_where_nothing_is_clipped_the_gradient_is_the_finite_difference(count, seed, related):
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(0.0, 0.4, (count, count + 2))
    similarity[np.arange(count), np.arange(count)] = rng.uniform(0.85, 0.99, count)
    references = np.full((count, count), 0.35) if related else None
    assume((np.abs(similarity - 0.3) > 1e-3).all())
    tensor = torch.tensor(similarity, requires_grad=True)
    strict_matching_reward(tensor, reference_similarity=as_given(references)).backward()
    credit, claim = slow.claims(similarity, references=references)
    others = np.array(claim)[:, count:]
    assume(not ((others > 0) & (others < 1e-3)).any())  # not at a kink
    slack = np.array(claim).diagonal() - others.sum(1)
    assume((slack > 1e-3).all())
    kinks = np.abs(np.diff(np.sort(np.array(credit), 0), axis=0))[..., count:]
    assume(kinks.size == 0 or (kinks[kinks > 0] > 1e-3).all())
    assume((np.abs(similarity - 0.35) > 1e-3).all())
    np.testing.assert_allclose(
        tensor.grad.numpy(), finite_difference(similarity, references), atol=1e-4
    )


def as_given(references):
    return None if references is None else torch.tensor(references)


def test_batches_arrays_and_tensors_agree():
    rng = np.random.default_rng(3)
    batch, references = rng.uniform(-0.2, 1, (9, 3, 5)), siblings(3, 1)
    together = both_agree(strict_matching_reward, batch)
    np.testing.assert_allclose(together, [reward(item) for item in batch], atol=1e-12)
    related = strict_matching_reward(batch, reference_similarity=references)
    np.testing.assert_allclose(related, [reward(item, references) for item in batch], atol=1e-12)
    alone = torch.tensor(batch[0], requires_grad=True)
    many = torch.tensor(batch, requires_grad=True)
    strict_matching_reward(alone).backward()
    strict_matching_reward(many).sum().backward()
    np.testing.assert_allclose(many.grad[0].numpy(), alone.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3, 0)])
def test_nobody_gives_the_floor(shape):
    value = strict_matching_reward(np.zeros(shape))
    assert np.shape(value) == shape[:-2]
    assert np.all(value == 0)


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="margin"):
        strict_matching_reward(np.eye(2), margin=1.0)
    with pytest.raises(DataError, match="NaN or infinity"):
        strict_matching_reward(np.array([[np.inf]]))

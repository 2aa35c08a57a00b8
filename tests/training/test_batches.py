"""Batches: a pure function of seed and number; one shape each; dropouts at their share."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.data.latents import Bucket, LatentStore
from personae.training.batches import BatchPlan, collate, draws_for

LENGTHS = {"a": 10, "b": 7, "c": 2, "none": 0}


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(0, 3))
def test_a_batch_does_not_depend_on_what_was_asked_before(asked: list[int], seed: int) -> None:
    walked = BatchPlan(LENGTHS, 4, seed)
    for number in asked:
        name, rows = walked[number]
        fresh_name, fresh_rows = BatchPlan(LENGTHS, 4, seed)[number]
        assert name == fresh_name
        assert np.array_equal(rows, fresh_rows)


def test_an_epoch_holds_every_bucket_and_no_row_twice() -> None:
    plan = BatchPlan(LENGTHS, 4, 0)
    assert len(plan) == 2 + 1 + 1  # 10 // 4, 7 // 4, and a short one of 2
    for epoch in range(3):
        batches = [plan[epoch * len(plan) + number] for number in range(len(plan))]
        assert Counter(name for name, _ in batches) == {"a": 2, "b": 1, "c": 1}
        assert sorted(len(rows) for _, rows in batches) == [2, 4, 4, 4]
        for name in ("a", "b", "c"):
            rows = np.concatenate([part for other, part in batches if other == name])
            assert len(set(rows.tolist())) == len(rows)
            assert rows.max() < LENGTHS[name]


def test_epochs_and_seeds_differ_and_all_rows_come() -> None:
    plan = BatchPlan({"a": 10}, 4, 0)
    seen = Counter(row for number in range(100) for row in plan[number][1].tolist())
    assert set(seen) == set(range(10))
    assert not np.array_equal(plan[0][1], plan[len(plan)][1])
    assert any(not np.array_equal(plan[k][1], BatchPlan({"a": 10}, 4, 1)[k][1]) for k in range(4))


def test_draws_are_a_function_of_seed_and_number() -> None:
    def drawn(seed: int, number: int) -> list[torch.Tensor]:
        draws = draws_for(seed, number, (4, 2, 3, 3), caption_dropout=0.5, reference_dropout=0.5)
        return [draws.normal, draws.noise, draws.drop_caption]

    for first, second in zip(drawn(1, 2), drawn(1, 2), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(drawn(1, 2)[1], drawn(1, 3)[1])
    assert not torch.equal(drawn(1, 2)[1], drawn(2, 2)[1])
    state = torch.get_rng_state()
    drawn(5, 5)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_dropouts_come_at_their_share(share: float) -> None:
    draws = [
        draws_for(0, number, (32, 1, 1, 1), caption_dropout=share, reference_dropout=share)
        for number in range(300)
    ]
    captions = torch.cat([item.drop_caption for item in draws]).float().mean()
    references = np.mean([item.drop_references for item in draws])
    assert float(captions) == pytest.approx(share, abs=0.02)
    assert float(references) == pytest.approx(share, abs=0.06)


def store() -> LatentStore:
    image = torch.arange(5.0).half().view(5, 1, 1, 1).expand(5, 2, 2, 2).contiguous()
    tokens = torch.arange(5, dtype=torch.int32)[:, None].expand(5, 3).contiguous() + 10
    bucket = Bucket(
        ("e0", "e1", "e2", "e3", "e4"),
        (0, 1, 2, 3, 4),
        image,
        (100 + image, 200 + image),
        tokens,
        torch.ones(5, 3, dtype=torch.bool),
    )
    empty = torch.tensor([7, 0, 0], dtype=torch.int32)
    return LatentStore({"x": bucket}, empty, empty > 0)


def test_collate_takes_the_rows_and_drops_captions() -> None:
    from dataclasses import replace

    draws = draws_for(0, 0, (3, 2, 2, 2), caption_dropout=0, reference_dropout=0)
    draws = replace(draws, drop_caption=torch.tensor([False, True, False]))
    batch = collate(store(), "x", np.array([4, 1, 2]), draws, torch.device("cpu"))
    assert batch.ids == ("e4", "e1", "e2")
    assert batch.image[:, 0, 0, 0].tolist() == [4.0, 1.0, 2.0]
    assert [item[:, 0, 0, 0].tolist() for item in batch.references] == [
        [104.0, 101.0, 102.0],
        [204.0, 201.0, 202.0],
    ]
    assert batch.tokens.tolist() == [[14] * 3, [7, 0, 0], [12] * 3]
    assert batch.mask.tolist() == [[1] * 3, [1, 0, 0], [1] * 3]
    dropped = collate(
        store(), "x", np.array([0, 1, 2]), replace(draws, drop_references=True), torch.device("cpu")
    )
    assert dropped.references == ()

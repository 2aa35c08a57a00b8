"""The metric against a plain mean, in one process and in two."""

from __future__ import annotations

import math
import multiprocessing
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import RequestError
from personae.training.rewards.asked import Rewards
from personae.training.rewards.torchmetric import RewardMean
from tests.training.rewards.fakes import Brightness, ask_for

Batch = list[float | None]
BATCHES = st.lists(st.lists(st.none() | st.floats(-5, 5, width=32), max_size=5), max_size=5)


def rewards(batch: Batch) -> Rewards:
    numbers = [
        "not seen" if value is None else torch.tensor(value, dtype=torch.float32) for value in batch
    ]
    return Rewards.of(numbers, torch.device("cpu"))


def numbers(metric: RewardMean) -> dict[str, float]:
    return {name: value.item() for name, value in metric.compute().items()}


@given(BATCHES)
def test_the_mean_is_the_plain_mean(batches: list[Batch]) -> None:
    metric = RewardMean()
    metric.update(rewards([]))
    for batch in batches:
        metric.update(rewards(batch))
    values = [value for batch in batches for value in batch if value is not None]
    told = numbers(metric)
    assert told["measured"] == len(values)
    assert told["unmeasured"] == sum(map(len, batches)) - len(values)
    if values:
        assert told["mean"] == pytest.approx(sum(values) / len(values), abs=1e-9)
    else:
        assert math.isnan(told["mean"])


def test_it_asks_its_reward_and_forgets_on_reset() -> None:
    metric = RewardMean(Brightness())
    pictures = torch.stack([torch.full((3, 8, 8), value) for value in (0.0, 0.25, 0.75)])
    batch = metric(pictures, [ask_for("a")] * 3)
    assert {name: value.item() for name, value in batch.items()} == {
        "mean": 0.5,
        "measured": 2,
        "unmeasured": 1,
    }
    metric.update(pictures[:2], [ask_for("a")] * 2)
    assert numbers(metric) == {
        "mean": pytest.approx((0.25 + 0.75 + 0.25) / 3),
        "measured": 3,
        "unmeasured": 2,
    }
    metric.reset()
    metric.update(rewards([1.0]))
    assert numbers(metric)["measured"] == 1


def test_nan_is_no_number_and_no_gradient_is_kept() -> None:
    metric = RewardMean()
    values = torch.tensor([math.nan, 2.0], requires_grad=True)
    metric.update(Rewards(values, (None, None)))
    assert numbers(metric) == {"mean": 2.0, "measured": 1, "unmeasured": 1}
    assert not metric.total.requires_grad


def test_pictures_without_a_reward() -> None:
    with pytest.raises(RequestError, match="no reward to ask"):
        RewardMean().update(torch.zeros(1, 3, 8, 8), [ask_for("a")])


@given(BATCHES, BATCHES)
def test_sums_of_two_processes_are_added(mine: list[Batch], others: list[Batch]) -> None:
    other = RewardMean()
    other.update(rewards([]))
    for batch in others:
        other.update(rewards(batch))
    states = iter([other.total, other.measured, other.unmeasured])
    pair = RewardMean(
        dist_sync_fn=lambda state, group: [state, next(states)],
        distributed_available_fn=lambda: True,
    )
    alone = RewardMean()
    alone.update(rewards([]))
    pair.update(rewards([]))
    for batch in mine:
        pair.update(rewards(batch))
    for batch in [*mine, *others]:
        alone.update(rewards(batch))
    assert numbers(pair) == pytest.approx(numbers(alone), nan_ok=True)


def share(rank: int, store: Path, batches: list[Batch]) -> None:
    """One of two processes: its own batches in, everybody's mean out."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}/store", rank=rank, world_size=2
    )
    metric = RewardMean()
    for batch in batches:
        metric.update(rewards(batch))
    told = numbers(metric)
    (store / str(rank)).write_text(f"{told['mean']} {told['measured']} {told['unmeasured']}")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs processes that fork"
)
def test_two_real_processes_agree_on_the_mean_of_all(tmp_path: Path) -> None:
    shares: list[list[Batch]] = [[[1.0, None], [2.0]], [[6.0]]]
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=share, args=(rank, tmp_path, batches))
        for rank, batches in enumerate(shares)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == ["3.0 3 1"] * 2

"""Ray answers as this process does; what cannot be is told before Ray is started."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from personae.compute.ray_workers import RayData
from personae.data.pipeline.runner import run_pipeline
from personae.errors import RequestError, WeightsError, WorkError
from tests.data.pipeline.test_runner import Halved, Painted, lines, source

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None, reason="Ray is not installed (pip install personae[ray])"
)


@dataclass(frozen=True)
class Deadly(Painted):
    """Takes its process with it, at the third shard."""

    def work(self, state, items, files):
        if items[0].id == "i12":
            os._exit(9)
        return super().work(state, items, files)


def no_weights() -> None:
    raise WeightsError("eyes.safetensors: no such file")


def same(state: None, item: int) -> int:
    return item


@pytest.fixture
def ray_stops():
    """Ray in this machine, stopped at the end whatever happened."""
    yield
    import ray

    ray.shutdown()


@needs_ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's, about Ray
@pytest.mark.usefixtures("ray_stops")
def test_ray_makes_the_same_files_and_goes_on_after_a_worker_died(tmp_path: Path) -> None:
    """One test, for a local cluster takes seconds to start."""
    crew, steps = RayData(2), [Painted(fail=7), Halved()]
    with pytest.raises(WorkError, match=r"a worker of Ray died .* run the same command again"):
        run_pipeline(source(), [Deadly(fail=7), *steps[1:]], tmp_path / "ray",
                     shard_items=5, workers=crew)  # fmt: skip
    assert (tmp_path / "ray/01-painted/shard-000000/done.json").is_file(), "what was done is kept"
    told = []
    account = run_pipeline(
        source(), steps, tmp_path / "ray", shard_items=5, workers=crew,
        progress=lambda *now: told.append(now),
    )  # fmt: skip
    assert 1 <= account.steps[0].num_made < 4
    assert [now[1:] for now in told if now[0] == "halved"] == [(k, 4) for k in (1, 2, 3, 4)]
    alone = run_pipeline(source(), steps, tmp_path / "one", shard_items=5)
    assert lines(tmp_path / "ray") == lines(tmp_path / "one")
    assert [item.id for item in account.items()] == [item.id for item in alone.items()]
    assert [step.failed for step in account.steps] == [step.failed for step in alone.steps]
    with pytest.raises(WeightsError, match="no such file"):
        list(RayData(1).map(no_weights, same, range(3)))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RequestError, match=r"pip install personae\[ray\]"):
        list(RayData(2).map(int, same, [1]))
    assert list(RayData(2).map(int, same, [])) == [], "nothing to do needs no cluster"


def test_requests_that_cannot_be() -> None:
    with pytest.raises(RequestError, match="0 or more; got -1"):
        RayData(-1)

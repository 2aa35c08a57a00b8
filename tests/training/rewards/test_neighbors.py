"""Our rewards in other trainers' forms, against small fakes of what those trainers do with them.

The fakes were written after the sources that `personae.training.rewards.neighbors` names; neither
trainer is installed here.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from personae.errors import DataError, RequestError
from personae.training.rewards.neighbors import flow_factory_reward, verl_score, verl_score_async
from tests.training.rewards.fakes import Brightness, encoded, grey

CPU = torch.device("cpu")


class Listening(Brightness):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def __call__(self, pictures: torch.Tensor, asked: Any) -> Any:
        self.asked += asked
        return super().__call__(pictures, asked)


class PointwiseRewardModel:
    """Flow-Factory's base class: keeps config and accelerator, and chooses the device."""

    required_fields = ("image", "prompt")
    use_tensor_inputs = False

    def __init__(self, config: Any, accelerator: Any) -> None:
        self.accelerator, self.config = accelerator, config
        self.device = accelerator.device if config.device == torch.device("cuda") else config.device


@dataclass
class RewardModelOutput:
    """Flow-Factory's answer."""

    rewards: Any
    extra_info: dict[str, Any] | None = None


def process(model: Any, samples: list[dict[str, Any]]) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Flow-Factory's reward processor, for one batch.

    Fields by the signature of ``__call__``, those that a sample lacks left out; no reward may be
    NaN or infinite; lists of the batch's length go to the samples.
    """
    assert isinstance(model, PointwiseRewardModel)
    names = inspect.signature(model.__call__).parameters
    fields = [name for name in samples[0] if name in names]
    batch = {
        name: [sample[name] for sample in samples]
        for name in fields
        if all(sample[name] is not None for sample in samples)
    }
    output = model(**batch)
    scores = torch.as_tensor(output.rewards, dtype=torch.float32).detach().reshape(-1)
    assert len(scores) == len(samples)
    if not torch.isfinite(scores).all():
        raise RuntimeError("produced NaN/Inf")
    rows: list[dict[str, Any]] = [{} for _ in samples]
    for name, values in output.extra_info.items():
        if len(values) == len(samples):
            for row, value in zip(rows, values, strict=True):
                row[name] = value
    return scores, rows


@pytest.fixture
def flow_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    package, rewards = ModuleType("flow_factory"), ModuleType("flow_factory.rewards")
    rewards.PointwiseRewardModel = PointwiseRewardModel  # type: ignore[attr-defined]
    rewards.RewardModelOutput = RewardModelOutput  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flow_factory", package)
    monkeypatch.setitem(sys.modules, "flow_factory.rewards", rewards)


def sample(brightness: int, num_references: int = 2, **metadata: Any) -> dict[str, Any]:
    return {
        "prompt": "two of them",
        "image": Image.fromarray(grey(brightness)),
        "condition_images": [Image.fromarray(grey(10 + i)) for i in range(num_references)],
        "video": None,
        "latents": torch.zeros(3),
        "metadata": json.dumps(metadata) if metadata else None,
    }


def make_model(reward: Brightness, unmeasured: float | None = None) -> Any:
    made = flow_factory_reward(lambda device: reward, unmeasured=unmeasured)
    config = SimpleNamespace(device=CPU, dtype=torch.float32, batch_size=4)
    return made(config, SimpleNamespace(device=CPU))


@pytest.mark.usefixtures("flow_factory")
def test_flow_factory_scores_a_batch() -> None:
    reward = Listening()
    about = {
        "subjects": ["ada", "ben", "ada"],
        "nouns": {"ada": "woman"},
        "kinds": {"ben": "animal"},
    }
    about["relation"] = ["ada", "left of", "ben"]
    samples = [sample(51, 3, **about), sample(102, 3, subjects=["a", "b", "c"], license="none")]
    scores, rows = process(make_model(reward), samples)
    assert scores.tolist() == pytest.approx([0.2, 0.4])
    assert [row["personae_measured"] for row in rows] == [1.0, 1.0]
    assert [row["personae_subjects"] for row in rows] == [2.0, 3.0]
    first = reward.asked[0]
    assert {name: len(held) for name, held in first.subjects.items()} == {"ada": 2, "ben": 1}
    assert first.prompt == "two of them"
    assert first.noun("ada") == "woman"
    assert list(first.of_kind("animal")) == ["ben"]
    assert first.relation.words == "left of"


@pytest.mark.usefixtures("flow_factory")
def test_flow_factory_without_metadata_counts_each_image_as_a_subject() -> None:
    reward = Listening()
    process(make_model(reward), [sample(51), sample(102, 1)])
    assert [list(item.subjects) for item in reward.asked] == [["1", "2"], ["1"]]


@pytest.mark.usefixtures("flow_factory")
def test_flow_factory_never_makes_a_number_up() -> None:
    samples = [sample(51), sample(0)]
    with pytest.raises(DataError, match="too dark"):
        process(make_model(Brightness()), samples)
    scores, rows = process(make_model(Brightness(), unmeasured=-1.0), samples)
    assert scores.tolist() == pytest.approx([0.2, -1.0])
    assert rows[1]["personae_measured"] == 0.0
    assert rows[1]["personae_reason"] == "too dark"


@pytest.mark.usefixtures("flow_factory")
def test_flow_factory_with_the_wrong_data() -> None:
    model = make_model(Brightness())
    with pytest.raises(DataError, match="expected image and condition_images"):
        process(model, [{**sample(51), "condition_images": None}])
    with pytest.raises(DataError, match="2 condition images, but subjects names 1"):
        process(model, [sample(51, 2, subjects=["ada"])])
    with pytest.raises(DataError, match="metadata is no JSON"):
        process(model, [{**sample(51), "metadata": "{"}])


def test_flow_factory_is_imported_only_when_asked_for() -> None:
    assert "flow_factory" not in sys.modules
    with pytest.raises(ImportError):
        flow_factory_reward(lambda device: Brightness())


async def run_single(compute_score: Any, picture: torch.Tensor, extra: dict[str, Any]) -> Any:
    """VeRL-Omni's visual reward manager, for one sample."""
    sample = {
        "data_source": "toons",
        "solution_image": picture,
        "ground_truth": "two of them",
        "extra_info": {**extra, "num_turns": None, "rollout_reward_scores": {}},
    }
    if inspect.iscoroutinefunction(compute_score):
        return await compute_score(**sample)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: compute_score(**sample))


def verl_loop(raw: Callable[..., Any], pictures: list[torch.Tensor], extra: Any) -> dict[str, Any]:
    """verl's reward loop: the function wrapped once, the samples all at once, entries by name."""

    async def gather() -> list[dict[str, Any]]:
        if inspect.iscoroutinefunction(raw):

            async def with_kwargs(fn: Any, more: Any, **sample: Any) -> Any:
                return await fn(**{**sample, **more})

            wrapped: Any = partial(with_kwargs, raw, {"model_name": "none"})
        else:
            wrapped = partial(lambda fn, more, **sample: fn(**{**sample, **more}), raw, {"k": 1})
        return await asyncio.gather(*[run_single(wrapped, one, extra) for one in pictures])

    results = asyncio.run(gather())
    scores = torch.tensor([result["score"] for result in results], dtype=torch.float32)
    return {"scores": scores, **{key: np.array([r[key] for r in results]) for key in results[0]}}


def references(**more: Any) -> dict[str, Any]:
    held = [
        {"subject": "ada", "bytes": encoded(grey(10)), "path": None, "noun": "woman", "kind": None},
        {"subject": "ada", "image": grey(11)},
        {"subject": "ben", "image": Image.fromarray(grey(12)), "kind": "animal"},
    ]
    return {"references": np.array(held, dtype=object), **more}


@pytest.mark.parametrize("form", [verl_score, verl_score_async])
def test_verl_scores_samples_side_by_side(form: Any) -> None:
    busy, built = threading.Lock(), []

    class Alone(Listening):
        def __call__(self, pictures: torch.Tensor, asked: Any) -> Any:
            assert busy.acquire(blocking=False), "two threads at once"
            try:
                return super().__call__(pictures, asked)
            finally:
                busy.release()

    def make(device: torch.device) -> Alone:
        built.append(Alone())
        return built[-1]

    score = form(make, device="cpu", unmeasured=0.0, parts=["subjects", "unheard"])
    assert not built
    pictures = [torch.full((3, 16, 16), place, dtype=torch.uint8) for place in range(20)]
    told = verl_loop(score, pictures, references(relation=["ada", "left of", "ben"]))
    assert told["scores"].tolist() == pytest.approx([place / 255 for place in range(20)])
    assert told["personae_measured"].tolist() == [0.0] + [1.0] * 19
    assert told["personae_reason"].tolist() == ["too dark"] + [""] * 19
    assert told["personae_subjects"].tolist()[1:] == [2.0] * 19
    assert all(map(math.isnan, told["personae_unheard"]))
    (reward,) = built
    asked = reward.asked[0]
    assert {name: len(held) for name, held in asked.subjects.items()} == {"ada": 2, "ben": 1}
    assert (asked.prompt, asked.noun("ada"), asked.kinds) == (
        "two of them",
        "woman",
        {"ben": "animal"},
    )
    assert asked.relation.first == "ada"


def test_verl_takes_floats_and_a_batch_of_one_and_reads_paths(tmp_path: Path) -> None:
    (tmp_path / "ada.png").write_bytes(encoded(grey(40)))
    extra = {"references": [{"subject": "ada", "path": str(tmp_path / "ada.png")}]}
    score = verl_score(lambda device: Brightness(), device="cpu", parts=["photo"])
    for picture in (torch.full((3, 16, 16), 0.25), torch.full((1, 3, 16, 16), 0.25)):
        told = score(data_source="x", solution_image=picture, ground_truth="", extra_info=extra)
        assert told["score"] == pytest.approx(0.25)
        assert told["personae_photo"] == 40


def test_verl_with_the_wrong_data() -> None:
    score = verl_score(lambda device: Brightness(), device="cpu")
    picture = torch.full((3, 16, 16), 0.25)
    with pytest.raises(DataError, match="too dark"):
        score(solution_image=torch.zeros(3, 16, 16), extra_info=references())
    with pytest.raises(RequestError, match="expected solution_image, a picture; got text"):
        score(solution_str="a picture of two", extra_info=references())
    with pytest.raises(DataError, match="tensor"):
        score(solution_image=torch.zeros(5, 3, 16, 16), extra_info=references())
    with pytest.raises(DataError, match="extra_info with"):
        score(solution_image=picture, extra_info={"index": 3})
    with pytest.raises(DataError, match="expected bytes, path or image"):
        score(solution_image=picture, extra_info={"references": [{"subject": "ada"}]})
    with pytest.raises(DataError, match="expected a subject"):
        score(solution_image=picture, extra_info={"references": [{"image": grey(1)}]})
    with pytest.raises(DataError, match="FIRST, WORDS and SECOND"):
        score(solution_image=picture, extra_info=references(relation=["ada"]))

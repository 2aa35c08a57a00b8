"""Rewards by models that read the prompt: gradients, reasons, and packages that are not there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from personae.errors import RequestError, WeightsError
from personae.subjects.box import Box
from personae.subjects.scene import Claim, Relation
from personae.training.rewards.asked import Asked
from personae.training.rewards.preference import (
    MODELS,
    JudgeReward,
    ModelReward,
    claims_of,
    make_model_reward,
)
from personae.training.rewards.recipe import REWARDS
from personae.training.rewards.sight import Seen
from personae.vision.preference import ClipScorer, clip_pixels
from personae.vision.protocols import Answer, Detection
from tests.training.rewards.fakes import ask_for
from tests.vision.tiny_clip import save_tiny_clip

CPU = torch.device("cpu")


def prompted(prompt: str) -> Asked:
    return Asked(ask_for("ann").subjects, prompt=prompt)


def pictures(count: int = 2, height: int = 40, width: int = 56) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.mark.parametrize("name", ["alignment", "pickscore"])
def test_clip_is_a_scaled_cosine_whose_gradient_reaches_the_pixels(clip: Path, name: str) -> None:
    reward = make_model_reward(name, str(clip), CPU)
    assert reward.differentiable and reward.name == name
    shown = pictures(2, 40, 40).requires_grad_()
    told = reward(shown, [prompted("girl in a park"), prompted("a cat wearing a scarf")])
    assert told.reasons == (None, None)
    scale = reward.model._network.logit_scale.exp() if name == "pickscore" else 1.0
    assert (told.values.abs() <= scale).all() and told.values[0] != told.values[1]
    told.values.sum().backward()
    assert shown.grad is not None
    assert (shown.grad.abs().sum(1) > 0).double().mean() > 0.95


def test_clip_agrees_with_the_library_one_by_one(clip: Path) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    shown, prompts = pictures(3), ["girl", "man in a park", "cat left of man"]
    scored = ClipScorer(clip).score(shown, prompts)
    network = CLIPModel.from_pretrained(clip).eval()
    tokenizer = CLIPTokenizer.from_pretrained(clip)
    for place, prompt in enumerate(prompts):
        tokens = tokenizer([prompt], return_tensors="pt")
        said = network(pixel_values=clip_pixels(shown[place : place + 1], 28), **tokens)
        expected = said.logits_per_image[0, 0] / network.logit_scale.exp()
        assert torch.allclose(scored[place], expected, atol=1e-6)


def test_pixels_are_those_of_pillow() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    middle = Image.fromarray(image).resize((42, 28), Image.Resampling.BICUBIC)
    expected = np.asarray(middle)[:, 7:35] / 255
    ours = clip_pixels(torch.from_numpy(image).permute(2, 0, 1)[None] / 255, 28)[0]
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073))[:, None, None]
    spread = torch.tensor((0.26862954, 0.26130258, 0.27577711))[:, None, None]
    shown = (ours * spread + mean).permute(1, 2, 0).numpy()
    assert np.abs(shown - expected).max() < 1.5 / 255


def test_a_long_prompt_is_cut_and_an_empty_one_has_no_number(clip: Path) -> None:
    reward = make_model_reward("alignment", str(clip), CPU)
    told = reward(pictures(3), [prompted("a man " * 99), prompted(" "), prompted("cat")])
    assert told.reasons == (None, "the prompt is empty", None)
    assert told.values[1] == 0 and told.measured.tolist() == [True, False, True]
    assert make_model_reward("alignment", str(clip), CPU)(pictures(1), [prompted("")]).mean is None


class Fussy:
    """Breaks on red, says NaN of blue."""

    name = "fussy"
    differentiable = True

    def score(self, shown: torch.Tensor, prompts: Any) -> torch.Tensor:
        if any(prompt == "memory" for prompt in prompts):
            raise torch.OutOfMemoryError("full")
        if any(prompt == "red" for prompt in prompts):
            raise ValueError("red is not for me\nat all")
        means = shown.mean((1, 2, 3))
        return torch.stack(
            [
                mean * float("nan") if prompt == "blue" else mean
                for mean, prompt in zip(means, prompts, strict=True)
            ]
        )


def test_one_picture_that_fails_takes_no_other_with_it() -> None:
    shown = pictures(3).requires_grad_()
    asked = [prompted("red"), prompted("green"), prompted("blue")]
    told = ModelReward("fussy", Fussy())(shown, asked)
    assert told.reasons == (
        "fussy failed (ValueError: red is not for me)",
        None,
        "fussy said nan",
    )
    told.values.sum().backward()
    assert shown.grad is not None and torch.isfinite(shown.grad).all()
    assert (shown.grad[1] != 0).all() and not shown.grad[[0, 2]].any()
    with pytest.raises(torch.OutOfMemoryError):
        ModelReward("fussy", Fussy())(pictures(1), [prompted("memory")])


class FakeImageReward(torch.nn.Module):
    """The face of the package's model."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))
        self.blip = SimpleNamespace(tokenizer=self._tokenize)
        self.sides: list[tuple[int, ...]] = []

    def _tokenize(self, prompts: list[str], **options: Any) -> Any:
        assert options["max_length"] == 35 and options["padding"] == "max_length"
        ids = torch.tensor([[len(prompt)] * 35 for prompt in prompts])
        held = SimpleNamespace(input_ids=ids, attention_mask=torch.ones_like(ids))
        held.to = lambda device: held
        return held

    def score_gard(self, ids: Any, mask: Any, pixels: torch.Tensor) -> torch.Tensor:
        self.sides.append(tuple(pixels.shape))
        return self.weight * pixels.mean((1, 2, 3))[:, None] + ids[:, :1]


def test_imagereward_is_asked_with_a_gradient(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made, network = [], FakeImageReward()

    def load(**options: Any) -> FakeImageReward:
        made.append(options)
        return network

    monkeypatch.setitem(sys.modules, "ImageReward", SimpleNamespace(load=load))
    shown = pictures(2).requires_grad_()
    reward = make_model_reward("imagereward", None, CPU)
    told = reward(shown, [prompted("cat"), prompted("a cat")])
    assert reward.differentiable and network.sides == [(2, 3, 224, 224)]
    told.values.sum().backward()
    assert shown.grad is not None and shown.grad.any() and network.weight.grad is None
    (tmp_path / "ImageReward.pt").touch()
    (tmp_path / "med_config.json").touch()
    make_model_reward("imagereward", str(tmp_path), CPU)
    assert made[0] == {"name": "ImageReward-v1.0", "device": CPU}
    assert made[1]["name"].endswith("ImageReward.pt") and "med_config" in made[1]


def test_hpsv3_says_the_mean_and_has_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inferencer:
        def __init__(self, checkpoint_path: str | None, device: str) -> None:
            self.made = (checkpoint_path, device)

        def reward(self, image_paths: list[Image.Image], prompts: list[str]) -> torch.Tensor:
            assert [one.size for one in image_paths] == [(56, 40)] * 2
            return torch.tensor([[7.0 + len(prompt), 0.5] for prompt in prompts])

    package = SimpleNamespace(HPSv3RewardInferencer=Inferencer)
    monkeypatch.setitem(sys.modules, "hpsv3", package)
    reward = make_model_reward("hpsv3", None, CPU)
    told = reward(pictures(2).requires_grad_(), [prompted("cat"), prompted("a cat")])
    assert told.values.tolist() == [10.0, 12.0] and not reward.differentiable


@pytest.mark.parametrize(("name", "package"), [("imagereward", "image-reward"), ("hpsv3", "hpsv3")])
def test_what_is_not_installed_is_named(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    module = {"image-reward": "ImageReward"}.get(package, package)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(WeightsError, match=f"pip install {package}"):
        make_model_reward(name, None, CPU)
    failing = SimpleNamespace(load=_offline, HPSv3RewardInferencer=_offline)
    monkeypatch.setitem(sys.modules, module, failing)
    with pytest.raises(WeightsError, match=r"no network.*rewards\.models"):
        make_model_reward(name, None, CPU)
    with pytest.raises(WeightsError, match=f"no such file; expected the weights of {name}"):
        make_model_reward(name, str(tmp_path), CPU)


def _offline(**options: Any) -> None:
    raise OSError("no network")


def test_a_model_that_is_not_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no CLIPModel could be loaded.*model\.safetensors"):
        make_model_reward("pickscore", str(tmp_path), CPU)
    with pytest.raises(RequestError, match="expected one of"):
        make_model_reward("beauty", None, CPU)
    assert set(MODELS) <= set(REWARDS)


class Says:
    """A judge of one answer."""

    def __init__(self, answer: Answer) -> None:
        self.said = answer

    def answer(self, image: np.ndarray, claims: Any, where: Any) -> list[Answer]:
        if self.said.seen == "broken":
            raise RuntimeError("no answer came")
        return [self.said for _ in claims]


class Sees:
    """Ann on the left, Ben on the right, and both surely."""

    def see(self, shown: torch.Tensor, asked: Any) -> list[Seen]:
        boxes = (Detection(Box(0, 0, 10, 20), 1.0), Detection(Box(30, 0, 40, 20), 1.0))
        return [Seen(("ann", "ben"), boxes, torch.eye(2), torch.eye(2), None) for _ in asked]


def couple(words: str) -> Asked:
    return Asked(ask_for("ann", "ben").subjects, relation=Relation("ann", words, "ben"))


def test_a_judge_gives_the_share_of_claims_that_hold() -> None:
    def claims(asked: Asked) -> list[Claim]:
        return [*claims_of(asked), Claim("place", None, "park")]

    reward = JudgeReward(Says(Answer("park")), [Sees()], claims)  # type: ignore[list-item]
    told = reward(pictures(2), [couple("left of"), couple("right of")])
    assert told.values.tolist() == pytest.approx([1.0, 2 / 3]) and not reward.differentiable


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(None, "too dark to say"), "too dark to say"),
        (Answer("broken"), "the judge failed"),
    ],
)
def test_a_silent_judge_is_a_reason_and_no_number(answer: Answer, reason: str) -> None:
    place = [Claim("place", None, "park")]
    told = JudgeReward(Says(answer), claims=lambda asked: place)(pictures(1), [couple("left of")])
    assert told.mean is None and reason in str(told.reasons[0])


def test_nothing_to_judge_and_nobody_to_look_are_reasons_too() -> None:
    judge = Says(Answer("park"))
    told = JudgeReward(judge, claims=lambda asked: [])(pictures(1), [couple("left of")])
    assert told.reasons == ("nothing is claimed of this picture",)
    told = JudgeReward(judge)(pictures(1), [couple("left of")])
    assert "nobody can count" in str(told.reasons[0])


def test_the_examiner_is_refused() -> None:
    from personae.vision.toons.examiner import Examiner

    with pytest.raises(RequestError, match="examiner"):
        JudgeReward(Examiner.load())

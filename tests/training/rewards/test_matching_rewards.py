"""Matching rewards from pixels: right people, dropped ones, swapped ones, and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from personae.errors import DataError, RequestError
from personae.metrics.matching import matching_reward, strict_matching_reward
from personae.subjects.box import Box
from personae.subjects.scene import Relation
from personae.subjects.subject import Reference
from personae.toons import ToonScene, scene
from personae.training.rewards.asked import Asked, Rewards
from personae.training.rewards.combined import CombinedReward
from personae.training.rewards.make import make_reward
from personae.training.rewards.matching import MatchingReward
from personae.training.rewards.recipe import RewardsRecipe
from personae.training.rewards.sight import Seen
from personae.vision.protocols import Detection

CPU = torch.device("cpu")


def reward_of(*names: str, **settings: object) -> CombinedReward:
    weights = dict.fromkeys(names, 1.0)
    recipe = RewardsRecipe(weights=weights, faces="toons", **settings)  # type: ignore[arg-type]
    return make_reward(recipe, CPU, ("person",))


def test_things_that_eyes_fail_at_are_unmeasured_and_others_are_not(monkeypatch) -> None:
    recipe = RewardsRecipe(weights={"strict_matching": 1.0, "presence": 1.0})
    reward = make_reward(recipe, CPU, ("thing",))
    eyes = reward.members["presence"]._sights[0].eyes
    looked = eyes.look

    def fails(image: np.ndarray, *rest: object) -> object:
        if not image.any():
            raise DataError("the answer cannot be read")
        return looked(image, *rest)

    monkeypatch.setattr(eyes, "look", fails)
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    asked = Asked({"a": (Reference(photo),)}, kinds={"a": "object"})
    told = reward(pixels(np.zeros_like(photo), photo), [asked, asked])
    assert told.reasons[1] is None
    assert told.reasons[0] is not None
    assert "efficientnet-lite0 failed: the answer cannot be read" in told.reasons[0]


def asked_of_scene(drawn: ToonScene, **more: object) -> Asked:
    subjects = {one.name: (Reference(one.reference.image),) for one in drawn.members}
    return Asked(subjects, prompt=drawn.prompt, relation=drawn.relation, **more)  # type: ignore[arg-type]


def pixels(*images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def two() -> ToonScene:
    return scene(501, count=2, split="validation")


def test_right_people_are_worth_more_than_strangers_or_nobody(two: ToonScene) -> None:
    others = scene(502, count=2, split="validation").image
    nobody = np.full_like(two.image, 127)
    names = ("strict_matching", "mimr", "sir", "presence", "pairwise")
    asked = [asked_of_scene(two)] * 3
    told = reward_of(*names)(pixels(two.image, others, nobody), asked)
    assert told.reasons == (None, None, None)
    for name in names:
        right, strangers, empty = told.parts[name].tolist()
        assert right > strangers + 0.05 and right > 0.2, name
        assert empty == 0, name
    assert told.parts["presence"].tolist() == [1.0, 0.0, 0.0]


def test_dropping_a_person_is_free_for_mimr_and_dear_for_the_strict_reward(two: ToonScene) -> None:
    """The known hack: with one of two gone, MIMR as released pays as much or more."""
    alone = two.image.copy()
    member = two.members[0]
    alone[member.mask] = 127
    told = reward_of("strict_matching", "mimr")(pixels(two.image, alone), [asked_of_scene(two)] * 2)
    both, dropped = told.parts["strict_matching"].tolist()
    assert dropped <= both / 2 + 0.02
    both, dropped = told.parts["mimr"].tolist()
    assert dropped > 0.9 * both


def test_the_value_is_that_of_the_metric_on_the_similarities(two: ToonScene) -> None:
    reward = reward_of("strict_matching", "mimr", margin=0.2, unmatched_margin=0.1)
    asked, shown = [asked_of_scene(two)], pixels(two.image)
    told = reward(shown, asked)
    member = reward.members["mimr"]
    assert isinstance(member, MatchingReward)
    seen = member._sights[0].see(shown, asked)[0]
    assert seen is not None
    strict = strict_matching_reward(seen.similarity, 0.2)
    mimr = matching_reward(seen.official, unmatched_margin=0.1)
    assert told.parts["strict_matching"].item() == pytest.approx(float(strict))
    assert told.parts["mimr"].item() == pytest.approx(float(mimr))
    assert told.values.item() == pytest.approx(float(strict + mimr))


def test_gradients_reach_the_pixels_and_going_along_raises_the_reward(two: ToonScene) -> None:
    reward = reward_of("strict_matching")
    blurred = torch.nn.functional.avg_pool2d(pixels(two.image), 5, 1, 2)
    shown, asked = blurred.clone().requires_grad_(), [asked_of_scene(two)]
    before = reward(shown, asked).values
    (slope,) = torch.autograd.grad(before.sum(), shown)
    assert bool((slope != 0).any())
    step = 0.02 * slope / slope.abs().max()
    after = reward((blurred + step).clamp(0, 1), asked).values
    assert after.item() > before.detach().item()


def test_jitter_moves_what_a_gradient_goes_through_and_no_score(two: ToonScene) -> None:
    asked = [asked_of_scene(two)]
    shown = torch.nn.functional.avg_pool2d(pixels(two.image), 5, 1, 2)
    plain, shaken = reward_of("strict_matching"), reward_of("strict_matching", jitter=0.1)
    assert torch.equal(shaken(shown, asked).values, plain(shown, asked).values)

    def pulled(pictures: Tensor) -> tuple[float, Tensor]:
        pictures = pictures.clone().requires_grad_()
        value = shaken(pictures, asked).values.sum()
        return value.item(), torch.autograd.grad(value, pictures)[0]

    value, gradient = pulled(shown)
    assert abs(value - plain(shown, asked).values.item()) > 1e-3
    again, same = pulled(shown)
    assert again == value and torch.equal(gradient, same)  # to the bit, after a resumption too
    # A picture that hardly differs is cut in another way.
    other, _ = pulled((shown + 0.02 * torch.linspace(0, 1, 128)).clamp(0, 1))
    assert abs(other - value) > 1e-4
    step = (shown + 0.02 * gradient / gradient.abs().max()).clamp(0, 1)
    assert plain(step, asked).values.item() > plain(shown, asked).values.item()


def test_a_reference_without_a_face_is_unmeasured_not_zero(two: ToonScene) -> None:
    blank = Reference(np.full((64, 64, 3), 127, np.uint8))
    asked = Asked({"a": (blank,), "b": (Reference(two.members[1].reference.image),)})
    told = reward_of("strict_matching")(pixels(two.image), [asked])
    assert told.reasons[0] is not None and "a" in told.reasons[0]
    assert told.values.tolist() == [0.0]
    assert not bool(told.measured.any()) and told.mean is None
    assert torch.isnan(told.parts["strict_matching"]).all()


def test_position_counts_where_it_was_asked_for_and_is_left_out_where_not(two: ToonScene) -> None:
    reward = reward_of("strict_matching", "position")
    names = [one.name for one in two.members]
    left, right = sorted(two.members, key=lambda one: one.box.center[0])
    true = Relation(left.name, "left of", right.name)
    false = Relation(right.name, "left of", left.name)
    subjects = {one.name: (Reference(one.reference.image),) for one in two.members}
    asked = [Asked(subjects, relation=relation) for relation in (true, false, None)]
    told = reward(pixels(two.image, two.image, two.image), asked)
    assert told.reasons == (None, None, None), names
    position = told.parts["position"].tolist()
    assert position[0] > 0.5 and position[1] == 0 and np.isnan(position[2])
    assert told.values[2] == told.parts["strict_matching"][2]


def test_a_thing_without_eyes_for_things_is_unmeasured(two: ToonScene) -> None:
    subjects = {"a": (Reference(two.members[0].reference.image),)}
    told = reward_of("strict_matching")(pixels(two.image), [Asked(subjects, kinds={"a": "object"})])
    assert told.reasons[0] is not None and "no eyes" in told.reasons[0]


def test_pairwise_takes_the_surest_box_of_each_subject_and_leaves_out_the_missing() -> None:
    box = Box(0, 0, 1, 1)
    boxes = (Detection(box, 0.3, "a"), Detection(box, 0.9, "a"), Detection(box, 0.5, "c"))
    official = torch.tensor([[0.9, 0.4, 0.1], [0.8, 0.8, 0.8], [0.0, 0.0, 0.6]])
    seen = Seen(("a", "b", "c"), boxes, official, official, None)
    from personae.training.rewards.matching import MATCHING

    value = MATCHING["pairwise"](seen, RewardsRecipe())
    assert float(value) == pytest.approx((0.4 + 0.6) / 2)


def test_an_unknown_reward_and_the_examiner_are_refused() -> None:
    with pytest.raises(RequestError, match=r"rewards\.jitter: expected 0 to 0\.5; got 0\.9"):
        RewardsRecipe(jitter=0.9)
    with pytest.raises(RequestError, match="did you mean 'strict_matching'"):
        RewardsRecipe(weights={"strict_maching": 1.0})
    with pytest.raises(RequestError, match="examiner"):
        RewardsRecipe(faces="examiner")
    with pytest.raises(RequestError, match="at least one reward"):
        make_reward(RewardsRecipe(weights={}), CPU)


def test_what_is_asked_is_checked() -> None:
    photo = (Reference(np.zeros((8, 8, 3), np.uint8)),)
    with pytest.raises(DataError, match="at least one reference"):
        Asked({"a": ()})
    with pytest.raises(DataError, match="no subjects"):
        Asked({"a": photo}, nouns={"b": "cat"})
    with pytest.raises(DataError, match="expected a value and a reason"):
        Rewards(torch.zeros(2), (None,))

"""The best of several: the strict matching reward of eyes that know colors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from personae.errors import DataError
from personae.generation import MatchingRater
from personae.generation.best import best_index
from personae.metrics.evidence import Witness
from personae.metrics.eyes import Group
from personae.metrics.scoring import group_scores
from personae.subjects.box import Box
from personae.subjects.scene import Scene
from personae.subjects.subject import Reference, ReferenceFile, Subject
from personae.vision.protocols import Detection

RED, GREEN, BLUE, NOTHING = (200, 0, 0), (0, 200, 0), (0, 0, 200), (0, 0, 0)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    return first @ second.T


class ColorEyes:
    """A picture is four stripes; a stripe that is not black is somebody, known by the color."""

    present = 0.5
    name = "colors"
    embedder = SimpleNamespace(
        similarity=cosine, cosine=cosine, official_uses_cosine=False, name="colors"
    )

    def __init__(self, group: Group) -> None:
        self.group = group

    def know(self, reference: Reference) -> Tensor:
        return self._described(reference.image[:1, :1].reshape(-1, 3))

    def look(
        self,
        image: np.ndarray,
        cast: Mapping[str, Sequence[Reference]],
        nouns: Mapping[str, str],
    ) -> tuple[list[Detection], Tensor]:
        colors = image[0, 8::16]
        there = [index for index in range(4) if colors[index].any()]
        boxes = [Box(16.0 * index, 0.0, 16.0 * index + 16, 64.0) for index in there]
        return [Detection(box, 1.0) for box in boxes], self._described(colors[there])

    def _described(self, colors: np.ndarray) -> Tensor:
        values = torch.from_numpy(colors.astype(np.float32))
        return torch.nn.functional.normalize(values, dim=-1)


def picture(*stripes: tuple[int, int, int]) -> np.ndarray:
    colors = [*stripes, *[NOTHING] * (4 - len(stripes))]
    return np.repeat(np.repeat(np.array([colors], np.uint8), 64, 0), 16, 1)


@pytest.fixture
def rater() -> MatchingRater:
    groups: tuple[Group, Group] = ("person", "thing")
    return MatchingRater({group: Witness(ColorEyes(group)) for group in groups})


@pytest.fixture
def scene(tmp_path) -> Scene:
    """Two people and a thing."""

    def subject(name: str, kind: str, color: tuple[int, int, int]) -> Subject:
        Image.new("RGB", (16, 16), color).save(tmp_path / f"{name}.png")
        return Subject(name, name, kind, (ReferenceFile(tmp_path / f"{name}.png"),))

    cast = [subject("ann", "person", RED), subject("bob", "person", GREEN)]
    cast.append(subject("cup", "object", BLUE))
    return Scene("s", "{ann} {bob} {cup}", {item.id: item for item in cast})


@pytest.mark.parametrize(
    ("stripes", "reward"),
    [
        ((RED, GREEN, BLUE), 1.0),
        ((RED, BLUE), 2 / 3),
        ((RED, GREEN), 2 / 3),
        ((BLUE,), 1 / 3),
        ((RED, RED, GREEN, BLUE), 2 / 3),
        ((), 0.0),
    ],
    ids=["all", "one-absent", "thing-absent", "people-absent", "doubled", "empty"],
)
def test_the_rating_is_the_mean_over_subjects_of_both_groups(rater, scene, stripes, reward) -> None:
    assert rater(picture(*stripes), scene) == pytest.approx(reward)


def test_the_rating_of_one_group_is_the_rulers_own_reward(rater, scene) -> None:
    blended = picture((200, 120, 0), GREEN)
    people = Scene("s", "x", scene.of_kind("person"))
    witness = rater.witnesses["person"]
    evidence = witness.evidence(blended, witness.gallery(people.subjects))
    scores = {item.metric: item.value for item in group_scores("strict", evidence)}
    assert 0 < rater(blended, people) < 1
    assert rater(blended, people) == pytest.approx(scores["strict_matching_reward"])
    assert rater.name == "strict_matching_reward by colors & colors"


def test_the_picture_that_holds_everybody_is_kept(rater, scene) -> None:
    images = [picture(RED), picture(RED, GREEN, BLUE), picture(), picture(RED, GREEN, BLUE)]
    kept, ratings = best_index(images, scene, rater)
    assert kept == 1
    assert ratings == pytest.approx([1 / 3, 1, 0, 1])


def test_subjects_that_nobody_can_know_are_left_out(rater, scene, tmp_path) -> None:
    lost = Subject("dan", "dan", "person", (ReferenceFile(tmp_path / "none.png"),))
    assert rater(picture(RED), Scene("s", "x", {"dan": lost})) is None
    with_ann = Scene("s", "x", {"dan": lost, "ann": scene.subjects["ann"]})
    assert rater(picture(RED), with_ann) == pytest.approx(1)


def test_of_equals_the_first_and_never_what_could_not_be_rated(scene) -> None:
    ratings = iter([None, 0.0, 0.5, 0.5])
    images = [picture()] * 4
    assert best_index(images, scene, lambda image, scene: next(ratings))[0] == 2

    def blind(image: np.ndarray, scene: Scene) -> float:
        raise DataError("nothing to see")

    assert best_index(images, scene, blind) == (0, [None] * 4)

"""The simplest callable: any pictures, any sizes, values with reasons."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from personae.errors import DataError, RequestError
from personae.subjects.subject import Reference
from personae.training.rewards.asked import Asked, Rewards
from personae.training.rewards.photos import decode_picture
from personae.training.rewards.plain import PlainReward, score_pictures
from tests.training.rewards.fakes import Brightness, ask_for, encoded, grey

CAST = {"ada": [grey(50)]}
CPU = torch.device("cpu")


def test_pictures_of_every_form_give_the_same() -> None:
    score = PlainReward(Brightness())
    pixels = grey(102)
    forms = [
        pixels,
        Image.fromarray(pixels),
        Image.fromarray(pixels).convert("RGBA"),
        torch.full((3, 16, 16), 0.4),
        torch.full((3, 16, 16), 102, dtype=torch.uint8),
        torch.full((3, 16, 16), 0.4, dtype=torch.float64),
    ]
    told = score(forms, [CAST] * len(forms))
    assert [reason for _, reason in told] == [None] * len(forms)
    assert [value for value, _ in told] == pytest.approx([0.4] * len(forms))
    assert score(torch.full((2, 3, 16, 16), 0.4), [CAST] * 2) == told[3:4] * 2


@given(st.lists(st.tuples(st.integers(0, 255), st.sampled_from([16, 17, 20])), max_size=8))
def test_sizes_may_differ_and_places_stay(pictures: list[tuple[int, int]]) -> None:
    reward = Brightness()
    told = PlainReward(reward)([grey(*item) for item in pictures], [CAST] * len(pictures))
    for (brightness, _), (value, reason) in zip(pictures, told, strict=True):
        if brightness == 0:
            assert (value, reason) == (None, "too dark")
        else:
            assert reason is None
            assert value == pytest.approx(brightness / 255)
    assert sum(reward.batches) == len(pictures)
    assert len(reward.batches) == len({size for _, size in pictures})


def test_references_of_every_form() -> None:
    seen: list[Asked] = []

    class Listening(Brightness):
        def __call__(self, pictures: torch.Tensor, asked: Sequence[Asked]) -> Rewards:
            seen.extend(asked)
            return super().__call__(pictures, asked)

    reference = Reference(grey(7), path="seven.png")
    cast = {"ada": [grey(5), Image.fromarray(grey(6)), reference], "ben": grey(8)}
    score = PlainReward(Listening())
    score([grey(9)], [cast], [{"ada": "woman"}])
    score([grey(9)], [{"ben": grey(8)}], {"ada": "woman", "ben": "man"})
    first, second = seen
    assert [int(item.image[0, 0, 0]) for item in first.subjects["ada"]] == [5, 6, 7]
    assert first.subjects["ada"][2] is reference
    assert len(first.subjects["ben"]) == 1
    assert first.noun("ada") == "woman"
    assert second.nouns == {"ben": "man"}


def test_pixels_that_are_no_numbers_are_unmeasured_and_the_others_are_not() -> None:
    pictures = torch.full((4, 3, 16, 16), 0.5)
    pictures[1, 0, 3, 3] = math.nan
    pictures[2, 2, 0, 0] = math.inf
    reward = Brightness()
    told = PlainReward(reward)(pictures, [CAST] * 4)
    assert [value for value, _ in told] == pytest.approx([0.5, None, None, 0.5])
    assert "no finite numbers" in str(told[1][1])
    assert reward.batches == [2]


def test_a_value_that_is_no_number_is_unmeasured() -> None:
    def broken(pictures: torch.Tensor, asked: Sequence[Asked]) -> Rewards:
        return Rewards(torch.tensor([math.nan, 1.0]), (None, None))

    broken.name, broken.differentiable = "broken", False  # type: ignore[attr-defined]
    told = PlainReward(broken)([grey(1), grey(2)], [CAST] * 2)  # type: ignore[arg-type]
    assert told == [(None, "the reward's value is nan"), (1.0, None)]


def test_parts_have_numbers_or_nothing() -> None:
    pictures = [torch.rand(3, 16, 16), torch.rand(3, 8, 8)]
    answers = score_pictures(Brightness(), pictures, [ask_for("a"), ask_for("a", "b")], CPU)
    assert answers.parts["subjects"] == (1.0, 2.0)
    assert answers.parts["nothing"] == (None, None)


def test_no_gradient_is_kept() -> None:
    class Graded(Brightness):
        def __call__(self, pictures: torch.Tensor, asked: Sequence[Asked]) -> Rewards:
            assert not torch.is_grad_enabled()
            return super().__call__(pictures, asked)

    picture = torch.rand(3, 16, 16, requires_grad=True)
    assert PlainReward(Graded())([picture], [CAST])[0][1] is None


def test_a_reward_that_breaks_its_word() -> None:
    class Short(Brightness):
        def __call__(self, pictures: torch.Tensor, asked: Sequence[Asked]) -> Rewards:
            return super().__call__(pictures[:1], asked[:1])

    with pytest.raises(DataError, match="1 values for 2 pictures"):
        PlainReward(Short())([grey(1), grey(2)], [CAST] * 2)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((16, 16, 3), np.float32),
        np.zeros((16, 16), np.uint8),
        np.zeros((3, 16, 16), np.uint8),
        torch.zeros(16, 16, 3),
        torch.zeros(1, 3, 16, 16),
        torch.zeros(3, 16, 16, dtype=torch.int64),
    ],
    ids=str,
)
def test_what_is_no_picture(picture: object) -> None:
    with pytest.raises(DataError, match="picture 0: expected an array"):
        PlainReward(Brightness())([picture], [CAST])  # type: ignore[list-item]


def test_wrong_requests() -> None:
    score = PlainReward(Brightness())
    with pytest.raises(RequestError, match="2 pictures, 1 references"):
        score([grey(1), grey(2)], [CAST])
    with pytest.raises(RequestError, match="3 nouns"):
        score([grey(1)], [CAST], [{}, {}, {}])
    with pytest.raises(DataError, match="at least one subject"):
        score([grey(1)], [{}])
    with pytest.raises(DataError, match="picture 0, reference 0 of 'ada'"):
        score([grey(1)], [{"ada": [np.zeros((4, 4), np.uint8)]}])


def test_decoding_upright_and_flat() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert (decode_picture(encoded(pixels), "it", 600) == pixels).all()
    assert decode_picture(encoded(pixels, "JPEG"), "it", 600).shape == (20, 30, 3)
    with pytest.raises(DataError, match="at most 599 pixels"):
        decode_picture(encoded(pixels), "it", 599)
    with pytest.raises(DataError, match="at least 16 pixels a side"):
        decode_picture(encoded(grey(1, 15)), "it", 600)
    for bad in (b"", b"GIF89a", encoded(pixels)[:200], encoded(pixels, "WEBP")):
        with pytest.raises(DataError, match="it: "):
            decode_picture(bad, "it", 600)

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personae.errors import RequestError
from personae.toons import identities, look_alike, portrait, split_of, toon
from personae.toons.identity import COLORS, TRAITS

SEEDS = st.integers(0, 10**7)


def test_no_two_of_ten_thousand_look_the_same() -> None:
    looks = [frozenset(toon(seed).attributes().items()) for seed in range(10_000)]
    assert len(set(looks)) == len(looks)


def test_the_two_closest_of_a_thousand_are_told_apart_by_their_pixels() -> None:
    looks = [toon(seed) for seed in range(1000)]
    attributes = [set(one.attributes().items()) for one in looks]
    pairs = combinations(range(len(looks)), 2)
    first, second = max(pairs, key=lambda ij: len(attributes[ij[0]] & attributes[ij[1]]))
    a, b = (portrait(looks[i], seed=0).image.astype(int) for i in (first, second))
    assert np.abs(a - b).max() > 60


def test_all_sorts_appear_as_often_as_said() -> None:
    sorts = [toon(seed).sort for seed in range(3000)]
    assert sorts.count("human") / 3000 == pytest.approx(0.66, abs=0.04)
    assert sorts.count("animal") / 3000 == pytest.approx(0.21, abs=0.04)
    assert sorts.count("robot") / 3000 == pytest.approx(0.13, abs=0.04)


def test_every_trait_of_every_sort_is_used() -> None:
    drawn = [toon(seed) for seed in range(4000)]
    for sort, traits in TRAITS.items():
        for name, choices in traits.items():
            seen = {getattr(one, name) for one in drawn if one.sort == sort}
            assert set(choices) <= seen | {"black"}, (sort, name)


def test_every_color_has_a_name_that_is_known() -> None:
    for one in map(toon, range(500)):
        for name in ("skin", "hair_color", "eye_color", "hat_color", "clothes_color"):
            assert getattr(one, name) in COLORS


@given(SEEDS)
def test_beards_are_for_men(seed: int) -> None:
    one = toon(seed)
    if one.beard != "none":
        assert one.noun == "man"


@given(SEEDS, st.integers(0, 1000), st.integers(1, 3))
def test_a_look_alike_differs_in_as_many_traits_as_asked_for(
    seed: int, other: int, changes: int
) -> None:
    model = toon(seed)
    alike = look_alike(model, other, changes)
    fields = [name for name in model.__dataclass_fields__ if name != "seed"]
    assert sum(getattr(model, name) != getattr(alike, name) for name in fields) == changes
    assert model.attributes() != alike.attributes()
    assert alike.seed == model.seed  # and so of the same split
    assert alike == look_alike(model, other, changes)


def test_look_alikes_can_be_seen_to_differ() -> None:
    unseen = 0
    for seed in range(60):
        model = toon(seed)
        a = portrait(model, seed=1).image.astype(int)
        b = portrait(look_alike(model, 0), seed=1).image.astype(int)
        unseen += int((np.abs(a - b).max(2) > 25).sum() < 6)
    # A nose under a beard, hair under a hat: few, and counted.
    assert unseen <= 6


def test_splits_share_no_identity() -> None:
    parts = {split: set(identities(split, 300)) for split in ("train", "validation", "test")}
    for first, second in combinations(parts.values(), 2):
        assert not first & second
    for split, seeds in parts.items():
        assert len(seeds) == 300
        assert {split_of(seed) for seed in seeds} == {split}


def test_no_look_leaks_from_one_split_into_another() -> None:
    looks = {
        split: {frozenset(toon(seed).attributes().items()) for seed in identities(split, 2000)}
        for split in ("train", "validation", "test")
    }
    for first, second in combinations(looks.values(), 2):
        assert not first & second


def test_bad_requests_say_what_was_expected() -> None:
    with pytest.raises(RequestError, match="whole number from 0 up"):
        toon(-1)
    with pytest.raises(RequestError, match="1 to 6"):
        look_alike(toon(0), 0, changes=0)
    with pytest.raises(RequestError, match="train, validation or test"):
        identities("holdout", 1)  # type: ignore[arg-type]

"""Noise: its own for each picture, and with a shifted mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.generation.noise import (
    latent_mask,
    mean_shifted,
    picture_generator,
    picture_seed,
    plain_noise,
)
from tests.reference.generation_loops import covered, shifted

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(names, st.integers(0, 10**9), st.integers(0, 9))
def test_a_picture_has_its_own_seed(name: str, seed: int, candidate: int) -> None:
    own = picture_seed(name, seed, candidate)
    assert 0 <= own < 2**63
    others = [
        picture_seed(name + "x", seed, candidate),
        picture_seed(name, seed + 1, candidate),
        picture_seed(name, seed, candidate + 1),
        picture_seed(name, seed, candidate, use="layout"),
    ]
    assert own not in others


def test_the_seed_of_a_picture_never_changes() -> None:
    """Or the pictures of every released run would."""
    assert picture_seed("pool", 0) == 4944515799461865643
    noise = plain_noise((2,), picture_generator("pool", 0))
    assert noise.tolist() == pytest.approx([-1.1461, -0.2116], abs=1e-4)


def test_plain_noise_is_standard_normal_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    noise = plain_noise((32, 64, 64), picture_generator("pool", 3))
    assert torch.equal(before, torch.random.get_rng_state())
    assert noise.mean().abs() < 0.01
    assert (noise.var() - 1).abs() < 0.01


@given(st.integers(0, 2**32 - 1), st.floats(0, 2))
def test_mean_shift_is_what_the_loops_say(seed: int, gamma: float) -> None:
    generator = np.random.default_rng(seed)
    mask = generator.random((12, 8)) < 0.5
    noise, clean = generator.normal(size=(2, 3, 3, 2)).astype(np.float32)
    cells = latent_mask(mask, 3, 2)
    assert np.allclose(cells, covered(mask, 3, 2))
    ours = mean_shifted(torch.from_numpy(noise), torch.from_numpy(clean), cells, gamma)
    assert np.allclose(ours, shifted(noise, clean, cells.numpy(), gamma), atol=1e-6)


def test_outside_the_mask_and_with_gamma_0_the_noise_is_as_it_was() -> None:
    noise, clean = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(5, 5)
    mask[1:3, 2:4] = 1
    assert torch.equal(mean_shifted(noise, clean, mask, 0.0), noise)
    moved = mean_shifted(noise, clean, mask, 0.7)
    assert torch.equal(moved[:, mask == 0], noise[:, mask == 0])
    inside = moved[:, mask == 1] - noise[:, mask == 1]
    assert torch.allclose(inside, 0.7 * clean[:, mask == 1], atol=1e-6)

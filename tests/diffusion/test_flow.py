from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from personae.diffusion.flow import flow_estimate, flow_mix, flow_target


def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn(2, 2, 3, 4, 5, generator=generator, dtype=torch.float64)
    return clean, noise


def test_time_runs_from_picture_to_noise() -> None:
    clean, noise = pair(0)
    assert torch.equal(flow_mix(clean, noise, torch.zeros(2)), clean)
    assert torch.equal(flow_mix(clean, noise, torch.ones(2)), noise)


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1))
def test_the_true_velocity_leads_back_to_the_picture(seed: int, a: float, b: float) -> None:
    clean, noise = pair(seed)
    time = torch.tensor([a, b], dtype=torch.float64)
    x = flow_mix(clean, noise, time)
    torch.testing.assert_close(flow_estimate(x, flow_target(clean, noise), time), clean)


def test_each_row_has_its_own_time() -> None:
    clean, noise = pair(1)
    time = torch.tensor([0.3, 0.7], dtype=torch.float64)
    both = flow_mix(clean, noise, time)
    for row in range(2):
        alone = flow_mix(clean[row : row + 1], noise[row : row + 1], time[row : row + 1])
        assert torch.equal(both[row : row + 1], alone)

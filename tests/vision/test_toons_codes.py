from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from personae.vision.toons.networks import IdentityNet, PatchNet, agreement, code_of
from tests.reference import eyes_loops

SIZES = [2, 4, 3]


def chances(rows: int, seed: int, sharpness: float) -> list[torch.Tensor]:
    made = torch.randn(rows, sum(SIZES), generator=torch.Generator().manual_seed(seed)).double()
    return [part.softmax(1) for part in (sharpness * made).split(SIZES, 1)]


@given(st.integers(0, 50), st.sampled_from([0.5, 3.0, 20.0]))
def test_agreement_equals_the_slow_one(seed: int, sharpness: float) -> None:
    first, second = chances(3, seed, sharpness), chances(4, seed + 99, sharpness)
    fast = agreement(code_of(first), code_of(second), SIZES).numpy()
    # No chance counts as below one in a million.
    plain = [torch.cat(part, 1).clamp(min=1e-6).numpy() for part in (first, second)]
    assert fast == pytest.approx(eyes_loops.agreement(*plain, SIZES), abs=1e-4)


@given(st.integers(0, 50))
def test_the_cosine_is_the_mean_overlap(seed: int) -> None:
    first, second = chances(1, seed, 2.0), chances(1, seed + 7, 2.0)
    overlaps = [float((a.sqrt() * b.sqrt()).sum()) for a, b in zip(first, second, strict=True)]
    assert float(code_of(first) @ code_of(second).T) == pytest.approx(np.mean(overlaps), abs=1e-5)


def test_one_sure_difference_outweighs_two_guesses() -> None:
    """A look-alike that is seen well is further off than oneself that is seen badly."""
    sure, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    guess = torch.tensor([[0.6, 0.4]])
    own = code_of([sure, sure, sure])
    blurred, alike = code_of([sure, guess, guess]), code_of([sure, sure, other])
    sizes = [2, 2, 2]
    assert float(agreement(own, own, sizes)) == pytest.approx(1.0, abs=1e-5)
    assert float(agreement(own, blurred, sizes)) > 0.8
    assert float(agreement(own, alike, sizes)) < 0.15


def test_its_gradient_is_a_number_where_nothing_overlaps() -> None:
    row = torch.tensor([[30.0, -30.0]], requires_grad=True)
    code = code_of([row.softmax(1)])
    agreement(code, code_of([torch.tensor([[0.0, 1.0]])]), [2]).sum().backward()
    assert torch.isfinite(row.grad).all()


@pytest.mark.parametrize(("network", "side"), [(IdentityNet, 64), (PatchNet, 72)])
def test_a_face_and_its_mirror_image_have_one_code(network: type[nn.Module], side: int) -> None:
    torch.manual_seed(5)
    net = network().eval()
    crop = torch.rand(2, 3, side, side)
    assert torch.allclose(net(crop), net(crop.flip(3)), atol=1e-6)
    assert net(crop).norm(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)

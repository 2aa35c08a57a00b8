"""Flow matching: the target by hand, times by their density, and where gradients go."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.training.batches import Batch
from personae.training.objective import Times, flow_matching_loss, loss_by_time, sample_times


def batch_of(backbone: Backbone, size: int = 2) -> tuple[Batch, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, noise, reference = (
        torch.randn(size, *backbone.latent_shape(64, 64), generator=generator) for _ in range(3)
    )
    ids, mask = backbone.tokenize(["girl 1 in a park", "a cat 1"][:size])
    names = tuple(f"e{number}" for number in range(size))
    return Batch(names, (0, 1)[:size], image, (reference,), ids, mask), noise


def test_the_loss_by_hand(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, noise = batch_of(backbone)
    asked = []

    def predict(x: torch.Tensor, time: torch.Tensor, context: object) -> torch.Tensor:
        asked.append((x, time))
        return torch.zeros_like(x)

    monkeypatch.setattr(backbone, "predict", predict)
    time = torch.tensor([0.25, 0.5])
    loss = flow_matching_loss(backbone, batch, time, noise)
    clean, eps = batch.image.numpy(), noise.numpy()
    for row, t in enumerate([0.25, 0.5]):
        np.testing.assert_allclose(asked[0][0][row], (1 - t) * clean[row] + t * eps[row], rtol=1e-5)
        assert float(loss[row]) == pytest.approx(((eps[row] - clean[row]) ** 2).mean(), rel=1e-5)


def test_each_example_has_a_loss_of_its_own(backbone: Backbone) -> None:
    batch, noise = batch_of(backbone)
    time = torch.tensor([0.3, 0.8])
    with torch.no_grad():
        both = flow_matching_loss(backbone, batch, time, noise)
        alone = Batch(
            batch.ids[1:],
            batch.numbers[1:],
            batch.image[1:],
            tuple(item[1:] for item in batch.references),
            batch.tokens[1:],
            batch.mask[1:],
        )
        one = flow_matching_loss(backbone, alone, time[1:], noise[1:])
    torch.testing.assert_close(both[1:], one, atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_text_encoder_where_they_are_wanted(backbone: Backbone) -> None:
    batch, noise = batch_of(backbone)
    backbone.denoiser.requires_grad_(True)
    for wanted in (True, False):
        backbone.text_encoder.requires_grad_(wanted)
        backbone.text_encoder.zero_grad(set_to_none=True)
        flow_matching_loss(backbone, batch, torch.tensor([0.3, 0.8]), noise).mean().backward()
        got = [p.grad is not None for p in backbone.text_encoder.parameters()]
        assert any(got) is wanted
    assert all(p.grad is not None for p in backbone.denoiser.parameters())


def test_logit_normal_times_have_their_density() -> None:
    normal = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    times = sample_times(normal, Times(mean=0.3, std=0.8)).double().numpy()
    logits = np.log(times / (1 - times))
    assert stats.kstest(logits, stats.norm(0.3, 0.8).cdf).pvalue > 0.01
    even = sample_times(normal, Times(kind="uniform")).double().numpy()
    assert stats.kstest(even, stats.uniform.cdf).pvalue > 0.01


def test_the_shift_leans_to_noise_and_keeps_order() -> None:
    normal = torch.linspace(-6, 6, 101)
    plain, shifted = (sample_times(normal, Times(shift=s)) for s in (1.0, 3.0))
    assert (shifted > plain).all()
    assert (shifted.diff() > 0).all()
    assert shifted.max() <= 1
    assert plain.min() > 0
    torch.testing.assert_close(shifted, 3 * plain / (1 + 2 * plain))


def test_times_out_of_range() -> None:
    with pytest.raises(RequestError, match="above 0"):
        Times(shift=0)


def test_loss_by_time_at_the_edges() -> None:
    assert loss_by_time(torch.tensor([2.0]), torch.tensor([1.0])) == [None, None, None, 2.0]

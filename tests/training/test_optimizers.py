"""Optimizers against slow twins; schedules by their corners; who gets which parameter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from personae.errors import DataError, RequestError
from personae.training.ema import Ema
from personae.training.muon import Muon, orthogonalize
from personae.training.optimizers import (
    OptimizerRecipe,
    lr_factor,
    make_optimizers,
    optimizer_tensors,
    restore_optimizers,
    set_lr,
)
from tests.reference.muon_slow import slow_ema, slow_muon_step, slow_orthogonalize


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6, 6), (5, 24), (24, 5), (8, 15), (1, 4)])
def test_orthogonalize_is_the_quintic_on_singular_values(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    ours = orthogonalize(matrix).double().numpy()
    np.testing.assert_allclose(ours, slow_orthogonalize(matrix.numpy(), 5), atol=2e-4)


def test_orthogonalize_takes_a_stack_and_no_scale_matters() -> None:
    stack = torch.stack([random(4, 12, seed=1), 1000 * random(4, 12, seed=2)])
    both = orthogonalize(stack)
    torch.testing.assert_close(both[1], orthogonalize(random(4, 12, seed=2)), atol=1e-5, rtol=1e-5)
    assert torch.isfinite(orthogonalize(torch.zeros(3, 4))).all()


def test_orthogonalize_of_a_nearly_flat_matrix_stays_small_and_finite() -> None:
    flat = random(32, 1) @ random(1, 256, seed=1) + 1e-4 * random(32, 256, seed=2)
    values = torch.linalg.svdvals(orthogonalize(flat))
    assert values.max() < 1.3


def test_muon_steps_as_its_slow_twin() -> None:
    weight, other = nn.Parameter(random(6, 10)), nn.Parameter(random(6, 10, seed=9))
    start = weight.detach().numpy().copy()
    gradients = [random(6, 10, seed=seed) for seed in (1, 2, 3)]
    optimizer = Muon([weight, other], lr=0.1, momentum=0.9, weight_decay=0.05)
    for gradient in gradients:
        weight.grad, other.grad = gradient.clone(), -gradient
        optimizer.step()
    slow = slow_muon_step(start, [g.numpy() for g in gradients], lr=0.1, momentum=0.9, decay=0.05)
    np.testing.assert_allclose(weight.detach().numpy(), slow, atol=1e-3)


def test_muon_refuses_vectors() -> None:
    with pytest.raises(ValueError, match="matrices only"):
        Muon([nn.Parameter(torch.zeros(3))])


def test_muon_gets_hidden_matrices_and_adamw_the_rest() -> None:
    params = {
        "denoiser.x_embedder.weight": nn.Parameter(random(4, 4)),
        "denoiser.blocks.0.to_q.weight": nn.Parameter(random(4, 4)),
        "denoiser.blocks.0.norm_q.weight": nn.Parameter(random(4)),
        "denoiser.double_stream_modulation_img.linear.weight": nn.Parameter(random(4, 4)),
        "denoiser.proj_out.weight": nn.Parameter(random(4, 4)),
        "tokens.text_encoder": nn.Parameter(random(4, 4)),
        "tokens.1.clip_l": nn.Parameter(random(4, 4)),
    }
    optimizers = make_optimizers(params, OptimizerRecipe(name="muon", lr=0.1, weight_decay=0.3))
    owners = {id(p): (o, g) for o in optimizers for g in o.param_groups for p in g["params"]}
    assert len(owners) == len(params)
    with_muon = [name for name, p in params.items() if isinstance(owners[id(p)][0], Muon)]
    assert with_muon == ["denoiser.blocks.0.to_q.weight"]
    decays = {name: owners[id(p)][1]["weight_decay"] for name, p in params.items()}
    assert decays.pop("denoiser.blocks.0.norm_q.weight") == 0.0
    assert set(decays.values()) == {0.3}
    assert len(make_optimizers(params, OptimizerRecipe(name="adamw"))) == 1


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_optimizer_state_goes_through_tensors(name: str) -> None:
    recipe = OptimizerRecipe(name=name, lr=0.1)  # type: ignore[arg-type]

    def made() -> dict[str, nn.Parameter]:
        return {"a.to_q": nn.Parameter(random(4, 6)), "a.norm": nn.Parameter(random(4))}

    def stepped(params: dict[str, nn.Parameter], optimizers: list[torch.optim.Optimizer]) -> None:
        for param in params.values():
            param.grad = param.detach() ** 2
        for optimizer in optimizers:
            optimizer.step()

    first = made()
    optimizers = make_optimizers(first, recipe)
    stepped(first, optimizers)
    tensors = {k: v.clone() for k, v in optimizer_tensors(first, optimizers).items()}
    assert tensors
    second = {key: nn.Parameter(param.detach().clone()) for key, param in first.items()}
    again = make_optimizers(second, recipe)
    restore_optimizers(tensors, second, again)
    stepped(first, optimizers)
    stepped(second, again)
    assert all(torch.equal(first[key], second[key]) for key in first)
    with pytest.raises(DataError, match="trains no such parameter"):
        restore_optimizers({"b.to_q/momentum": random(2)}, second, again)


@given(step=st.integers(0, 300), kind=st.sampled_from(["constant", "cosine", "trapezoid"]))
def test_learning_rates_stay_in_range(step: int, kind: str) -> None:
    recipe = OptimizerRecipe(schedule=kind, warm_up=20, final=0.1)  # type: ignore[arg-type]
    factor = lr_factor(step, 200, recipe)
    assert 0 < factor <= 1
    if step >= 20:
        assert factor >= lr_factor(step + 1, 200, recipe) >= 0.1


def test_schedules_end_where_they_say() -> None:
    ends = {"constant": 1.0, "cosine": 0.1, "trapezoid": 0.1}
    for kind, end in ends.items():
        recipe = OptimizerRecipe(schedule=kind, warm_up=20, final=0.1)  # type: ignore[arg-type]
        assert lr_factor(0, 200, recipe) == 0.05
        assert lr_factor(20, 200, recipe) == 1.0
        assert lr_factor(200, 200, recipe) == pytest.approx(end)
    trapezoid = OptimizerRecipe(schedule="trapezoid", warm_up=0)
    assert lr_factor(80, 100, trapezoid) == pytest.approx(1.0)
    assert lr_factor(90, 100, trapezoid) == pytest.approx(0.5)


def test_set_lr_is_a_share_of_the_peak() -> None:
    params = {"a.to_q": nn.Parameter(random(4, 4)), "a.norm": nn.Parameter(random(4))}
    optimizers = make_optimizers(params, OptimizerRecipe(name="muon", lr=0.1, muon_lr=0.4))
    for factor in (0.5, 0.25):
        set_lr(optimizers, factor)
        rates = {type(o).__name__: [g["lr"] for g in o.param_groups] for o in optimizers}
        assert rates == {"AdamW": [0.1 * factor], "Muon": [0.4 * factor]}


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"muon_lr": -1.0}, {"clip": -1}, {"warm_up": -1}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(RequestError):
        OptimizerRecipe(**wrong)  # type: ignore[arg-type]


def test_ema_against_its_slow_twin_and_back() -> None:
    param = nn.Parameter(torch.tensor([3.0]))
    values = [3.0]
    ema = Ema({"p": param}, 0.8)
    for step in range(1, 60):
        values.append(float(np.sin(step)))
        param.data.fill_(values[-1])
        ema.update(step)
    slow = slow_ema(values, 0.8)
    assert float(ema.shadow["p"]) == pytest.approx(slow, abs=1e-5)
    with ema.swapped():
        assert float(param.detach()) == pytest.approx(slow, abs=1e-5)
    assert float(param.detach()) == pytest.approx(values[-1])


def test_ema_keeps_float32_of_bfloat16() -> None:
    param = nn.Parameter(torch.tensor([1.0], dtype=torch.bfloat16))
    ema = Ema({"p": param}, 0.999)
    param.data.fill_(1.0078125)
    for step in range(1, 5):
        ema.update(step)
    assert ema.shadow["p"].dtype == torch.float32
    assert 1.0 < float(ema.shadow["p"]) <= 1.0078125

"""ReReFL as a whole, on a tiny model: the reward rises, and nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from personae.diffusion.load import load_backbone
from personae.errors import DataError, RequestError
from personae.training.batches import draws_for
from personae.training.checkpoint import checkpoints
from personae.training.chosen import Chosen
from personae.training.finetune import finetune
from personae.training.logs import Trackers
from personae.training.processes import Ranks
from personae.training.rerefl import ReReFL, ReReflRecipe
from personae.training.rollout import RolloutRecipe
from personae.training.session import Session
from tests.training.brightness import Brightness
from tests.training.conftest import MakeRecipe

CPU = torch.device("cpu")


def rewarded(make_recipe: MakeRecipe, **sections: Any) -> Any:
    return make_recipe(
        rewards={},
        rollout={"steps": 4, "reference_guidance": 2.0},
        **{"rerefl": {"window": [1, 3]}, "lora": {"rank": 4}, **sections},
    )


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_reward_of_the_same_pictures_rises_and_every_step_is_logged(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = rewarded(
        make_recipe,
        training={"steps": 16, "batch_size": 4},
        optimizer={"lr": 5e-2},
        rerefl={"window": [1, 4], "flow_weight": 0.0},
    )
    run = Session(recipe, tmp_path / "run", Ranks(CPU), load_backbone(Path(recipe.base)))
    method = ReReFL(recipe.rerefl, recipe.rollout, Brightness())
    run.resume()
    run.chosen = Chosen(method, None)
    before = rewards_of(run, method)
    for _ in range(16):
        run.take_step()
        run._after_step(Trackers((), tmp_path, {}), None)
    assert float(rewards_of(run, method).mean()) > float(before.mean()) + 1e-3
    told = rows(tmp_path / "run")
    assert [row["step"] for row in told] == list(range(1, 17))
    assert all("reward" in row and "grad_norm" in row for row in told)


def rewards_of(run: Session, method: ReReFL) -> Tensor:
    """Of the first two batches, with the weights as they are."""
    held, run.update, step = run.update, lambda passes: None, run.step  # type: ignore[method-assign, assignment]
    found = []
    for number in (0, 1):
        run.step = number
        found += [seen.parts["reward"] for seen in method.step(run)]
        for param in run.params.values():
            param.grad = None
    run.update, run.step = held, step  # type: ignore[method-assign]
    return torch.cat(found)


def test_the_gradient_is_that_of_algorithm_1_written_out(
    make_recipe: MakeRecipe, tiny: Path, tmp_path: Path
) -> None:
    """A second, slow implementation of one step: one picture after the other, by hand."""
    recipe = rewarded(make_recipe, rerefl={"window": [1, 3], "flow_weight": 0.7}, seed=3)
    run = Session(recipe, tmp_path / "run", Ranks(CPU), load_backbone(tiny))
    randomize(run)
    method = ReReFL(recipe.rerefl, recipe.rollout, Brightness())
    caught: dict[str, Tensor] = {}
    run.update = lambda passes: caught.update(  # type: ignore[method-assign]
        {name: p.grad.clone() for name, p in run.params.items() if p.grad is not None}
    )
    method.step(run)
    for param in run.params.values():
        param.grad = None
    slow_step(run, recipe)
    assert caught
    for name, param in run.params.items():
        if param.grad is None:
            assert name not in caught or not caught[name].any()
        else:
            torch.testing.assert_close(caught[name], param.grad, atol=2e-6, rtol=2e-3)


def randomize(run: Session) -> None:
    """An adapter at zero would hide half of the gradient."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in run.params.values():
            param.copy_(torch.randn(param.shape, generator=generator) * 0.1)


def slow_step(run: Session, recipe: Any) -> None:
    from personae.diffusion.backbone import Context
    from personae.training.objective import sample_times
    from personae.training.rerefl import gradient_steps
    from personae.training.rolling import rollout_noise

    backbone, steps = run.backbone, recipe.rollout.steps
    batch, draws = run.batch(0)
    number = run.number(0)
    times = backbone.times(steps, 64, 64)
    seed = [recipe.seed, number, 1]
    noise = rollout_noise(seed, batch.image)
    last = gradient_steps(recipe.rerefl.window, steps, len(batch), seed)
    total = torch.zeros(())
    for i in range(len(batch)):
        row = slice(i, i + 1)
        text = backbone.encode_tokens(batch.tokens[row], batch.mask[row]).detach()
        told = Context(text, tuple(item[row] for item in batch.references))
        untold = Context(text)
        t = sample_times(draws.normal[row], recipe.times)
        mixed = (1 - t) * batch.image[row] + t * draws.noise[row]
        error = backbone.predict(mixed, t, told) - (draws.noise[row] - batch.image[row])
        x = noise[row]
        with torch.no_grad():
            for step in range(int(last[i])):
                here = times[step : step + 1]
                plain = backbone.predict(x, here, untold)
                v = plain + 2.0 * (backbone.predict(x, here, told) - plain)
                x = x + (times[step + 1] - times[step]) * v
        here = times[int(last[i])].view(1)
        plain = backbone.predict(x, here, untold)
        v = plain + 2.0 * (backbone.predict(x, here, told) - plain)
        picture = backbone.decode(x - here * v)
        total = total + 0.7 * error.square().mean() - picture.mean()
    (total / len(batch)).backward()  # type: ignore[no-untyped-call]


def test_a_picture_that_cannot_be_measured_moves_nothing_and_is_named(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = rewarded(
        make_recipe, training={"steps": 1}, rerefl={"window": [1, 3], "flow_weight": 0.0}
    )
    run = Session(recipe, tmp_path / "run", Ranks(CPU), load_backbone(Path(recipe.base)))
    before = {name: param.detach().clone() for name, param in run.params.items()}
    method = ReReFL(recipe.rerefl, recipe.rollout, Brightness(blind=(0, 1)))
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0
    (seen,) = method.step(run)
    assert len(seen.notes) == 2 and all("too dark" in note for note in seen.notes)
    assert torch.isnan(seen.parts["reward"]).all()
    for name, param in run.params.items():
        assert torch.equal(param, before[name])


def test_a_stopped_run_ends_with_the_same_weights_to_the_bit(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "rerefl": {"window": [1, 3], "gradient_steps": 2, "penalty": 0.1},
        "optimizer": {"lr": 1e-2},
    }
    for name, stops in (("whole", [5]), ("parts", [2, 5])):
        for steps in stops:
            recipe = rewarded(make_recipe, training={"steps": steps, "save_every": 1}, **sections)
            finetune(recipe, tmp_path / name, resume=steps == 5, reward=Brightness())
    ends = [
        load_file(checkpoints(tmp_path / name / "checkpoints")[-1] / "weights.safetensors")
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert any(key.endswith("lora_B.default.weight") and ends[0][key].any() for key in ends[0])


def test_rewards_are_told_nouns_and_references(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    reward = Brightness()
    recipe = rewarded(make_recipe, training={"steps": 2})
    finetune(recipe, tmp_path / "run", reward=reward)
    for asked in reward.asked:
        assert len(asked) == 2
        for one in asked:
            assert list(one.subjects) in (["1"], ["1", "2"])
            assert "in a park" in one.prompt
            assert all(held[0].image.shape == (64, 64, 3) for held in one.subjects.values())


def test_the_penalty_is_zero_at_first_and_holds_the_adapter_back(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    drift = {}
    for penalty in (1e-6, 3.0):
        recipe = rewarded(
            make_recipe,
            training={"steps": 8, "batch_size": 4},
            optimizer={"lr": 5e-2},
            rerefl={"window": [1, 3], "flow_weight": 0.0, "penalty": penalty},
        )
        out = tmp_path / f"{penalty}"
        finetune(recipe, out, reward=Brightness())
        told = [row["penalty"] for row in rows(out)]
        assert told[0] == 0
        drift[penalty] = sum(told[-3:])
    assert 0 < drift[3.0] < drift[1e-6] / 2


def test_what_does_not_fit_is_said_before_the_first_step(make_recipe: MakeRecipe) -> None:
    with pytest.raises(RequestError, match="do not fit rollouts of 4 steps"):
        ReReFL(ReReflRecipe(window=(1, 10)), RolloutRecipe(steps=4), Brightness())
    blind = Brightness()
    blind.differentiable = False
    with pytest.raises(RequestError, match="grpo"):
        ReReFL(ReReflRecipe(window=(1, 2)), RolloutRecipe(steps=4), blind)
    with pytest.raises(RequestError, match="Ts <= Te"):
        ReReflRecipe(window=(3, 2))
    with pytest.raises(DataError, match="rewards"):
        make_recipe(rewards={})


def test_draws_of_rollouts_are_not_those_of_the_flow_loss() -> None:
    from personae.training.rolling import rollout_noise

    draws = draws_for(0, 5, (2, 3, 4, 4), caption_dropout=0, reference_dropout=0)
    noise = rollout_noise([0, 5, 1], draws.noise)
    assert noise.shape == draws.noise.shape
    assert float((noise - draws.noise).abs().min()) >= 0 and not torch.equal(noise, draws.noise)
    assert torch.equal(noise, rollout_noise([0, 5, 1], draws.noise))

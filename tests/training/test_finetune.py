"""The loop: it learns, resumes to the bit, stops well, and says which example broke it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from personae.data.examples import Example
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.errors import DataError, RequestError, WeightsError, WorkError
from personae.training.checkpoint import checkpoints
from personae.training.finetune import finetune
from personae.training.methods import Finetuning
from personae.training.processes import Ranks
from personae.training.recipe import Recipe
from personae.training.session import Session
from personae.training.stopping import Stop
from tests.training.conftest import MakeRecipe


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[Any, ...]]:
    """What of the log does not depend on the clock."""
    return [(r["step"], r["loss"], r["loss_by_time"], r["grad_norm"], r["lr"]) for r in rows(out)]


def last(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    folder = checkpoints(out / "checkpoints")[-1]
    names = ("weights", "ema", "optimizer")
    return {name: load_file(folder / f"{name}.safetensors") for name in names}


def fixed_loss(run: Session) -> float:
    """Mean loss of all examples at fixed times and noise."""
    from personae.training.batches import collate, draws_for
    from personae.training.objective import flow_matching_loss

    total = []
    for name, bucket in run.store.buckets.items():
        shape = tuple(bucket.image.shape)
        draws = draws_for(123, 0, shape, caption_dropout=0, reference_dropout=0)
        batch = collate(run.store, name, np.arange(len(bucket)), draws, run.ranks.device)
        time = torch.linspace(0.1, 0.9, len(bucket))
        with torch.no_grad():
            total.append(flow_matching_loss(run.backbone, batch, time, draws.noise))
    return float(torch.cat(total).mean())


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_loss_falls_on_a_few_examples(
    make_recipe: MakeRecipe, backbone: Backbone, tmp_path: Path, name: str
) -> None:
    recipe = make_recipe(
        training={"steps": 40, "caption_dropout": 0.0, "train_text_encoder": True},
        optimizer={"name": name, "lr": 5e-3},
    )
    run = Session(recipe, tmp_path / "run", Ranks(torch.device("cpu")), backbone)
    before = fixed_loss(run)
    run.resume()
    run.train(Stop(None))
    assert fixed_loss(run) < 0.85 * before


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_resuming_is_exact_to_the_bit(make_recipe: MakeRecipe, tmp_path: Path, name: str) -> None:
    settings = {
        "ema_decay": 0.9,
        "train_text_encoder": True,
        "accumulate": 2,
        "log_every": 2,
        "reference_dropout": 0.3,
    }
    # 3 is in the middle of a row of the log, and of an epoch.
    optimizer = {"name": name, "schedule": "cosine", "warm_up": 2}

    def recipe(**more: Any) -> Recipe:
        return make_recipe(training={**settings, "steps": 6, **more}, optimizer=optimizer)

    finetune(recipe(), tmp_path / "whole")
    stopped = finetune(recipe(max_seconds=1e-6), tmp_path / "parts")
    assert (stopped.steps, stopped.stopped, stopped.saved) == (1, "max_seconds", None)
    stopped = finetune(recipe(), tmp_path / "parts", resume=True, progress=_stop_at(3))
    assert (stopped.steps, stopped.stopped) == (3, "SIGTERM")
    done = finetune(recipe(), tmp_path / "parts", resume=True)
    assert (done.steps, done.stopped) == (6, None)
    whole, parts = last(tmp_path / "whole"), last(tmp_path / "parts")
    for part, tensors in whole.items():
        assert tensors.keys() == parts[part].keys()
        assert tensors, part
        for key, tensor in tensors.items():
            assert torch.equal(tensor, parts[part][key]), (part, key)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")


def test_the_log_of_a_resumed_run_is_that_of_a_whole_one(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    finetune(make_recipe(training={"steps": 6}), tmp_path / "whole")
    finetune(make_recipe(training={"steps": 6, "save_every": 3}), tmp_path / "parts")
    newest = checkpoints(tmp_path / "parts" / "checkpoints")[-1]
    (newest / "state.json").unlink()  # as if the process had been killed before it was whole
    with (tmp_path / "parts" / "log.jsonl").open("a") as stream:
        stream.write('{"step": 7, "lo')
    finetune(make_recipe(training={"steps": 6}), tmp_path / "parts", resume=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert [row["step"] for row in rows(tmp_path / "parts")] == [1, 2, 3, 4, 5, 6]


def test_a_bad_example_is_skipped_and_named_until_there_are_too_many(
    make_recipe: MakeRecipe, backbone: Backbone, tmp_path: Path
) -> None:
    recipe = make_recipe(training={"batch_size": 6, "max_skipped": 2})
    run = Session(recipe, tmp_path / "run", Ranks(torch.device("cpu")), backbone)
    run.resume()
    name, rows_ = next(run.plan[k] for k in range(len(run.plan)) if len(run.plan[k][1]) == 4)
    assert sorted(rows_) == [0, 1, 2, 3]
    run.store.buckets[name].image[2, 0, 0, 0] = float("nan")
    bad = [step for step in range(12) if run.plan[step][0] == name][:3]
    for step in range(bad[2]):
        before = {key: param.detach().clone() for key, param in run.params.items()}
        run.take_step()
        same = all(torch.equal(param, before[key]) for key, param in run.params.items())
        assert same == (step in bad)
    before = {key: param.detach().clone() for key, param in run.params.items()}
    with pytest.raises(WorkError, match=r"loss of e2 is not finite.*max_skipped is 2.*--resume"):
        run.take_step()
    assert run.skipped == 3
    for key, param in run.params.items():
        assert torch.equal(param, before[key])
        assert param.grad is None
    told = [row for row in rows(tmp_path / "run") if "skipped" in row]
    assert [(row["step"], row["skipped"]) for row in told] == [
        (step + 1, "loss of e2") for step in bad
    ]


def test_a_gradient_that_is_not_finite_stops_too(
    make_recipe: MakeRecipe, backbone: Backbone, tmp_path: Path
) -> None:
    recipe = make_recipe(training={"max_skipped": 0})
    run = Session(recipe, tmp_path / "run", Ranks(torch.device("cpu")), backbone)
    run.resume()
    param = next(iter(run.params.values()))
    param.register_hook(lambda grad: grad * float("inf"))
    before = {key: item.detach().clone() for key, item in run.params.items()}
    with pytest.raises(WorkError, match="gradient of e"):
        run.take_step()
    assert all(torch.equal(item, before[key]) for key, item in run.params.items())


def test_a_signal_stops_behind_a_step_with_a_checkpoint(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    recipe = make_recipe(training={"steps": 50})
    result = finetune(recipe, tmp_path / "run", progress=_stop_at(2))
    assert (result.steps, result.stopped) == (2, "SIGTERM")
    assert result.saved is None
    assert checkpoints(tmp_path / "run" / "checkpoints")[-1].name == f"step-{result.steps:08d}"
    assert signal.getsignal(signal.SIGTERM) is before


def test_all_weights_are_saved_as_a_model_that_loads(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(training={"ema_decay": 0.5, "train_text_encoder": True})
    result = finetune(recipe, tmp_path / "run")
    assert result.saved == tmp_path / "run" / "model"
    again = load_backbone(result.saved)
    ema = last(tmp_path / "run")["ema"]
    for key, tensor in ema.items():
        place, _, name = key.partition(".")
        module = again.denoiser if place == "denoiser" else again.text_encoder
        saved = dict(module.named_parameters())[name]
        assert torch.equal(saved, tensor.to(torch.bfloat16).float()), key
    stored = load_file(result.saved / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_an_adapter_is_saved_and_loads_back(
    make_recipe: MakeRecipe, backbone: Backbone, tiny: Path, tmp_path: Path
) -> None:
    from personae.diffusion.backbone import Context
    from personae.diffusion.lora import load_lora

    recipe = make_recipe(lora={"rank": 2}, optimizer={"lr": 1e-2})
    result = finetune(recipe, tmp_path / "run", backbone=backbone)
    assert result.saved == tmp_path / "run" / "adapter"
    assert all("lora" in name for name in last(tmp_path / "run")["weights"])
    fresh, plain = load_backbone(tiny), load_backbone(tiny)
    load_lora(fresh, result.saved)
    x = torch.randn(1, *fresh.latent_shape(64, 64), generator=torch.Generator().manual_seed(0))
    asked = (x, torch.tensor([0.5]), Context(fresh.encode_prompt(["girl 1"]), (x,)))
    with torch.no_grad():
        answers = [model.predict(*asked) for model in (backbone, fresh, plain)]
    torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=1e-4)
    assert (answers[0] - answers[2]).abs().max() > 1e-3


def test_a_run_begins_as_the_adapter_of_another(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    first = finetune(make_recipe(lora={"rank": 2}, optimizer={"lr": 1e-2}), tmp_path / "first")
    stored = load_file(first.saved / "pytorch_lora_weights.safetensors")
    start = {"rank": 2, "start": str(first.saved)}
    standing = {"lr": 1e-30, "weight_decay": 0.0}
    finetune(make_recipe(lora=start, optimizer=standing), tmp_path / "second")
    held = last(tmp_path / "second")["weights"]
    assert len(held) == len(stored)
    for name, value in stored.items():
        layer, part, end = name.removeprefix("transformer.").rsplit(".", 2)
        torch.testing.assert_close(held[f"denoiser.{layer}.{part}.default.{end}"], value)
    assert losses(tmp_path / "second")[0] != losses(tmp_path / "first")[0]
    with pytest.raises(WeightsError, match=r"expected .* rank 3, .* got rank 2"):
        finetune(make_recipe(lora={**start, "rank": 3}), tmp_path / "third")


@pytest.mark.parametrize("lora", [None, {"rank": 2}])
def test_bf16_computes_and_keeps_trained_weights_in_float32(
    make_recipe: MakeRecipe, tmp_path: Path, lora: dict[str, int] | None
) -> None:
    recipe = make_recipe(
        lora=lora, training={"precision": "bf16", "steps": 2}, samples={"every": 2, "count": 1}
    )
    result = finetune(recipe, tmp_path / "run")
    assert result.steps == 2
    weights = last(tmp_path / "run")["weights"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_gradient_checkpointing_changes_nothing_but_memory(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    training = {"steps": 2, "train_text_encoder": True}
    finetune(make_recipe(training=training), tmp_path / "plain")
    training["gradient_checkpointing"] = True
    finetune(make_recipe(training=training), tmp_path / "checkpointed")
    for plain, other in zip(
        losses(tmp_path / "plain"), losses(tmp_path / "checkpointed"), strict=True
    ):
        assert plain[1] == pytest.approx(other[1], rel=1e-4)
        assert plain[3] == pytest.approx(other[3], rel=1e-3)


def test_accumulating_is_one_larger_batch(
    make_recipe: MakeRecipe, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = {}
    for accumulate in (1, 3):
        recipe = make_recipe(training={"accumulate": accumulate, "caption_dropout": 0.0})
        run = Session(recipe, tmp_path / "run", Ranks(torch.device("cpu")), load_backbone(tiny))
        seen = []
        for step in range(3 if accumulate == 1 else 1):
            run.step = step
            Finetuning().passes(run)
            seen.append({k: p.grad.clone() for k, p in run.params.items() if p.grad is not None})
            for param in run.params.values():
                param.grad = None
        name = "slow" if accumulate == 1 else "fast"
        gradients[name] = {k: sum(item[k] for item in seen) / len(seen) for k in seen[0]}
    assert gradients["slow"].keys() == gradients["fast"].keys()
    for key, slow in gradients["slow"].items():
        torch.testing.assert_close(gradients["fast"][key], slow, atol=1e-6, rtol=1e-4)


def test_sample_sheets_and_the_judges_numbers(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    seen = []

    def judge(examples: Any, drawn: Any) -> dict[str, float]:
        seen.append((examples, drawn))
        return {"brightness": float(np.mean([picture.mean() for picture in drawn]))}

    recipe = make_recipe(samples={"every": 2, "count": 5, "steps": 1})
    finetune(recipe, tmp_path / "run", judge=judge)
    sheet = np.asarray(Image.open(tmp_path / "run" / "samples" / "step-00000004.png"))
    examples, drawn = seen[1]
    assert [example.id for example in examples] == ["e0", "e1", "e2", "e3", "e4"]
    assert all(isinstance(example, Example) for example in examples)
    # A row each: up to two references, the target, the picture; gaps of 6.
    assert sheet.shape == (6 + 5 * 70, 6 + 2 * 70 + 2 * 70, 3)
    assert np.array_equal(sheet[6:70, 6:70], examples[0].references[0])
    assert np.array_equal(sheet[6:70, 146:210], examples[0].image)
    assert np.array_equal(sheet[6:70, 216:280], drawn[0])
    told = [row for row in rows(tmp_path / "run") if "brightness" in row]
    assert [row["step"] for row in told] == [2, 4]


def test_a_folder_with_a_run_is_not_written_over(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(training={"steps": 1})
    finetune(recipe, tmp_path / "run")
    with pytest.raises(RequestError, match="--resume"):
        finetune(recipe, tmp_path / "run")
    other = replace(recipe, seed=1)
    with pytest.raises(RequestError, match="seed differ"):
        finetune(other, tmp_path / "run", resume=True)
    longer = replace(recipe, training=replace(recipe.training, steps=2))
    assert finetune(longer, tmp_path / "run", resume=True).steps == 2


def test_a_damaged_checkpoint_says_what_to_do(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(training={"steps": 1})
    finetune(recipe, tmp_path / "run")
    newest = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    (newest / "ema.safetensors").write_bytes(b"short")
    with pytest.raises(DataError, match="delete this folder"):
        finetune(recipe, tmp_path / "run", resume=True)


def test_only_the_last_checkpoints_are_kept(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe(training={"steps": 4, "save_every": 1, "keep": 2})
    finetune(recipe, tmp_path / "run")
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert sorted(names) == ["step-00000003", "step-00000004"]


def _stop_at(step: int) -> Callable[[int, int], None]:
    """Progress that asks this process to end once so many steps are done."""

    def tell(done: int, total: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return tell

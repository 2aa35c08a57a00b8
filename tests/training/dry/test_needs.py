"""What a dry run says of memory, disk, time and operations is what a run needs."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
import torch

from personae.diffusion.configs import KNOWN_MODELS, build_on_meta, read_configs
from personae.diffusion.decoder import new_small_decoder, save_small_decoder
from personae.diffusion.load import load_backbone
from personae.diffusion.sized import build_sized, count_flops, shrunk
from personae.training.base_check import Base, look_at_base
from personae.training.data_check import Shape
from personae.training.dry_run import dry_run
from personae.training.finetune import finetune
from personae.training.flops import decoder_cost, denoiser_flops, picture_flops
from personae.training.recipe import read_recipe
from personae.training.recipe_check import read_whole
from personae.training.trained import trained_numbers
from personae.training.work import step_flops
from tests.training.dry.told import wheres
from tests.training.rewards.fakes import Brightness

KLEIN = "black-forest-labs/FLUX.2-klein-base-4B"


def test_too_little_disk_memory_and_no_compiler(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("personae.training.dry_run.available_memory", lambda _: 5000)
    run = dry_run(recipe, tmp_path / "run", ["training.compile=true"])
    assert sorted(wheres(run)) == ["--out", "device", "training.compile"]
    told = " ".join(map(str, run.mistakes))
    assert "1000 B free" in told
    assert "4.9 KiB free on cpu" in told
    needed = run.memory.certain if run.memory else 0
    monkeypatch.setattr("personae.training.dry_run.available_memory", lambda _: needed + 5)
    run = dry_run(recipe, tmp_path / "run")
    assert "device" not in wheres(run)
    assert any("memory will hardly do" in item.text for item in run.remarks)


@pytest.mark.parametrize(
    "settings", [[], ["optimizer.name=muon", "training.ema_decay=0", "training.keep=1"]]
)
@pytest.mark.usefixtures("with_weights")
def test_what_it_says_is_what_a_run_needs(
    recipe: Path, tmp_path: Path, settings: list[str]
) -> None:
    out = tmp_path / "run"
    told = dry_run(recipe, out, settings)
    assert told.mistakes == ()
    finetune(read_recipe(recipe, settings), out, reward=Brightness())
    newest = max((out / "checkpoints").glob("step-*"))
    sizes = {path.stem: path.stat().st_size for path in newest.glob("*.safetensors")}
    assert told.memory is not None
    held = told.memory.held
    assert sizes["weights"] == pytest.approx(held["adapter"], rel=0.3)
    assert sizes["optimizer"] == pytest.approx(held["optimizer"], rel=0.5)
    assert ("mean of the weights" in held) is (sizes["ema"] > 1000)
    whole = sum(path.stat().st_size for path in out.rglob("*.safetensors"))
    assert 0.4 * sum(told.disk.values()) < whole < 1.3 * sum(told.disk.values())
    again = dry_run(recipe, out, [*settings, "training.steps=100"], resume=True)
    assert again.time is not None
    assert "log" in again.time.source
    assert again.time.total == pytest.approx(96 * again.time.per_step)


def test_no_more_seconds_than_the_recipe_allows(recipe: Path, tmp_path: Path) -> None:
    run = dry_run(recipe, tmp_path / "run", ["training.max_seconds=1e-9"])
    assert run.time is not None
    assert run.time.total == 1e-9


def on_meta(name: str, tmp_path: Path) -> tuple[Base, Path]:
    path = tmp_path / "r.toml"
    path.write_text(f'base = "{name}"\n[data.toons]\n')
    base, _ = look_at_base(read_recipe(path))
    assert base is not None
    return base, path


def test_operations_agree_with_those_that_torch_counts() -> None:
    configs = shrunk(KNOWN_MODELS[KLEIN], tiny=True)
    base = Base(configs, {name: build_on_meta(part) for name, part in configs.parts.items()})
    counted = count_flops(build_sized(configs, "meta", torch.float32), 64, 96, references=2)
    ours = denoiser_flops(base.denoiser, text=32, picture=4 * 6, references=2 * 4 * 4)
    assert ours == pytest.approx(counted.forward, rel=1e-6)
    assert decoder_cost(base, None, 64, 96)[0] == pytest.approx(counted.decode, rel=1e-6)


@pytest.mark.usefixtures("with_weights")
def test_the_decoder_keeps_what_is_kept_when_it_runs(tiny: Path, tmp_path: Path) -> None:
    backbone = load_backbone(tiny)
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    latents = torch.randn(1, *backbone.latent_shape(64, 96)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        backbone.decode(latents)
    weights = {p.untyped_storage()._cdata for p in backbone.pipeline.vae.parameters()}
    seen = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in weights)
    base, _ = on_meta(str(tiny), tmp_path)
    assert decoder_cost(base, None, 64, 96)[1] == pytest.approx(seen, rel=0.02)


@pytest.mark.usefixtures("with_weights")
def test_a_small_decoder_is_counted_instead(recipe: Path, tiny: Path, tmp_path: Path) -> None:
    folder = save_small_decoder(
        new_small_decoder(load_backbone(tiny), 8, (1, 1, 1, 1)), tmp_path / "d"
    )
    whole = dry_run(recipe, tmp_path / "run")
    small = dry_run(recipe, tmp_path / "run", [f"rerefl.decoder={folder}"])
    assert small.mistakes == ()
    assert small.memory is not None
    assert whole.memory is not None
    name = "step with a gradient, decoder"
    assert small.memory.stages[name] < whole.memory.stages[name]
    (folder / "config.json").write_text('{"latent_channels": 3}')
    assert wheres(dry_run(recipe, tmp_path / "run", [f"rerefl.decoder={folder}"])) == [
        "rerefl.decoder"
    ]


def test_steps_cost_what_they_are_made_of(recipe: Path, tmp_path: Path) -> None:
    def cost(*settings: str) -> dict[str, float]:
        made = read_recipe(recipe, settings)
        base, _ = look_at_base(made)
        assert base is not None
        flops = picture_flops(made, base, Shape("64x64+64x64", 1.0), 0.0)
        return {
            k: v / flops.denoiser
            for k, v in step_flops(made, base.configs.limits, flops, 0).step.items()
        }

    plain = cost("rollout.steps=4", "rerefl.window=[1,3]")
    assert plain["flow matching"] == 2 * 2  # two pictures, there and back, below an adapter
    assert plain["rollout"] == 2 * 2  # four steps less two on average
    assert plain["step with a gradient"] == 2 * 2
    guided = cost("rollout.steps=4", "rerefl.window=[1,3]", "rollout.guidance=4.0")
    assert guided["rollout"] == 2 * plain["rollout"]
    assert cost("training.accumulate=3")["rollout"] == 3 * cost()["rollout"]
    assert cost("training.gradient_checkpointing=true")["flow matching"] == 2 * 3
    assert "prompts" not in cost("data.cache_text=true")


def test_competing_pictures_are_counted(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace("[rerefl]\nwindow = [1, 2]\n", "")
    more = "[grpo]\ngroup = 3\nprompts = 2\nwindow = 2\nminibatch = 3\nslide_every = 0\n"
    recipe.write_text(text + more)
    run = dry_run(recipe, tmp_path / "run")
    assert run.mistakes == ()
    assert run.plan["pictures_a_step"] == 6
    assert run.memory is not None
    assert set(run.memory.stages) >= {"rollout", "steps with a gradient", "decoder"}
    assert wheres(dry_run(recipe, tmp_path / "run", ["grpo.window=9"])) == ["grpo.window"]
    mistake, *_ = read_whole(recipe, ["grpo.prompts=3"]).mistakes
    assert "training.batch_size must be 3" in mistake.came


def test_all_weights_are_counted(tiny: Path, tmp_path: Path) -> None:
    base, path = on_meta(str(tiny), tmp_path)
    numbers = {
        name: sum(p.numel() for p in base.modules[name].parameters())
        for name in ("transformer", "text_encoder")
    }
    assert trained_numbers(read_recipe(path), base).total == numbers["transformer"]
    both = read_recipe(path, ["training.train_text_encoder=true"])
    assert trained_numbers(both, base).total == sum(numbers.values())
    assert read_configs(tiny).pipeline_class == base.configs.pipeline_class

"""What is told of a step's operations, by hand and against what a step really calls."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from personae.training.base_check import look_at_base
from personae.training.data_check import Shape, look_at_data
from personae.training.dry_run import dry_run
from personae.training.finetune import finetune
from personae.training.flops import PictureFlops, picture_flops
from personae.training.recipe import Recipe, read_recipe
from personae.training.work import Work, step_flops
from tests.data.cast import toon_cast
from tests.diffusion.families import save_tiny

EVERY = 2 * 3  # pictures a step: of a pass, and passes


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toon_cast(tmp_path_factory.mktemp("cast"))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "sdxl", "sdxl")


@pytest.fixture
def path(sdxl: Path, cast: Path, tmp_path: Path) -> Path:
    made = tmp_path / "mudi.toml"
    made.write_text(
        f'base = "{sdxl}"\ndevice = "cpu"\n[data]\nsizes = [[64, 64]]\nworkers = 1\n'
        f'folder = "{tmp_path / "latents"}"\n[data.cast]\nfile = "{cast}"\ncount = 8\n'
        "[training]\nsteps = 1\nbatch_size = 2\naccumulate = 3\nlog_every = 1\n"
    )
    return made


def counted(recipe: Recipe) -> tuple[Work, PictureFlops]:
    base, _ = look_at_base(recipe)
    assert base is not None
    flops = picture_flops(recipe, base, Shape("64x64", 1.0), 0.0)
    return step_flops(recipe, base.configs.limits, flops, 0.0), flops


LORA = "lora.rank=4"


def test_by_hand(path: Path, cast: Path) -> None:
    """Each line of the table, in passes of the denoiser and of the text encoders."""

    def passes(*settings: str) -> dict[str, float]:
        work, flops = counted(read_recipe(path, settings))
        units = {"prompts": flops.text, "the model before": flops.frozen}
        return {k: v / units.get(k, flops.denoiser) for k, v in work.step.items()}

    plain = {"flow matching": 2.0 * EVERY, "prompts": 1.0 * EVERY}  # there and back
    assert passes(LORA) == pytest.approx(plain)
    before = {"the model before": 1.0 * EVERY}
    assert passes(LORA, "objective.dco_beta=1000.0") == pytest.approx(plain | before)
    assert passes(LORA, "objective.kl_weight=1.0") == pytest.approx(plain | before)
    both = passes(LORA, "objective.kl_weight=1.0", "objective.dco_beta=1.0")
    assert both == pytest.approx(plain | before), "both look at one answer"
    prior = f"data.cast.prior={cast}"
    beside = {"priors": 2.0 * EVERY, "prompts": 2.0 * EVERY}
    assert passes(LORA, prior) == pytest.approx(plain | beside)
    assert passes(LORA, prior, "objective.prior_weight=0.0") == pytest.approx(plain)
    assert passes(LORA, prior, "objective.dco_beta=1.0") == pytest.approx(plain | before | beside)
    again = passes(LORA, prior, "training.gradient_checkpointing=true")
    assert again["flow matching"] == again["priors"] == pytest.approx(3 * EVERY)
    words = {"flow matching": 2.0 * EVERY, "prompts": 2.0 * EVERY}
    assert passes("tokens.alone=true") == pytest.approx(words)
    assert passes(LORA, "tokens.alone=false") == pytest.approx(words)
    whole = {"flow matching": 3.0 * EVERY, "prompts": 1.0 * EVERY}
    assert passes() == pytest.approx(whole)
    learned = passes("training.train_text_encoder=true")
    assert learned == pytest.approx(whole | {"prompts": 3.0 * EVERY})


def test_the_model_before_has_no_adapter(path: Path) -> None:
    _, bare = counted(read_recipe(path))
    _, flops = counted(read_recipe(path, [LORA]))
    assert flops.frozen == bare.denoiser == bare.frozen < flops.denoiser


@pytest.mark.parametrize(
    "settings",
    [
        [LORA],
        [LORA, "objective.dco_beta=10.0"],
        [LORA, "objective.kl_weight=1.0", "objective.dco_beta=10.0", "prior"],
        ["tokens.alone=true"],
        [LORA, "tokens.alone=false", "prior"],
        ["training.train_text_encoder=true"],
    ],
)
@pytest.mark.usefixtures("with_weights")
def test_a_step_makes_these_passes(
    path: Path, cast: Path, tmp_path: Path, settings: list[str]
) -> None:
    """Passes of a real step are counted as they are made: pictures by kind."""
    from personae.diffusion.load import load_backbone

    settings = [f"data.cast.prior={cast}" if one == "prior" else one for one in settings]
    recipe = read_recipe(path, settings)
    backbone, seen = load_backbone(recipe.base), {"with": 0, "without": 0, "read": 0}

    def drawn(module: torch.nn.Module, given: object, said: tuple[torch.Tensor, ...]) -> None:
        seen["with" if torch.is_grad_enabled() else "without"] += len(said[0])

    def read(module: torch.nn.Module, given: tuple[torch.Tensor, ...], said: object) -> None:
        if len(given[0]) == 2:  # a batch, not the empty prompt
            seen["read"] += len(given[0]) * (2 if torch.is_grad_enabled() else 1)

    backbone.denoiser.register_forward_hook(drawn)
    backbone.text_encoder.register_forward_hook(read)
    finetune(recipe, tmp_path / "run", backbone=backbone)
    work, flops = counted(recipe)
    there_and_back = 3 if recipe.lora is None and recipe.tokens is None else 2
    told = (work.step["flow matching"] + work.step.get("priors", 0)) / flops.denoiser
    assert told == pytest.approx(there_and_back * seen["with"])
    assert work.step.get("the model before", 0) / flops.frozen == pytest.approx(seen["without"])
    if not recipe.training.train_text_encoder:
        assert work.step["prompts"] / flops.text == pytest.approx(seen["read"])


def test_priors_are_encoded_and_kept_too(path: Path, cast: Path, tmp_path: Path) -> None:
    plain = dry_run(path, tmp_path / "run", [LORA])
    prior = dry_run(path, tmp_path / "run", [LORA, f"data.cast.prior={cast}"])
    assert plain.mistakes == prior.mistakes == ()
    assert plain.plan["examples"] == prior.plan["examples"] == 8
    (kept,) = {folder for folder in plain.disk if folder.name == "latents"}
    assert prior.disk[kept] == 2 * plain.disk[kept]
    assert plain.memory is not None and prior.memory is not None
    assert prior.memory.held["latents"] == 2 * plain.memory.held["latents"]
    facts, _ = look_at_data(read_recipe(path, [LORA, f"data.cast.prior={cast}"]), None, 8)
    assert facts is not None and (facts.examples, facts.priors, facts.stored) == (8, 8, 16)


def test_what_is_said_of_the_model_before_takes_room(path: Path, tmp_path: Path) -> None:
    plain = dry_run(path, tmp_path / "run", [LORA])
    before = dry_run(path, tmp_path / "run", [LORA, "objective.kl_weight=1.0"])
    assert plain.memory is not None and before.memory is not None
    more, less = (run.memory.stages["flow matching"] for run in (before, plain))
    assert less < more < 2 * less

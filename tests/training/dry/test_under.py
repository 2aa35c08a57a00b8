"""An adapter under the one that is trained: a dry run looks at it, and counts both as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from personae.diffusion.lora import COMFY_FILE, DIFFUSERS_FILE, add_lora, save_lora
from personae.diffusion.sized import build_sized
from personae.errors import WeightsError
from personae.training.dry_run import dry_run
from personae.training.finetune import finetune
from personae.training.recipe import read_recipe
from tests.diffusion.families import save_tiny, tiny_configs
from tests.training.dry.told import wheres

TARGETS = "attn1.to_q"


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "sdxl", "sdxl")


@pytest.fixture(scope="module")
def under(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of rank 3, on fewer layers than a recipe takes by itself."""
    backbone = build_sized(tiny_configs("sdxl"), "cpu", torch.float32)
    add_lora(backbone, 3, 3, [TARGETS])
    return save_lora(backbone, tmp_path_factory.mktemp("under")).parent


@pytest.fixture
def path(sdxl: Path, under: Path, examples: Path, tmp_path: Path) -> Path:
    made = tmp_path / "again.toml"
    made.write_text(
        f'base = "{sdxl}"\ndevice = "cpu"\n[data]\nfile = "{examples}"\nsizes = [[64, 64]]\n'
        f'workers = 1\nfolder = "{tmp_path / "latents"}"\n[training]\nsteps = 1\nbatch_size = 2\n'
        f'[lora]\nrank = 2\nunder = "{under}"\n[objective]\nkl_weight = 1.0\n'
    )
    return made


@pytest.mark.usefixtures("with_weights")
def test_both_as_one_are_counted_on_disk(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    told = dry_run(path, out)
    bare = tmp_path / "bare.toml"
    bare.write_text(path.read_text().replace("under = ", "# under = "))
    alone = dry_run(bare, out)
    assert told.mistakes == ()
    finetune(read_recipe(path), out)
    together = load_file(out / "together" / DIFFUSERS_FILE)
    ranks = {value.shape[0] for name, value in together.items() if "lora_A" in name}
    assert ranks == {2 + 3}
    size = sum(value.nbytes for value in together.values())
    assert told.disk[out] - alone.disk[out] == size


def test_it_is_looked_at_before_anything_is_loaded(path: Path, under: Path, tmp_path: Path) -> None:
    def mistake(source: Path) -> str:
        run = dry_run(path, tmp_path / "run", [f"lora.under={source}"])
        assert wheres(run) == ["lora.under"]
        (item,) = run.mistakes
        assert all((item.expected, item.came, item.do))
        return str(item)

    assert "that save_lora wrote" in mistake(tmp_path / "none")
    held = load_file(under / DIFFUSERS_FILE)
    for name, change, words in (
        ("wide", lambda k, v: (k, torch.zeros(3, 99) if "lora_A" in k else v), "A (3, 99)"),
        ("half", lambda k, v: (k if "lora_A" in k else k + "s", v), "B none"),
        ("other", lambda k, v: (k.replace("unet.", "transformer."), v), "got transformer."),
        ("layer", lambda k, v: (k.replace("attn1", "attn7"), v), "attn7"),
    ):
        file = tmp_path / f"{name}.safetensors"
        save_file(dict(change(*pair) for pair in held.items()), file)
        said = mistake(file)
        assert words in said and "trained on this model" in said, name
    save_file({}, tmp_path / "empty.safetensors")
    assert "got none" in mistake(tmp_path / "empty.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((under / DIFFUSERS_FILE).read_bytes()[:-9])
    assert "not a whole safetensors file" in mistake(cut)


@pytest.mark.usefixtures("with_weights")
def test_a_run_refuses_what_it_could_not_save_at_the_end(
    recipe: Path, tiny: Path, tmp_path: Path
) -> None:
    """ComfyUI's file of an adapter can be loaded, but not put together with another."""
    from personae.diffusion.load import load_backbone

    backbone = load_backbone(tiny)
    add_lora(backbone, 2, 2)
    save_lora(backbone, tmp_path / "first")
    file = tmp_path / "first" / COMFY_FILE
    settings = [f"lora.under={file}"]
    assert wheres(dry_run(recipe, tmp_path / "run", settings)) == ["lora.under"]
    plain = recipe.read_text().partition("[rewards.weights]")[0]
    recipe.write_text(plain)
    with pytest.raises(WeightsError, match=r"expected layers transformer\.NAME"):
        finetune(read_recipe(recipe, settings), tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()

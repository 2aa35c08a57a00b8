"""UNO: where references stand, and adapters under the names that it publishes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from personae.diffusion.backbone import Context
from personae.diffusion.flux1 import Flux1Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.diffusion.uno import uno_positions
from personae.diffusion.uno_names import uno_lora
from personae.errors import WeightsError
from tests.diffusion.families import save_tiny

RANK, HIDDEN, MLP = 3, 32, 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("uno") / "flux1", "flux1")


def published(doubles: int = 1, singles: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict of the documented layout, for a network as small as the tiny one."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {}
    for number in range(doubles):
        block = f"double_blocks.{number}.processor"
        for stream in "12":
            shapes[f"{block}.qkv_lora{stream}"] = (HIDDEN, 3 * HIDDEN)
            shapes[f"{block}.proj_lora{stream}"] = (HIDDEN, HIDDEN)
    for number in range(singles):
        shapes[f"single_blocks.{number}.processor.qkv_lora"] = (HIDDEN, 3 * HIDDEN)
        shapes[f"single_blocks.{number}.processor.proj_lora"] = (HIDDEN + MLP, HIDDEN)
    state = {}
    for name, (inputs, outputs) in shapes.items():
        state[f"{name}.down.weight"] = torch.randn(RANK, inputs, generator=generator) * 0.3
        state[f"{name}.up.weight"] = torch.randn(outputs, RANK, generator=generator) * 0.3
    return state


def slow_places(picture, references) -> list[tuple[int, int, int]]:
    """As the paper tells it, a token at a time."""
    rows, columns = picture
    found = [(0, i, j) for i in range(rows) for j in range(columns)]
    down, right = rows, columns
    for height, width in references:
        for i in range(height):
            for j in range(width):
                found.append((0, i + down, j + right))
        down += height
        right += width
    return found


@pytest.mark.parametrize("references", [[], [(2, 3)], [(4, 1), (2, 2), (1, 5)]])
def test_references_stand_on_a_diagonal(references) -> None:
    places = uno_positions((3, 4), references)
    assert [tuple(row) for row in places.int().tolist()] == slow_places((3, 4), references)
    assert len({tuple(row) for row in places.tolist()}) == len(places)


def test_every_layer_gets_its_part(folder: Path) -> None:
    """The weights after merging are those that the fused layers of the original would have."""
    state = published()
    plain, merged = load_backbone(folder), load_backbone(folder)
    before = dict(plain.denoiser.named_parameters())
    made = uno_lora(state)
    assert len(made) == 2 * (8 + 4)
    deltas = {}
    for name, up in made.items():
        if name.endswith("lora_B.weight"):
            layer = name.removeprefix("transformer.").removesuffix(".lora_B.weight")
            deltas[layer] = up @ made[name.replace("lora_B", "lora_A")]
    for layer, delta in deltas.items():
        assert delta.shape == before[f"{layer}.weight"].shape, layer

    def product(name: str) -> torch.Tensor:
        return state[f"{name}.up.weight"] @ state[f"{name}.down.weight"]

    double, single = "transformer_blocks.0.attn", "single_transformer_blocks.0"
    wholes = {
        "double_blocks.0.processor.qkv_lora1": [f"{double}.to_{part}" for part in "qkv"],
        "double_blocks.0.processor.qkv_lora2": [f"{double}.add_{part}_proj" for part in "qkv"],
        "double_blocks.0.processor.proj_lora1": [f"{double}.to_out.0"],
        "double_blocks.0.processor.proj_lora2": [f"{double}.to_add_out"],
        "single_blocks.0.processor.qkv_lora": [f"{single}.attn.to_{part}" for part in "qkv"],
        "single_blocks.0.processor.proj_lora": [f"{single}.proj_out"],
    }
    for name, layers in wholes.items():
        stacked = torch.cat([deltas[layer] for layer in layers])
        torch.testing.assert_close(stacked, product(name))
    assert set(deltas) == {layer for layers in wholes.values() for layer in layers}
    with torch.no_grad():
        for layer, delta in deltas.items():
            dict(merged.denoiser.named_parameters())[f"{layer}.weight"].add_(delta)
    path = folder.parent / "dit_lora.safetensors"
    save_file(state, path)
    loaded = load_backbone(folder)
    load_lora(loaded, path)
    said = [asked(backbone) for backbone in (loaded, merged, plain)]
    torch.testing.assert_close(said[0], said[1], atol=1e-5, rtol=1e-4)
    assert (said[0] - said[2]).abs().max() > 1e-2


@torch.no_grad()
def asked(backbone) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    x, reference = (torch.randn(1, 16, 4, 4, generator=generator) for _ in range(2))
    text = torch.randn(1, *backbone.text_shape, generator=generator)
    return backbone.predict(x, torch.tensor([0.7]), Context(text, (reference,)))


def test_a_uno_adapter_turns_references_on(folder: Path, tmp_path: Path) -> None:
    save_file(published(), tmp_path / "dit_lora.safetensors")
    backbone = load_backbone(folder)
    assert isinstance(backbone, Flux1Backbone)
    assert backbone.limits.reference_px == 0
    load_lora(backbone, tmp_path / "dit_lora.safetensors")
    assert (backbone.limits.reference_px, backbone.limits.max_subjects) == (512, 4)
    with pytest.raises(WeightsError, match="LoRA for another model"):
        save_file(published(doubles=4), tmp_path / "deep.safetensors")
        deep = load_backbone(folder)
        load_lora(deep, tmp_path / "deep.safetensors")


def test_another_layout_is_refused_by_name() -> None:
    state = published()
    with pytest.raises(WeightsError, match=r"LoRA tensor single_blocks\.0\.linear1"):
        uno_lora({**state, "single_blocks.0.linear1.weight": torch.zeros(2, 2)})
    with pytest.raises(WeightsError, match=r"LoRA tensor single_blocks\.0\.processor\.qkv_lora1"):
        uno_lora({"single_blocks.0.processor.qkv_lora1.down.weight": torch.zeros(2, 2)})
    half = {name: value for name, value in state.items() if "proj_lora2.up" not in name}
    with pytest.raises(WeightsError, match="got down alone"):
        uno_lora(half)
    name = "double_blocks.0.processor.qkv_lora1"
    with pytest.raises(WeightsError, match=r"expected down .* got \(3, 32\) and \(32, 3\)"):
        uno_lora({**state, f"{name}.up.weight": torch.zeros(HIDDEN, RANK)})


def test_umo_is_as_large_as_it_is_said_to_be() -> None:
    """UMO, section 2: about 956 million numbers at rank 512, of the layers that are adapted."""
    from personae.diffusion.configs import KNOWN_MODELS
    from personae.diffusion.memory import Workload, estimate_memory

    configs = KNOWN_MODELS["black-forest-labs/FLUX.1-dev"]
    work = Workload(width=64, height=64, references=0, training="lora", rank=512)
    shared = 19 * 2 * 2 + 38 * 2  # A of queries, keys and values: three here, one in UNO
    told = estimate_memory(configs, work).training["adapter"] // 4
    assert (told - shared * 512 * 3072) / 1e6 == pytest.approx(956, abs=1)

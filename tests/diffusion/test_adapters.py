from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from personae.diffusion.adapters import copy_adapter, find_adapter, require_same_adapter
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import DIFFUSERS_FILE, add_lora, load_lora, lora_parameters, save_lora
from personae.errors import WeightsError

RANK, ALPHA = 3, 6.0


@pytest.fixture(scope="module")
def adapter(tiny_folder: Path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    backbone = load_backbone(tiny_folder)
    generator = torch.Generator().manual_seed(3)
    for value in add_lora(backbone, RANK, ALPHA).values():
        value.data.normal_(0, 0.2, generator=generator)
    save_lora(backbone, folder)
    return folder


def shapes_of(folder: Path) -> dict[str, tuple[int, ...]]:
    held = load_file(folder / DIFFUSERS_FILE)
    return {name.removeprefix("transformer."): tuple(x.shape) for name, x in held.items()}


def test_a_new_adapter_begins_as_the_saved_one(tiny_folder: Path, adapter: Path, batch) -> None:
    begun, loaded = load_backbone(tiny_folder), load_backbone(tiny_folder)
    made = add_lora(begun, RANK, ALPHA)
    copy_adapter(made, ALPHA / RANK, adapter)
    load_lora(loaded, adapter / DIFFUSERS_FILE)
    expected = lora_parameters(loaded)
    assert made.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in made.items())
    said = [b.predict(batch.x, batch.time, batch.context).detach() for b in (begun, loaded)]
    assert torch.equal(*said)
    assert all(value.requires_grad for value in made.values())


@pytest.mark.parametrize("source", ["folder", "file"])
def test_a_folder_and_a_file_are_the_same_adapter(adapter: Path, source: str) -> None:
    given = adapter if source == "folder" else adapter / DIFFUSERS_FILE
    assert find_adapter(given) == find_adapter(str(given)) == adapter / DIFFUSERS_FILE


def test_what_is_no_adapter_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere: no such file; expected .* toons-umo"):
        find_adapter(tmp_path / "nowhere")
    (tmp_path / "lora.bin").write_bytes(b"x")
    with pytest.raises(WeightsError, match="pickles are not read"):
        find_adapter(tmp_path / "lora.bin")


def test_another_kind_of_adapter_is_refused_with_both_kinds(adapter: Path, tmp_path: Path) -> None:
    shapes = shapes_of(adapter)
    assert require_same_adapter(adapter, shapes, ALPHA / RANK) == adapter / DIFFUSERS_FILE
    with pytest.raises(WeightsError, match=r"scale 1, 14 layers; got rank 3, scale 2, 14 layers"):
        require_same_adapter(adapter, shapes, 1.0)
    fewer = dict(list(shapes.items())[:2])
    with pytest.raises(WeightsError, match=r"1 layers; got .* 14 layers; set lora.rank"):
        require_same_adapter(adapter, fewer, 2.0)
    first = next(iter(shapes))
    wider = {**shapes, first: (shapes[first][0], shapes[first][1] + 1)}
    with pytest.raises(WeightsError, match="others or of another width"):
        require_same_adapter(adapter, wider, 2.0)
    foreign = {"lora_unet_x.alpha": torch.ones(1)}
    save_file(foreign, tmp_path / "kohya.safetensors")
    with pytest.raises(WeightsError, match=r"0 layers and other tensors \(lora_unet_x.alpha\)"):
        require_same_adapter(tmp_path / "kohya.safetensors", shapes, 2.0)


def test_a_damaged_file_is_refused(adapter: Path, tmp_path: Path) -> None:
    cut = tmp_path / DIFFUSERS_FILE
    cut.write_bytes((adapter / DIFFUSERS_FILE).read_bytes()[:-9])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        require_same_adapter(tmp_path, shapes_of(adapter), 2.0)

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from personae.diffusion import load as loading
from personae.diffusion.folder import inspect_folder
from personae.diffusion.load import FAMILIES, PLANNED, find_configs, load_backbone
from personae.errors import RequestError, WeightsError
from tests.diffusion.tiny import save_tiny_klein

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint to spoil; that anything of it is loaded fails the test."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    monkeypatch.setattr(loading, "_read_pipeline", refuse)
    return tmp_path / "model"


def refuse(*_: object) -> None:
    raise AssertionError("loading began")


def rename_class(folder: Path, name: str) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": name}))


def test_a_checkpoint_is_ready_to_draw_and_frozen(tiny, tiny_folder: Path) -> None:
    assert (tiny.family, tiny.name, tiny.revision) == ("flux2", str(tiny_folder), None)
    assert (tiny.device, tiny.dtype) == (torch.device("cpu"), torch.float32)
    for part in (tiny.denoiser, tiny.text_encoder, tiny.pipeline.vae):
        assert not part.training
        assert not any(value.requires_grad for value in part.parameters())


def test_its_size_is_known_before_it_is_loaded(tiny, tiny_folder: Path) -> None:
    held = inspect_folder(tiny_folder).num_parameters
    modules = (tiny.denoiser, tiny.text_encoder, tiny.pipeline.vae)
    numbers = sum(
        tensor.numel()
        for m in modules
        for tensor in {value.data_ptr(): value for value in m.state_dict().values()}.values()
    )
    assert held == numbers


@pytest.mark.parametrize("name", ["no-such-thing", "./no/such", "a/b/c", Path("gone/model"), ""])
def test_a_name_that_is_nothing(name: str | Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loading, "_fetch", refuse)
    if name == "":
        with pytest.raises(WeightsError, match=r"model_index\.json"):
            load_backbone(name)
        return
    with pytest.raises(WeightsError, match="no such folder"):
        load_backbone(name)


def test_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="a file"):
        load_backbone(tmp_path / "model.safetensors")


def test_a_folder_that_is_no_checkpoint(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no model_index\.json"):
        load_backbone(tmp_path)
    (copy / "model_index.json").write_text("{")
    with pytest.raises(WeightsError, match="_class_name"):
        load_backbone(copy)


def test_an_unknown_family_names_the_known_ones(copy: Path) -> None:
    rename_class(copy, "KandinskyPipeline")
    with pytest.raises(WeightsError, match=r"KandinskyPipeline.*not known.*Flux2KleinPipeline"):
        load_backbone(copy)


@pytest.mark.parametrize("name", sorted(PLANNED))
def test_a_family_that_is_planned_says_so(copy: Path, name: str) -> None:
    assert name not in FAMILIES
    rename_class(copy, name)
    with pytest.raises(WeightsError, match=rf"not supported yet .*{PLANNED[name]}\.py"):
        load_backbone(copy)


@pytest.mark.parametrize("suffix", [".bin", ".ckpt", ".pt"])
def test_pickles_are_refused_and_the_flag_named(copy: Path, suffix: str) -> None:
    path = copy / "vae" / WEIGHTS
    path.rename(path.with_suffix(suffix))
    with pytest.raises(WeightsError, match=r"pickle.*--allow-pickle"):
        load_backbone(copy)


def test_pickles_can_be_allowed(tiny, tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    path = folder / "vae" / WEIGHTS
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    loaded = load_backbone(folder, allow_pickle=True)
    for name, value in tiny.pipeline.vae.state_dict().items():
        assert torch.equal(loaded.pipeline.vae.state_dict()[name], value)


def test_a_pickle_beside_safetensors_is_not_looked_at(copy: Path) -> None:
    (copy / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    assert not inspect_folder(copy).pickled


def cut(data: bytes) -> bytes:
    return data[:-100]


def longer(data: bytes) -> bytes:
    return data + b"\0"


def scrambled(data: bytes) -> bytes:
    return data[:8] + b"?" * 20 + data[28:]


def empty(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, longer, scrambled, empty])
def test_damaged_weights_are_named(copy: Path, damage) -> None:
    path = copy / "transformer" / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match=rf"transformer/{WEIGHTS}.*not a whole safetensors"):
        load_backbone(copy)


def test_missing_parts_are_named(copy: Path) -> None:
    (copy / "vae" / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match=r"vae.*incomplete"):
        load_backbone(copy)
    index = {"weight_map": {"a": "part-1-of-2.safetensors", "b": "part-2-of-2.safetensors"}}
    (copy / "vae" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="lacks part-1-of-2"):
        load_backbone(copy)


def test_shards_are_read_together(tiny_folder: Path, tmp_path: Path, tiny) -> None:
    tiny.pipeline.transformer.save_pretrained(tmp_path / "sharded", max_shard_size="100KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    shutil.rmtree(folder / "transformer")
    shutil.copytree(tmp_path / "sharded", folder / "transformer")
    loaded = load_backbone(folder)
    for name, value in tiny.denoiser.state_dict().items():
        assert torch.equal(loaded.denoiser.state_dict()[name], value)


def test_a_tensor_that_is_not_there_is_never_made_up(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    path = folder / "transformer" / WEIGHTS
    tensors = load_file(path)
    del tensors["proj_out.weight"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"proj_out\.weight|lacks|could not be loaded"):
        load_backbone(folder)


def test_weights_of_another_configuration(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": 4}))
    with pytest.raises(WeightsError, match="could not be loaded as Flux2KleinPipeline"):
        load_backbone(folder)


def test_too_little_memory_is_said_before_loading(copy: Path, monkeypatch) -> None:
    monkeypatch.setattr(loading, "available_memory", lambda device: 300_000)
    with pytest.raises(RequestError, match=r"need 63\d\.\d KiB .*293\.0 KiB free.*bfloat16"):
        load_backbone(copy)
    monkeypatch.setattr(loading, "available_memory", lambda device: 400_000)
    with pytest.raises(AssertionError, match="loading began"):  # half the bytes fit
        load_backbone(copy, dtype=torch.bfloat16)


def test_a_device_that_is_not_there(copy: Path) -> None:
    with pytest.raises(RequestError, match="nonsense"):
        load_backbone(copy, device="nonsense")


HUB = "black-forest-labs/FLUX.2-klein-base-4B"


def test_a_hub_that_cannot_be_reached_says_what_to_do(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"HF_HUB_OFFLINE.*path of a downloaded copy") as caught:
        load_backbone(HUB)
    assert HUB in str(caught.value)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        find_configs("someone/klein")


def test_a_name_that_the_hub_refuses(monkeypatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError("404 Client Error\nmore")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", gone)
    with pytest.raises(WeightsError, match=r"someone/gone \(revision v1\).*\(404 Client Error\)"):
        load_backbone("someone/gone", revision="v1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_folder: Path) -> list[object]:
    """A hub that holds the tiny checkpoint under every name; what was asked of it."""
    asked: list[object] = []
    snapshot = tmp_path / "snapshots" / ("c0ffee" * 7)[:40]

    def one_file(name: str, file: str, revision: str | None) -> str:
        asked.append((name, file, revision))
        return str(tiny_folder / file)

    def many(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        shutil.copytree(tiny_folder, snapshot)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", one_file)
    monkeypatch.setattr("huggingface_hub.snapshot_download", many)
    return asked


def test_a_hub_id_is_fetched_and_its_commit_remembered(hub: list) -> None:
    backbone = load_backbone(HUB, revision="main")
    assert (backbone.name, backbone.revision) == (HUB, ("c0ffee" * 7)[:40])
    assert hub[0] == (HUB, "model_index.json", "main")
    assert "transformer/*.safetensors" in hub[1]
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in hub[1])


def test_an_unknown_family_is_not_downloaded(hub: list, monkeypatch) -> None:
    monkeypatch.setattr(loading, "read_index", lambda path: ("KandinskyPipeline", {}))
    with pytest.raises(WeightsError, match="not known"):
        load_backbone(HUB)
    assert len(hub) == 1


def test_configs_of_a_hub_id_need_no_weights(hub: list) -> None:
    configs = find_configs("someone/klein")
    assert set(configs.parts) == {"transformer", "text_encoder", "vae"}
    assert not any("safetensors" in pattern for pattern in hub[1])


def test_configs_that_are_known_need_no_hub(monkeypatch) -> None:
    monkeypatch.setattr(loading, "_fetch", refuse)
    limits = find_configs(HUB).limits
    assert (limits.prompt_tokens, limits.text_layers) == (512, (9, 18, 27))
    assert (limits.steps, limits.guidance) == (50, 4.0)
    assert find_configs("black-forest-labs/FLUX.2-klein-4B").limits.steps == 4


def test_the_toon_checkpoint_is_found_where_it_ships(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("personae.toons.checkpoint_folder", lambda: tmp_path / "none")
    with pytest.raises(WeightsError, match=r"make it with `python recipes/toons_checkpoint\.py"):
        load_backbone("toons")
    monkeypatch.setattr(
        "personae.toons.checkpoint_folder", lambda: save_tiny_klein(tmp_path / "tiny")
    )
    assert load_backbone("toons").family == "flux2"

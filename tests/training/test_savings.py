"""What makes room for large models: the same step, fewer bytes, and errors that help."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from personae.data.latents import encode_examples
from personae.data.texts import TextStore, encode_texts, text_key, text_stamp
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.offload import offload, offload_prompts_and_references
from personae.diffusion.quantize import quantization_config, weight_bytes
from personae.errors import DataError, RequestError
from personae.training import sources
from personae.training.finetune import finetune
from personae.training.optimizers import (
    OptimizerRecipe,
    make_optimizers,
    optimizer_tensors,
    restore_optimizers,
)
from personae.training.processes import Ranks
from personae.training.session import Session
from tests.training.conftest import MakeRecipe

CPU = torch.device("cpu")


def trained(make_recipe: MakeRecipe, tiny: Path, out: Path, **sections: Any) -> Session:
    run = Session(make_recipe(**sections), out, Ranks(CPU), load_backbone(tiny))
    for _ in range(3):
        run.take_step()
    return run


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_cached_text_gives_the_same_step_to_the_bit(
    make_recipe: MakeRecipe, tiny: Path, tmp_path: Path, precision: str
) -> None:
    plain = make_recipe().data
    data = {"file": str(plain.file), "sizes": [[64, 64]], "folder": str(tmp_path / "kept")}
    training = {"caption_dropout": 0.5, "batch_size": 2, "precision": precision}
    settings = {"lora": {"rank": 4}, "training": training}
    first = trained(make_recipe, tiny, tmp_path / "a", data=data, **settings)
    cached = {**data, "cache_text": True}
    second = trained(make_recipe, tiny, tmp_path / "b", data=cached, **settings)
    assert first.texts is None and second.texts is not None and len(second.texts) == 7
    assert set(first.params) == set(second.params)
    for name, param in first.params.items():
        assert torch.equal(param, second.params[name]), name
    with first.precision():
        assert torch.equal(first.empty_text(), second.empty_text())


def store_of(make_recipe: MakeRecipe, backbone: Backbone, folder: Path) -> Any:
    source = sources.example_source(make_recipe(), backbone)
    return encode_examples(source, backbone, folder)


def test_texts_are_encoded_once_and_by_their_weights(
    make_recipe: MakeRecipe, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(make_recipe, backbone, tmp_path)
    told: list[tuple[int, int]] = []
    encode_texts(store, backbone, tmp_path, batch=4, progress=lambda *at: told.append(at))
    assert told == [(7, 7)]
    place = tmp_path / f"texts-{text_stamp(backbone)}"
    assert [path.name for path in place.iterdir()] == ["texts-00000000.safetensors"]
    with monkeypatch.context() as patched:
        patched.setattr(backbone, "encode_tokens", None, raising=False)
        again = encode_texts(store, backbone, tmp_path)
    bucket = next(iter(store.buckets.values()))
    expected = backbone.encode_tokens(bucket.tokens.long(), bucket.mask.long())
    assert torch.allclose(again.look_up(bucket.tokens, bucket.mask), expected, atol=1e-6)
    before = text_stamp(backbone)
    next(backbone.text_encoder.parameters()).data[0, 0] += 1
    assert text_stamp(backbone) != before


def test_a_killed_cache_goes_on_and_a_small_memory_reads_again(
    make_recipe: MakeRecipe, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(make_recipe, backbone, tmp_path)
    monkeypatch.setattr("personae.data.texts._SHARD_BYTES", 1)
    whole = encode_texts(store, backbone, tmp_path, batch=2)
    paths = sorted((tmp_path / f"texts-{text_stamp(backbone)}").iterdir())
    assert len(paths) == 4
    paths[-1].unlink()
    encode_texts(store, backbone, tmp_path, batch=2)
    small = TextStore(paths, most_bytes=1)
    for bucket in store.buckets.values():
        for _ in range(2):
            held = small.look_up(bucket.tokens, bucket.mask)
            assert torch.equal(held, whole.look_up(bucket.tokens, bucket.mask))
    with pytest.raises(DataError, match="not among those that were encoded"):
        small.look_up(store.empty_tokens[None] + 1, store.empty_mask[None])
    paths[0].write_bytes(b"torn")
    with pytest.raises(DataError, match="damaged"):
        TextStore(paths)


def test_a_prompt_is_its_tokens_and_its_mask() -> None:
    tokens, mask = torch.tensor([1, 2, 3]), torch.tensor([True, True, False])
    assert text_key(tokens, mask) == text_key(tokens.to(torch.int32), mask.long())
    assert text_key(tokens, mask) != text_key(tokens, ~mask)


class Noted(nn.Linear):
    """A layer that remembers where it was sent and where it was when it was called."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.sent: list[str] = []

    def to(self, device: Any) -> Noted:  # type: ignore[override]
        self.sent.append(str(device))
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sent.append("called")
        if x.isnan().any():
            raise ValueError("broken")
        return super().forward(x)


def test_an_offloaded_module_visits_the_device_for_as_long_as_a_call() -> None:
    layer = Noted()
    offload(layer, torch.device("cuda", 1))
    assert layer.sent == ["cpu"]
    layer(torch.zeros(1, 2))
    assert layer.sent == ["cpu", "cuda:1", "called", "cpu"]
    with pytest.raises(ValueError, match="broken"):
        layer(torch.full((1, 2), torch.nan))
    assert layer.sent[-1] == "cpu"


def test_what_is_offloaded_still_works(
    make_recipe: MakeRecipe, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[nn.Module] = []
    monkeypatch.setattr(
        "personae.diffusion.offload.offload", lambda module, device: moved.append(module)
    )
    backbone = load_backbone(tiny)
    offload_prompts_and_references(backbone)
    names = dict(backbone.pipeline.vae.encoder.named_modules())
    assert moved[0] is backbone.text_encoder
    assert names["mid_block"] in moved and names["down_blocks.0"] in moved
    assert names["conv_in"] not in moved
    monkeypatch.undo()
    data = {"file": str(make_recipe().data.file), "sizes": [[64, 64]], "cache_text": True}
    settings = {"offload_text_encoder": True, "steps": 2, "log_every": 1}
    recipe = make_recipe(data=data, training=settings, samples={"every": 2, "count": 1})
    assert finetune(recipe, tmp_path / "run").saved is not None
    assert (tmp_path / "run" / "samples").is_dir()


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"training": {"quantize": "int8"}}, r"only a frozen base.*\[lora\]"),
        ({"training": {"offload_text_encoder": True}}, "set data.cache_text to true"),
        ({"training": {"train_text_encoder": True}, "cached": True}, "changes in every step"),
    ],
)
def test_savings_that_do_not_fit_are_refused(
    make_recipe: MakeRecipe, sections: dict[str, Any], words: str
) -> None:
    data = {"file": "examples.jsonl", "cache_text": sections.pop("cached", False)}
    with pytest.raises(DataError, match=words):
        make_recipe(data=data, **sections)


@pytest.mark.parametrize(("kind", "library"), [("int8", "torchao"), ("nf4", "bitsandbytes")])
def test_a_library_that_is_not_installed_is_named(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, kind: Any, library: str
) -> None:
    monkeypatch.setattr("personae.diffusion.quantize.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=f"needs {library}.*pip install {library}"):
        load_backbone(tiny, quantize=kind)
    monkeypatch.setattr("personae.diffusion.quantize.find_spec", lambda name: SimpleNamespace())
    with pytest.raises(RequestError, match="'nf4' needs a GPU"):
        quantization_config("nf4", CPU, torch.float32)
    assert quantization_config("no", CPU, torch.float32) is None


def test_eight_bit_moments_need_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.optim", None)
    params = {"a": nn.Parameter(torch.zeros(4, 4))}
    with pytest.raises(RequestError, match="pip install bitsandbytes"):
        make_optimizers(params, OptimizerRecipe(name="adamw8bit"))


def test_fewer_bits_are_fewer_bytes() -> None:
    held = {
        "transformer": {"w": SimpleNamespace(numel=1000)},
        "vae": {"w": SimpleNamespace(numel=10)},
    }
    folder: Any = SimpleNamespace(tensors=held)
    sizes = [weight_bytes(folder, torch.bfloat16, kind) for kind in ("no", "int8", "nf4")]
    assert sizes == [2020, 1030, 582]


def test_int8_trains_an_adapter(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    recipe = make_recipe(
        lora={"rank": 4}, training={"quantize": "int8", "precision": "bf16", "steps": 2}
    )
    assert finetune(recipe, tmp_path / "run").saved is not None


def test_eight_bit_moments_come_back_to_the_bit() -> None:
    pytest.importorskip("bitsandbytes")
    recipe = OptimizerRecipe(name="adamw8bit", lr=1e-2)

    def run(steps: int, state: Any = None, start: Any = None) -> tuple[Any, Any]:
        first = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
        params = {"a": nn.Parameter(first if start is None else start.clone())}
        optimizers = make_optimizers(params, recipe)
        restore_optimizers(state or {}, params, optimizers)
        for _ in range(steps):
            params["a"].square().sum().backward()
            optimizers[0].step()
            optimizers[0].zero_grad()
        return params, {k: v.clone() for k, v in optimizer_tensors(params, optimizers).items()}

    whole, _ = run(4)
    half, state = run(2)
    rest, _ = run(2, state, half["a"].detach())
    assert torch.equal(whole["a"], rest["a"])

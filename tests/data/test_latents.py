"""Latents: those of the model itself, kept, found again, and made anew where anything differs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from personae.data.examples import Example
from personae.data.latents import encode_examples, read_latents, stamp
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.errors import DataError
from tests.diffusion.tiny import save_tiny_klein


@dataclass(frozen=True)
class Patterns:
    """Random pictures; number 3 cannot be read; odd ones have two references."""

    count: int
    log: str = ""

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        if self.log:
            with Path(self.log).open("a") as stream:
                stream.write(f"{index}\n")
        if index == 3:
            raise DataError("number 3 is torn")
        rng = np.random.default_rng(index)
        pictures = rng.integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
        return Example(
            f"p{index}", f"girl {index}", pictures[0], tuple(pictures[1 : 2 + index % 2])
        )

    def settings(self) -> Mapping[str, Any]:
        return {"patterns": 1}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    torch.set_num_threads(1)
    return load_backbone(save_tiny_klein(tmp_path_factory.mktemp("tiny") / "klein"))


def test_latents_are_the_models_own(backbone: Backbone, tmp_path: Path) -> None:
    source = Patterns(7)
    store = encode_examples(source, backbone, tmp_path, batch=2, shard=4)
    assert list(store.buckets) == ["64x64+64x64", "64x64+64x64+64x64"]
    assert store.buckets["64x64+64x64"].ids == ("p0", "p2", "p4", "p6")
    assert store.buckets["64x64+64x64+64x64"].ids == ("p1", "p5")
    assert store.problems == ("number 3 is torn",)
    assert len(store) == 6
    for bucket in store.buckets.values():
        for row, name in enumerate(bucket.ids):
            example = source[int(name[1:])]
            pictures = [example.image, *example.references]
            for picture, latent in zip(pictures, (bucket.image, *bucket.references), strict=True):
                pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
                with torch.no_grad():
                    alone = backbone.encode_image(pixels)[0]
                torch.testing.assert_close(latent[row].float(), alone, atol=5e-3, rtol=5e-3)
            ids, mask = backbone.tokenize([example.prompt])
            assert torch.equal(bucket.tokens[row].long(), ids[0])
            assert torch.equal(bucket.mask[row].long(), mask[0])
    assert torch.equal(store.empty_tokens.long(), backbone.tokenize([""])[0][0])


def test_what_is_there_is_not_made_again(backbone: Backbone, tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = Patterns(7, str(log))
    told: list[tuple[int, int]] = []
    first = encode_examples(
        source, backbone, tmp_path, shard=4, progress=lambda *now: told.append(now)
    )
    assert told == [(4, 7), (7, 7)]
    place = tmp_path / stamp(source, backbone, 4)
    assert json.loads((place / "source.json").read_text()) == {"patterns": 1}
    shards = sorted(place.glob("shard-*"))
    shards[1].unlink()
    log.write_text("")
    again = encode_examples(source, backbone, tmp_path, shard=4)
    assert sorted(map(int, log.read_text().split())) == [4, 5, 6]
    for store in (again, read_latents(place, backbone)):
        for name, bucket in first.buckets.items():
            assert bucket.ids == store.buckets[name].ids
            assert torch.equal(bucket.image, store.buckets[name].image)


def test_two_processes_make_the_same(backbone: Backbone, tmp_path: Path) -> None:
    alone = encode_examples(Patterns(5), backbone, tmp_path / "one")
    pair = encode_examples(Patterns(5), backbone, tmp_path / "two", num_workers=2)
    for name, bucket in alone.buckets.items():
        assert torch.equal(bucket.image, pair.buckets[name].image)


def test_another_autoencoder_has_latents_of_its_own(backbone: Backbone, tmp_path: Path) -> None:
    source = Patterns(5)
    before = stamp(source, backbone)
    other = load_backbone(save_tiny_klein(tmp_path / "other", seed=1))
    assert stamp(source, other) != before
    assert stamp(Patterns(6), backbone) != before
    assert stamp(source, backbone) == before
    with torch.no_grad():
        next(backbone.denoiser.parameters()).add_(1.0)
    assert stamp(source, backbone) == before, "the denoiser has no say in latents"


def test_a_damaged_shard_is_named(backbone: Backbone, tmp_path: Path) -> None:
    encode_examples(Patterns(2), backbone, tmp_path)
    shard = next(tmp_path.glob("*/shard-*"))
    shard.write_bytes(b"short")
    with pytest.raises(DataError, match=r"shard-00000000\.safetensors: damaged.*delete it"):
        encode_examples(Patterns(2), backbone, tmp_path)


def test_nothing_to_encode(backbone: Backbone, tmp_path: Path) -> None:
    class Torn(Patterns):
        def __getitem__(self, index: int) -> Example:
            raise DataError("torn")

    with pytest.raises(DataError, match="holds no example; first problem: torn"):
        encode_examples(Torn(2), backbone, tmp_path)

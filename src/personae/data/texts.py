"""Prompts as the text encoder reads them: made once, kept on disk, found by their tokens."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from personae.compute.runs import make_folder, write_atomic
from personae.data.latents import LatentStore
from personae.diffusion.backbone import Backbone
from personae.errors import DataError

__all__ = ["TextStore", "encode_texts", "text_key", "text_stamp"]

Progress = Callable[[int, int], None]

_FORMAT = 1
_SHARD_BYTES = 1 << 29
_KEPT_BYTES = 1 << 30


class TextStore:
    """Embedded prompts in shards on disk, by what their tokens are.

    The last ones asked for stay in memory, up to ``most_bytes``.

    Args:
        paths: shards that `encode_texts` wrote.

    Raises:
        DataError: a shard is damaged.
    """

    def __init__(self, paths: Sequence[Path], most_bytes: int = _KEPT_BYTES) -> None:
        self._places: dict[str, tuple[Any, int]] = {}
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._most, self._held = most_bytes, 0
        for path in paths:
            shard, keys = _open_shard(path)
            self._places |= {key: (shard, row) for row, key in enumerate(keys)}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def look_up(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, L) tokens and mask -> (B, L, D) on the CPU, to the bit as they were encoded.

        Raises:
            DataError: a prompt that was not encoded.
        """
        tokens, mask = tokens.cpu(), mask.cpu()
        return torch.stack([self._row(text_key(*pair)) for pair in zip(tokens, mask, strict=True)])

    def _row(self, key: str) -> Tensor:
        if key not in self._kept:
            if key not in self._places:
                raise DataError(
                    "texts: a prompt that is not among those that were encoded; set "
                    "data.cache_text to false, or delete the folder of texts and run again"
                )
            shard, row = self._places[key]
            self._kept[key] = shard.get_slice("text")[row]
            self._held += self._kept[key].nbytes
            while self._held > self._most and len(self._kept) > 1:
                self._held -= self._kept.popitem(last=False)[1].nbytes
        self._kept.move_to_end(key)
        return self._kept[key]


def text_key(tokens: Tensor, mask: Tensor) -> str:
    """A name for one prompt's (L,) tokens and mask: 16 hexadecimal digits of a SHA-256."""
    content = tokens.to(torch.int32).numpy().tobytes() + mask.to(torch.bool).numpy().tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def text_stamp(backbone: Backbone) -> str:
    """A name for what decides embeddings: the text encoder's weights, layers and numbers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.text_encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        held = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(held.view(torch.uint8).numpy())
    kind = backbone.device.type
    mixed = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "no"
    layers = list(backbone.limits.text_layers)
    digest.update(json.dumps([_FORMAT, layers, mixed, kind]).encode())
    return digest.hexdigest()[:16]


@torch.no_grad()
def encode_texts(
    store: LatentStore,
    backbone: Backbone,
    folder: Path,
    *,
    batch: int = 8,
    progress: Progress | None = None,
) -> TextStore:
    """All prompts of a store, and the empty one, through the text encoder, each once.

    They are kept in shards below ``folder / texts-STAMP``: a killed run goes on where it stopped,
    other data share what they have in common, and another text encoder has a folder of its own.
    A prompt takes tokens * width numbers (FLUX.2 Klein 4B: 7.5 MiB in bfloat16).

    Args:
        store: whose tokens are encoded.
        backbone: its `encode_tokens` is used, in the precision that is set where this is called.
        folder: where latents are kept.
        batch: prompts that go through the text encoder together.
        progress: is told (prompts done, of how many).
    """
    place = make_folder(folder / f"texts-{text_stamp(backbone)}")
    there = TextStore(sorted(place.glob("texts-*.safetensors")))
    wanted = {key: pair for key, pair in _prompts(store) if key not in there}
    done, number = 0, len(list(place.glob("texts-*.safetensors")))
    for rows in _encoded(wanted, backbone, batch):
        _write_shard(place / f"texts-{number:08d}.safetensors", rows)
        done, number = done + len(rows), number + 1
        if progress:
            progress(done, len(wanted))
    return TextStore(sorted(place.glob("texts-*.safetensors")))


def _prompts(store: LatentStore) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Tokens and mask of every example and of the empty prompt, on the CPU."""
    yield (
        text_key(store.empty_tokens.cpu(), store.empty_mask.cpu()),
        (store.empty_tokens.cpu(), store.empty_mask.cpu()),
    )
    for bucket in store.buckets.values():
        for pair in zip(bucket.tokens.cpu(), bucket.mask.cpu(), strict=True):
            yield text_key(*pair), pair


def _encoded(
    wanted: Mapping[str, tuple[Tensor, Tensor]], backbone: Backbone, batch: int
) -> Iterator[dict[str, Tensor]]:
    """(L, D) embeddings by key, as many at a time as a shard holds."""
    keys, held = list(wanted), 0
    rows: dict[str, Tensor] = {}
    for start in range(0, len(keys), batch):
        part = keys[start : start + batch]
        tokens = torch.stack([wanted[key][0] for key in part]).to(backbone.device, torch.int64)
        mask = torch.stack([wanted[key][1] for key in part]).to(backbone.device, torch.int64)
        said = backbone.encode_tokens(tokens, mask).cpu()
        rows |= dict(zip(part, said, strict=True))
        held += said.nbytes
        if held >= _SHARD_BYTES:
            yield rows
            rows, held = {}, 0
    if rows:
        yield rows


def _write_shard(path: Path, rows: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save

    text = torch.stack(list(rows.values())).contiguous()
    write_atomic(path, save({"text": text}, {"keys": json.dumps(list(rows))}))


def _open_shard(path: Path) -> tuple[Any, list[str]]:
    from safetensors import SafetensorError, safe_open

    try:
        shard: Any = safe_open(path, "pt")
        return shard, list(json.loads(shard.metadata()["keys"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}); delete it and run again") from error

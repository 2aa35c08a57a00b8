"""Examples as latents and tokens: made once, kept on disk, held in memory while training."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.compute.runs import make_folder, write_atomic, write_json
from personae.compute.workers import make_workers
from personae.data.examples import Example, ExampleSource
from personae.diffusion.backbone import Backbone
from personae.diffusion.tokens import learned_tokens
from personae.errors import DataError

__all__ = [
    "Bucket",
    "LatentStore",
    "bucket_name",
    "encode_examples",
    "pictures_at_once",
    "read_latents",
    "stamp",
]

Progress = Callable[[int, int], None]

_FORMAT = 2  # of a shard; another one is another folder
_MOST_PIXELS = 32 * 256 * 256  # through the autoencoder at once: two of 1024 x 1024
_CHUNK = 32  # examples that a worker renders at a time


@dataclass(frozen=True, eq=False)
class Bucket:
    """Examples of one shape, row by row.

    Attributes:
        ids: the examples' names.
        numbers: their places in the source.
        image: (N, C, h, w) float16 latents.
        references: one (N, C, h, w) float16 each.
        tokens: (N, L) int32.
        mask: (N, L) bool, the tokens that are no padding.
        weight: (N, h, w) float16 in [0, 1], the share of each latent cell under the example's mask;
            None where no example has one.
    """

    ids: tuple[str, ...]
    numbers: tuple[int, ...]
    image: Tensor
    references: tuple[Tensor, ...]
    tokens: Tensor
    mask: Tensor
    weight: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> Bucket:
        """The same on another device."""
        references = tuple(item.to(device) for item in self.references)
        moved = (self.image.to(device), references, self.tokens.to(device), self.mask.to(device))
        weight = None if self.weight is None else self.weight.to(device)
        return Bucket(self.ids, self.numbers, *moved, weight)

    @property
    def num_bytes(self) -> int:
        """Memory of its tensors."""
        tensors = [self.image, *self.references, self.tokens, self.mask]
        tensors += [] if self.weight is None else [self.weight]
        return sum(tensor.nbytes for tensor in tensors)


@dataclass(frozen=True, eq=False)
class LatentStore:
    """Every example by its bucket, and the tokens of an empty prompt for caption dropout.

    Attributes:
        buckets: name (see `bucket_name`) to examples; sorted by name.
        empty_tokens: (L,) int32 and
        empty_mask: (L,) bool, of the prompt ``""``.
        problems: examples that could not be read, with reasons.
    """

    buckets: Mapping[str, Bucket]
    empty_tokens: Tensor
    empty_mask: Tensor
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self.buckets.values())

    def to(self, device: torch.device) -> LatentStore:
        """The same on another device, which saves copying every batch to it."""
        buckets = {name: bucket.to(device) for name, bucket in self.buckets.items()}
        empty = (self.empty_tokens.to(device), self.empty_mask.to(device))
        return LatentStore(buckets, *empty, self.problems)

    @property
    def num_bytes(self) -> int:
        """Memory of its tensors."""
        return sum(bucket.num_bytes for bucket in self.buckets.values())


def bucket_name(example: Example) -> str:
    """What examples must share to stand in one batch: width x height of picture and references.

    >>> square = np.zeros((64, 64, 3), np.uint8)
    >>> bucket_name(Example("a", "girl 1", np.zeros((128, 192, 3), np.uint8), (square, square)))
    '192x128+64x64+64x64'
    """
    pictures = (example.image, *example.references)
    return "+".join(f"{picture.shape[1]}x{picture.shape[0]}" for picture in pictures)


def encode_examples(
    source: ExampleSource,
    backbone: Backbone,
    folder: Path,
    *,
    batch: int = 32,
    shard: int = 1024,
    num_workers: int = 1,
    progress: Progress | None = None,
) -> LatentStore:
    """All examples of a source through the autoencoder and the tokenizer, once.

    They are kept in shards below ``folder / stamp``; shards that are there already are not made
    again, so a killed run goes on where it stopped, and another autoencoder, tokenizer or source
    has a folder of its own. ``num_workers`` processes render while this one encodes.

    Args:
        source: what to encode.
        backbone: its `encode_image` and `tokenize` are used.
        folder: where latents are kept; may hold those of other sources too.
        batch: pictures that go through the autoencoder together; fewer where they are large.
        shard: examples a file.
        num_workers: processes that make examples; 1 is this one, 0 one for each core.
        progress: is told (examples done, of how many).

    Raises:
        DataError: no example of the source can be read.
    """
    place = make_folder(folder / stamp(source, backbone, shard))
    starts = range(0, len(source), shard)
    missing = [start for start in starts if not _shard(place, start).is_file()]
    if missing:
        write_json(place / "source.json", source.settings())
    done = len(source) - sum(min(shard, len(source) - start) for start in missing)
    for start, examples in _made(source, missing, shard, num_workers):
        _write_shard(_shard(place, start), start, examples, backbone, batch)
        done += len(examples)
        if progress:
            progress(done, len(source))
    return _read([_shard(place, start) for start in starts], backbone, place)


def pictures_at_once(width: int, height: int) -> int:
    """How many pictures of this size go through the autoencoder together, at most.

    >>> pictures_at_once(256, 256), pictures_at_once(1024, 1024), pictures_at_once(4096, 4096)
    (32, 2, 1)
    """
    return max(1, _MOST_PIXELS // (width * height))


def read_latents(folder: Path, backbone: Backbone) -> LatentStore:
    """The latents of one folder that `encode_examples` made (the one with ``source.json``)."""
    return _read(sorted(folder.glob("shard-*.safetensors")), backbone, folder)


def stamp(source: ExampleSource, backbone: Backbone, shard: int = 1024) -> str:
    """A name for what decides stored latents: autoencoder weights, tokenizer, source, shard size.

    16 hexadecimal digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(_autoencoder(backbone).state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    ids, mask = backbone.tokenize(["", "A girl 1 left of the man 2, wearing a scarf."])
    digest.update(json.dumps([ids.tolist(), mask.tolist()]).encode())
    layout = [_FORMAT, source.settings(), len(source), shard, *sorted(learned_tokens(backbone))]
    digest.update(json.dumps(layout, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _autoencoder(backbone: Any) -> torch.nn.Module:
    """Whose weights decide the latents: the backbone's own, or that of its pipeline."""
    module: torch.nn.Module = getattr(backbone, "autoencoder", None) or backbone.pipeline.vae
    return module


def _shard(place: Path, start: int) -> Path:
    return place / f"shard-{start:08d}.safetensors"


def _made(
    source: ExampleSource, starts: Sequence[int], shard: int, num_workers: int
) -> Iterator[tuple[int, list[Example | str]]]:
    """The examples of each missing shard, rendered by workers, in order."""
    ranges = {start: range(start, min(start + shard, len(source))) for start in starts}
    chunks = [
        numbers[at : at + _CHUNK]
        for numbers in ranges.values()
        for at in range(0, len(numbers), _CHUNK)
    ]
    parts = make_workers(num_workers).map(partial(_same, source), _make, chunks)
    for start, numbers in ranges.items():
        examples: list[Example | str] = []
        while len(examples) < len(numbers):
            examples += next(parts)
        yield start, examples


def _same(source: ExampleSource) -> ExampleSource:
    return source


def _make(source: ExampleSource, numbers: range) -> list[Example | str]:
    """Examples, or for one that cannot be read the reason."""
    made: list[Example | str] = []
    for number in numbers:
        try:
            made.append(source[number])
        except DataError as problem:
            made.append(str(problem))
    return made


def _write_shard(
    path: Path, start: int, examples: Sequence[Example | str], backbone: Backbone, batch: int
) -> None:
    from safetensors.torch import save

    buckets: dict[str, list[Example]] = defaultdict(list)
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, example in enumerate(examples, start):
        if isinstance(example, Example):
            buckets[bucket_name(example)].append(example)
            numbers[bucket_name(example)].append(number)
    tensors: dict[str, Tensor] = {}
    for name, members in buckets.items():
        arrays = _encode_bucket(members, backbone, batch)
        tensors |= {f"{name}/{key}": tensor for key, tensor in arrays.items()}
    about = {
        "ids": {name: [example.id for example in members] for name, members in buckets.items()},
        "numbers": numbers,
        "problems": [text for text in examples if isinstance(text, str)],
    }
    write_atomic(path, save(tensors, {"about": json.dumps(about)}))


def _encode_bucket(
    examples: Sequence[Example], backbone: Backbone, batch: int
) -> dict[str, Tensor]:
    ids, mask = backbone.tokenize([example.prompt for example in examples])
    pictures = {"image": [example.image for example in examples]}
    for number in range(len(examples[0].references)):
        pictures[f"reference_{number}"] = [example.references[number] for example in examples]
    latents = {key: _encode(images, backbone, batch) for key, images in pictures.items()}
    if any(example.mask is not None for example in examples):
        latents["weight"] = _weights(examples, latents["image"].shape[2:])
    return {"tokens": ids.cpu().to(torch.int32), "mask": mask.cpu().bool(), **latents}


def _weights(examples: Sequence[Example], cells: torch.Size) -> Tensor:
    """(N, h, w): the share of each latent cell under the mask; 1 for an example without one."""
    full = [
        np.ones(example.image.shape[:2], np.float32)
        if example.mask is None
        else example.mask.astype(np.float32)
        for example in examples
    ]
    pixels = torch.from_numpy(np.stack(full))[:, None]
    return torch.nn.functional.interpolate(pixels, size=tuple(cells), mode="area")[:, 0].half()


@torch.inference_mode()
def _encode(images: Sequence[np.ndarray], backbone: Backbone, batch: int) -> Tensor:
    parts = []
    height, width = images[0].shape[:2]
    batch = min(batch, pictures_at_once(width, height))
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.stack(images[start : start + batch]))
        pixels = pixels.to(backbone.device).permute(0, 3, 1, 2).to(backbone.dtype) / 255
        parts.append(backbone.encode_image(pixels).to("cpu", torch.float16))
    return torch.cat(parts).contiguous()


def _read(paths: Sequence[Path], backbone: Backbone, place: Path) -> LatentStore:
    from safetensors import SafetensorError, safe_open

    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    problems: list[str] = []
    for path in paths:
        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["about"])
                problems += about["problems"]
                for name, ids in about["ids"].items():
                    keys = ["image", "tokens", "mask"]
                    keys += [f"reference_{i}" for i in range(name.count("+"))]
                    keys += ["weight"] * (f"{name}/weight" in file.keys())  # noqa: SIM118
                    arrays = {key: file.get_tensor(f"{name}/{key}") for key in keys}
                    numbers = about["numbers"][name]
                    parts[name].append({"ids": ids, "numbers": numbers, **arrays})
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: damaged ({error}); delete it and run again") from error
    if not parts:
        why = f"; first problem: {problems[0]}" if problems else ""
        raise DataError(f"{place}: holds no example{why}")
    empty_tokens, empty_mask = backbone.tokenize([""])
    return LatentStore(
        {name: _joined(parts[name], name.count("+")) for name in sorted(parts)},
        empty_tokens[0].cpu().to(torch.int32),
        empty_mask[0].cpu().bool(),
        tuple(problems),
    )


def _joined(parts: Sequence[Mapping[str, Any]], num_references: int) -> Bucket:
    return Bucket(
        tuple(name for part in parts for name in part["ids"]),
        tuple(number for part in parts for number in part["numbers"]),
        torch.cat([part["image"] for part in parts]),
        tuple(
            torch.cat([part[f"reference_{number}"] for part in parts])
            for number in range(num_references)
        ),
        torch.cat([part["tokens"] for part in parts]),
        torch.cat([part["mask"] for part in parts]),
        _joined_weights(parts),
    )


def _joined_weights(parts: Sequence[Mapping[str, Any]]) -> Tensor | None:
    """Of a shard without masks every cell counts in full."""
    if not any("weight" in part for part in parts):
        return None
    whole = [
        part.get("weight", torch.ones_like(part["image"][:, 0], dtype=torch.float16))
        for part in parts
    ]
    return torch.cat(whole)

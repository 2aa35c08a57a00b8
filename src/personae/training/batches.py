"""Which examples stand in which batch: a pure function of the seed and the batch's number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from personae.data.latents import LatentStore

__all__ = ["Batch", "BatchPlan", "Draws", "collate", "draws_for"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples of one bucket, stacked.

    Attributes:
        ids: their names, for error messages.
        numbers: their places in the source.
        image: (B, C, h, w) clean latents.
        references: one (B, C, h, w) each; empty where they were dropped.
        tokens: (B, L) int64.
        mask: (B, L) int64, 1 where a token is no padding.
        weight: (B, 1, h, w) in [0, 1], how much a cell is covered by the examples' masks; None
            where they have none.
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


@dataclass(frozen=True, eq=False)
class Draws:
    """Everything random about one batch.

    Attributes:
        normal: (B,) standard normal, what times are made of.
        noise: (B, C, h, w) standard normal.
        drop_caption: (B,) bool.
        drop_references: all references of the batch, or none: a batch keeps one shape.
    """

    normal: Tensor
    noise: Tensor
    drop_caption: Tensor
    drop_references: bool


class BatchPlan:
    """The order of the examples, epoch after epoch.

    In each epoch every bucket is shuffled and cut into batches, and the batches of all buckets
    are shuffled. What does not fill a batch sits this epoch out; a bucket with fewer examples
    than a batch is one short batch. Batch n is the same whatever was asked for before, which is
    what makes resuming exact.
    """

    def __init__(self, lengths: Mapping[str, int], batch_size: int, seed: int) -> None:
        self.lengths = {name: lengths[name] for name in sorted(lengths) if lengths[name]}
        self.batch_size = batch_size
        self.seed = seed
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def __len__(self) -> int:
        """Batches an epoch."""
        return sum(max(1, length // self.batch_size) for length in self.lengths.values())

    def __getitem__(self, number: int) -> tuple[str, np.ndarray]:
        """Bucket and rows of a batch; any number from 0, epochs follow each other."""
        return self._epoch(number // len(self))[number % len(self)]

    def _make_epoch(self, epoch: int) -> list[tuple[str, np.ndarray]]:
        rng = np.random.default_rng([self.seed, epoch])
        batches = []
        for name, length in self.lengths.items():
            rows = rng.permutation(length)
            size = min(self.batch_size, length)
            whole = rows[: length // size * size]
            batches += [(name, part) for part in whole.reshape(-1, size)]
        order = rng.permutation(len(batches))
        return [batches[place] for place in order]


def collate(
    store: LatentStore, name: str, rows: np.ndarray, draws: Draws, device: torch.device
) -> Batch:
    """The batch with its dropouts: an empty prompt for some, no references for all or none."""
    bucket = store.buckets[name]
    index = torch.from_numpy(rows).to(bucket.image.device, non_blocking=True)
    drop = draws.drop_caption.to(bucket.tokens.device)[:, None]
    tokens = torch.where(drop, store.empty_tokens, bucket.tokens[index])
    mask = torch.where(drop, store.empty_mask, bucket.mask[index])
    references = () if draws.drop_references else bucket.references
    return Batch(
        tuple(bucket.ids[row] for row in rows.tolist()),
        tuple(bucket.numbers[row] for row in rows.tolist()),
        bucket.image[index].to(device, torch.float32),
        tuple(item[index].to(device, torch.float32) for item in references),
        tokens.to(device, torch.int64),
        mask.to(device, torch.int64),
        None if bucket.weight is None else bucket.weight[index].to(device, torch.float32)[:, None],
    )


def draws_for(
    seed: int,
    number: int,
    shape: tuple[int, ...],
    *,
    caption_dropout: float,
    reference_dropout: float,
    device: torch.device | str = "cpu",
) -> Draws:
    """What is random about batch ``number``: a function of these arguments and nothing else.

    Every kind of device has random numbers of its own; whether references are dropped is the same
    on all.

    Args:
        seed: the run's.
        number: which batch, counted over the whole run and all processes.
        shape: (B, C, h, w) of the clean latents.
        caption_dropout: chance of an example to lose its prompt.
        reference_dropout: chance of the batch to lose its references.
        device: where it is drawn.
    """
    first, second = np.random.SeedSequence([seed, number]).generate_state(2, np.uint64).tolist()
    generator = torch.Generator(device).manual_seed(first >> 1)
    return Draws(
        torch.randn(shape[0], generator=generator, device=device),
        torch.randn(shape, generator=generator, device=device),
        torch.rand(shape[0], generator=generator, device=device) < caption_dropout,
        second / 2**64 < reference_dropout,
    )

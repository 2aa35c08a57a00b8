"""Directions in which identities differ more than pictures of one do: Fisher's, of many classes.

python -m personae.training.discriminants --out run/toon-discriminants
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from personae.compute.runs import make_folder, write_atomic
from personae.errors import DataError
from personae.training.eyes_album import Album, AlbumPlan, album
from personae.training.eyes_batches import crops_of
from personae.vision.toons.discriminants import DiscriminantEmbedder, photo_features

__all__ = ["DISCRIMINANT_PLAN", "album_features", "discriminant_bytes", "discriminants", "main"]

# The other eyes learned from the first 30,000 of the split.
DISCRIMINANT_PLAN = AlbumPlan(split="train", families=3000, start=40_000, likes=0, seed=3)
_BATCH = 64


def discriminants(
    features: Tensor, who: Tensor, *, count: int = 64, shrinkage: float = 0.1
) -> tuple[Tensor, Tensor]:
    r"""Linear discriminant analysis (Rao 1948), each direction weighted by what it tells.

    With :math:`S_w` the covariance within identities and :math:`S_b` that of their means, the
    columns are the main solutions of

    .. math:: S_b u = \lambda (S_w + r \bar s I) u, \qquad u^T (S_w + r \bar s I) u = \lambda

    with r the ``shrinkage`` and :math:`\bar s` the mean variance within. The length
    :math:`\sqrt\lambda` keeps cosines from hearing what tells little as loudly as the rest.

    Args:
        features: (N, D).
        who: (N,) int64, whose they are, from 0 on.
        count: directions kept.
        shrinkage: 0 or more.

    Returns:
        (D,) the mean, and (D, count) to multiply what is left with.

    Raises:
        DataError: no identity has two rows, or there are fewer directions than ``count``.
    """
    values = features.double()
    num = int(who.max()) + 1 if len(who) else 0
    if len(values) <= num or values.shape[1] < count:
        raise DataError(
            f"discriminants: expected several rows of some identities and {count} columns or "
            f"more; got {len(values)} rows of {num} and {values.shape[1]} columns"
        )
    sums = torch.zeros(num, values.shape[1], dtype=torch.float64).index_add_(0, who, values)
    means = sums / torch.bincount(who, minlength=num)[:, None]
    apart = values - means[who]
    within = apart.T @ apart / (len(values) - num)
    within += shrinkage * within.diagonal().mean() * torch.eye(len(within), dtype=torch.float64)
    spread, turn = torch.linalg.eigh(within)
    whiten = turn / spread.sqrt()
    told, directions = torch.linalg.eigh(whiten.T @ torch.cov(means.T) @ whiten)
    kept = whiten @ directions[:, -count:] * told[-count:].clamp(min=0).sqrt()
    return values.mean(0).float(), kept.float()


def album_features(held: Album, seed: int = 1) -> Tensor:
    """(F, 1280) of every face of an album, cut out as a detector would, and damaged."""
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, len(held.row), _BATCH):
        faces = np.arange(start, min(start + _BATCH, len(held.row)))
        parts.append(photo_features(crops_of(held, faces, DiscriminantEmbedder.template, rng)))
    return torch.cat(parts)


def discriminant_bytes(mean: Tensor, matrix: Tensor) -> bytes:
    """A safetensors file of half-precision numbers that says what they were made from."""
    facts = {
        "name": DiscriminantEmbedder.name,
        "recipe": json.dumps({"plan": asdict(DISCRIMINANT_PLAN), "base": "efficientnet-lite0"}),
        "licence": DiscriminantEmbedder.licence,
    }
    return save({"mean": mean.half(), "matrix": matrix.half()}, metadata=facts)


def main(arguments: list[str] | None = None) -> None:
    """Render the album, look at it, write the weights: about ten minutes of one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = make_folder(parser.parse_args(arguments).out)
    held = album(DISCRIMINANT_PLAN, out)
    mean, matrix = discriminants(album_features(held), torch.from_numpy(held.who).long())
    path = out / f"{DiscriminantEmbedder.name}.safetensors"
    write_atomic(path, discriminant_bytes(mean, matrix))
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()

"""Directions in which identities differ more than pictures of one do: Fisher's, of many classes.

python -m personae.training.discriminants --out run/toon-discriminants
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from personae.compute.runs import make_folder, write_atomic
from personae.diffusion.load import load_backbone
from personae.errors import DataError
from personae.training.drawn_faces import DrawnPlan, drawn_faces
from personae.vision.toons.detector import ToonFaceDetector
from personae.vision.toons.discriminants import DiscriminantEmbedder

__all__ = ["discriminant_bytes", "discriminants", "main"]


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


def discriminant_bytes(mean: Tensor, matrix: Tensor, plan: DrawnPlan) -> bytes:
    """A safetensors file of half-precision numbers that says what they were made from."""
    facts = {
        "name": DiscriminantEmbedder.name,
        "recipe": json.dumps({"plan": asdict(plan), "base": "efficientnet-lite0"}),
        "licence": DiscriminantEmbedder.licence,
    }
    return save({"mean": mean.half(), "matrix": matrix.half()}, metadata=facts)


def main(arguments: list[str] | None = None) -> None:
    """Draw faces with the shipped checkpoint, look at them, write the weights; resumes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chunks", type=int, default=DrawnPlan().chunks, help="of 64 scenes")
    choice = parser.parse_args(arguments)
    out = make_folder(choice.out)
    plan = DrawnPlan(chunks=choice.chunks)
    backbone = load_backbone("toons", device="cpu", dtype=torch.float32)
    faces = drawn_faces(plan, backbone, ToonFaceDetector(), out)
    mean, matrix = discriminants(faces.features, faces.who)
    path = out / f"{DiscriminantEmbedder.name}.safetensors"
    write_atomic(path, discriminant_bytes(mean, matrix, plan))
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()

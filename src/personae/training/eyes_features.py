"""Views of an album through a dictionary, worked out once: what the embedders learn from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from personae.compute.runs import write_atomic
from personae.training.eyes_album import Album
from personae.training.eyes_batches import crops_of
from personae.vision.faces.align import FaceTemplate
from personae.vision.toons.networks import Dictionary

__all__ = ["FeatureBatch", "crop_views", "feature_maps", "moved", "random_batch"]

_BATCH = 128


class FeatureBatch:
    """Which views: ``version`` and ``face`` (B,), whose they are (B,), and traits (B, T).

    ``of(maps)`` picks them from an array of (versions, F, ...), as float32.
    """

    def __init__(self, version: np.ndarray, face: np.ndarray, who: Tensor, traits: Tensor) -> None:
        self.version, self.face, self.who, self.traits = version, face, who, traits

    def of(self, maps: Tensor) -> Tensor:
        """(B, ...) float32 of these views."""
        return maps[self.version, self.face].float()


def crop_views(
    album: Album, template: FaceTemplate, faces: np.ndarray, versions: int, seed: int, folder: Path
) -> Tensor:
    """(versions, F, 3, side, side) uint8: these faces, each time jittered and damaged otherwise.

    Kept in ``folder`` under a hash of everything that they depend on.
    """
    key = hashlib.sha256(repr((template.name, template.points.tolist(), versions, seed)).encode())
    for part in (faces, album.row, album.pixels[::97]):
        key.update(np.ascontiguousarray(part).tobytes())
    path = folder / f"crops-{key.hexdigest()[:16]}.safetensors"
    if not path.is_file():
        made = []
        for one in range(versions):
            rng = np.random.default_rng([seed, 5, one])
            parts = [
                (crops_of(album, faces[start : start + _BATCH], template, rng) * 255).round().byte()
                for start in range(0, len(faces), _BATCH)
            ]
            made.append(torch.cat(parts))
        write_atomic(path, save({"crops": torch.stack(made)}))
    return load_file(path)["crops"]


@torch.no_grad()
def feature_maps(crops: Tensor, dictionary: Dictionary, folder: Path) -> Tensor:
    """(versions, F, C, g, g) float16 of (versions, F, 3, side, side) uint8; kept in ``folder``."""
    key = hashlib.sha256(dictionary.get_buffer("filters").numpy().tobytes())
    key.update(repr((tuple(crops.shape), dictionary.stride, dictionary.grid)).encode())
    key.update(crops.flatten()[::997].numpy().tobytes())
    path = folder / f"maps-{key.hexdigest()[:16]}.safetensors"
    if not path.is_file():
        parts = [
            dictionary(part.float() / 255).half()
            for part in crops.flatten(0, 1).split(_BATCH)  # type: ignore[no-untyped-call]
        ]
        maps = torch.cat(parts).unflatten(0, (len(crops), -1))  # type: ignore[no-untyped-call]
        write_atomic(path, save({"maps": maps}))
    return load_file(path)["maps"]


def random_batch(album: Album, versions: int, batch: int, seed: int, step: int) -> FeatureBatch:
    """``batch`` faces of an album, of whomever."""
    rng = np.random.default_rng([seed, step])
    faces = rng.integers(len(album.row), size=batch)
    version = rng.integers(versions, size=batch)
    who = torch.from_numpy(album.who[faces]).long()
    traits = torch.from_numpy(album.traits[album.who[faces]]).long()
    return FeatureBatch(version, faces, who, traits)


def moved(crops: Tensor, rng: np.random.Generator, reach: int = 2) -> Tensor:
    """(B, C, H, W) crops, each perhaps mirrored, all shifted by up to ``reach`` pixels."""
    down, right = (int(by) for by in rng.integers(-reach, reach + 1, size=2))
    mirrored = torch.from_numpy(rng.random(len(crops)) < 0.5).view(-1, 1, 1, 1)
    return torch.where(mirrored, crops.flip(3), crops).roll((down, right), (2, 3))

"""Batches for the eyes: a pure function of the album, the seed and the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.training.eyes_album import Album
from personae.training.eyes_noise import damaged
from personae.vision.embedders.crops import image_tensor
from personae.vision.faces.align import FaceTemplate, aligned_crops

__all__ = ["FaceBatch", "crops_of", "face_batch"]

_SIDE_PX = 128
_LEAST_SEEN = 0.4  # of a face's box; with less inside the picture it is not asked for


@dataclass(frozen=True, eq=False)
class FaceBatch:
    """Pictures (B, 3, 128, 128) in [0, 1] and the faces in each.

    ``faces`` (N, 14) a picture: box and landmarks in pixels; ``place`` (B,), -1 where there is
    none or too little of it.
    """

    images: Tensor
    faces: list[Tensor]
    place: Tensor


def face_batch(album: Album, batch: int, seed: int, step: int) -> FaceBatch:
    """Scenes and some portraits, each scaled, cut and perhaps mirrored at random; some faceless."""
    rng = np.random.default_rng([seed, step])
    scenes, portraits = (np.flatnonzero(part) for part in (album.place >= 0, album.place < 0))
    made = []
    for number in range(batch):
        pool = portraits if number % 8 == 7 else scenes
        made.append(_cut(album, int(rng.choice(pool)), rng))
        if number % 16 == 6:
            made[-1] = _faceless(made[-1][0], rng)
    images = damaged(torch.stack([item[0] for item in made]), rng)
    place = torch.tensor([item[2] for item in made])
    return FaceBatch(images, [torch.from_numpy(item[1]) for item in made], place)


def _cut(album: Album, index: int, rng: np.random.Generator) -> tuple[Tensor, np.ndarray, int]:
    """A picture at another scale and place: (3, 128, 128), its faces (N, 14), its place."""
    image, faces = image_tensor(album.image(index)), album.faces_of(index)
    native = _SIDE_PX / min(image.shape[1:])
    scale = native * (1.0 if rng.random() < 0.4 else float(np.exp(rng.uniform(-0.45, 0.5))))
    size = [round(side * scale) for side in image.shape[1:]]
    if scale != 1:
        image = F.interpolate(
            image[None], size, mode="bilinear", antialias=True, align_corners=False
        )[0]
    offset = [_offset(side, scale == native, rng) for side in size]
    rows = album.row[faces] * np.float32(scale)
    rows[:, ::2] -= offset[1]
    rows[:, 1::2] -= offset[0]
    rows = _kept(rows)
    window = _window(image, offset, rng)
    if rng.random() < 0.5:
        window, rows = window.flip(2), _mirrored(rows)
    place = int(album.place[index]) if scale < 1.3 * native else -1
    return window, rows, place


def _offset(side: int, whole: bool, rng: np.random.Generator) -> int:
    """Where the window starts: anywhere inside, or with some of the border, if the side is less."""
    if whole and side == _SIDE_PX:
        return 0
    low, high = sorted((0, side - _SIDE_PX))
    return int(rng.integers(low, high + 1))


def _window(image: Tensor, offset: list[int], rng: np.random.Generator) -> Tensor:
    """The (3, 128, 128) that start at ``offset``, with one color or the edge beyond the picture."""
    height, width = image.shape[1:]
    before = [max(0, -offset[0]), max(0, -offset[1])]
    after = [max(0, offset[0] + _SIDE_PX - height), max(0, offset[1] + _SIDE_PX - width)]
    pad = (before[1], after[1], before[0], after[0])
    if any(pad):
        edge = rng.random() < 0.5
        mode, value = ("replicate", None) if edge else ("constant", float(rng.random()))
        image = F.pad(image[None], pad, mode=mode, value=value)[0]
    top, left = max(0, offset[0]), max(0, offset[1])
    return image[:, top : top + _SIDE_PX, left : left + _SIDE_PX]


def _kept(rows: np.ndarray) -> np.ndarray:
    """Faces of which enough lies in the window."""
    low, high = rows[:, :2].clip(0, _SIDE_PX), rows[:, 2:4].clip(0, _SIDE_PX)
    share = (high - low).prod(1) / (rows[:, 2:4] - rows[:, :2]).prod(1)
    seen: np.ndarray = rows[share >= _LEAST_SEEN]
    return seen


def _mirrored(rows: np.ndarray) -> np.ndarray:
    made = rows.copy()
    made[:, 0], made[:, 2] = _SIDE_PX - rows[:, 2], _SIDE_PX - rows[:, 0]
    points = rows[:, 4:].reshape(-1, 5, 2)[:, [1, 0, 2, 4, 3]].copy()
    points[:, :, 0] = _SIDE_PX - 1 - points[:, :, 0]
    made[:, 4:] = points.reshape(-1, 10)
    return made


def _faceless(image: Tensor, rng: np.random.Generator) -> tuple[Tensor, np.ndarray, int]:
    """The same pixels in small shuffled tiles: parts of toons, and no toon."""
    side = int(rng.choice([8, 16]))
    count = _SIDE_PX // side
    tiles = image.view(3, count, side, count, side).permute(1, 3, 0, 2, 4).flatten(0, 1)
    tiles = tiles[torch.from_numpy(rng.permutation(count * count))]
    whole = tiles.view(count, count, 3, side, side).permute(2, 0, 3, 1, 4)
    return whole.reshape(3, _SIDE_PX, _SIDE_PX), np.zeros((0, 14), np.float32), -1


def crops_of(
    album: Album, faces: np.ndarray, template: FaceTemplate, rng: np.random.Generator
) -> Tensor:
    """(B, 3, side, side) in [0, 1]: faces of an album, cut out as a detector would, and damaged."""
    images = [image_tensor(album.image(int(index))) for index in album.picture[faces]]
    points = album.row[faces, 4:].reshape(-1, 5, 2).astype(np.float64)
    near = [_jittered(item[None], rng) for item in points]
    return damaged(aligned_crops(images, near, template), rng)


def _jittered(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(1, 5, 2) landmarks as a detector finds them: all a little off, each a little more."""
    size = np.ptp(points, axis=1).max()
    off = rng.normal(0, 0.08, (1, 1, 2)) + rng.normal(0, 0.04, points.shape)
    middle = points.mean(1, keepdims=True)
    moved: np.ndarray = (points - middle) * rng.normal(1, 0.05) + middle + off * size
    return moved

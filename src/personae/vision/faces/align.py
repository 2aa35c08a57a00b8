"""Upright crops of faces: a similarity transform from five points, and a differentiable crop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.errors import DataError

__all__ = [
    "ARCFACE_TEMPLATE",
    "ARCFACE_TEMPLATE_FOR_DLIB_POINTS",
    "DLIB_TEMPLATE",
    "FaceTemplate",
    "aligned_crops",
    "chip_maps",
    "similarity_transform",
]

# Mean places of dlib's five landmarks in a unit square (dlib, get_face_chip_details): outer and
# inner corner of the eye on the right of the picture, the same on its left, base of the nose.
_DLIB_POINTS = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
# Left eye, right eye, tip of the nose, left and right corner of the mouth (UMO's reward class).
_ARCFACE_POINTS = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


@dataclass(frozen=True, eq=False)
class FaceTemplate:
    """Where a face's landmarks belong in a square crop of ``side_px``: ``points`` (P, 2) pixels.

    ``as_dlib`` takes dlib's map: fitted from the template to the picture, with the crop's outer
    pixel centers half a pixel of the picture inside the fitted square. Without it the map is
    fitted from the picture to the template and inverted, as programs around ArcFace do.
    """

    name: str
    side_px: int
    points: np.ndarray
    as_dlib: bool = False


def _dlib_template(padding: float = 0.25, side_px: int = 150) -> FaceTemplate:
    points = side_px * (padding + _DLIB_POINTS) / (2 * padding + 1)
    return FaceTemplate(f"dlib-{side_px}", side_px, points, as_dlib=True)


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    r"""The rotation, scale and shift that best take points to points: (N, P, 2) -> (N, 2, 3).

    Least squares with points as complex numbers: :math:`t \approx a s + b` with
    :math:`a = \sum \bar s_c t_c / \sum |s_c|^2`, c for centered. Equal to Umeyama's (1991)
    solution without a reflection.

    Raises:
        DataError: points that are not finite, or all in one place.

    >>> square = np.array([[[0, 0], [1, 0], [1, 1], [0, 1.0]]])
    >>> similarity_transform(square, 2 * square + 3).round(6) + 0.0
    array([[[2., 0., 3.], [0., 2., 3.]]])
    """
    s, t = (np.asarray(p, np.float64) @ np.array([1, 1j]) for p in (source, target))
    s_mean, t_mean = s.mean(-1, keepdims=True), t.mean(-1, keepdims=True)
    spread, reach = (np.abs(s - s_mean) ** 2).sum(-1), (np.abs(t - t_mean) ** 2).sum(-1)
    if not (np.isfinite(spread + reach).all() and (spread > 0).all() and (reach > 0).all()):
        raise DataError(
            "landmarks of a face are not finite or all in one place; expected (N, P, 2) in pixels"
        )
    a = (np.conj(s - s_mean) * (t - t_mean)).sum(-1) / spread
    b = t_mean[..., 0] - a * s_mean[..., 0]
    rows = [[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


DLIB_TEMPLATE = _dlib_template()
"""dlib's crop of 150 pixels with a padding of 0.25, what its face network was trained on."""

ARCFACE_TEMPLATE = FaceTemplate("arcface-112", 112, _ARCFACE_POINTS)
"""112 pixels; for eyes, nose tip and corners of the mouth as RetinaFace and others give them."""


def _arcface_for_dlib_points() -> FaceTemplate:
    mean_eyes = np.stack([_DLIB_POINTS[2:4].mean(0), _DLIB_POINTS[:2].mean(0)])
    a = similarity_transform(mean_eyes[None], _ARCFACE_POINTS[None, :2])[0]
    return FaceTemplate("arcface-112-dlib-points", 112, _DLIB_POINTS @ a[:, :2].T + a[:, 2])


ARCFACE_TEMPLATE_FOR_DLIB_POINTS = _arcface_for_dlib_points()
"""The ArcFace crop from dlib's landmarks: its mean face, moved so that the eyes' middles meet."""


def _inverse(maps: np.ndarray) -> np.ndarray:
    linear = np.linalg.inv(maps[:, :, :2])
    return np.concatenate([linear, -linear @ maps[:, :, 2:]], axis=2)


def chip_maps(landmarks: np.ndarray, template: FaceTemplate) -> np.ndarray:
    """(N, P, 2) landmarks in pixels -> (N, 2, 3) maps from a crop's pixel (x, y, 1) to the picture.

    Pixel centers lie at whole numbers. Equal to dlib's chip details for `DLIB_TEMPLATE`.

    Raises:
        DataError: landmarks of another shape, not finite, or all in one place.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape[1:] != template.points.shape:
        raise DataError(
            f"landmarks {points.shape} do not fit template {template.name}; "
            f"expected (N, {len(template.points)}, 2)"
        )
    target = np.broadcast_to(template.points, points.shape)
    if not template.as_dlib:
        return _inverse(similarity_transform(points, target))
    fitted, side = similarity_transform(target, points), template.side_px
    scale = np.hypot(fitted[:, 0, 0], fitted[:, 1, 0])[:, None, None]
    center = fitted @ np.array([side / 2, side / 2, 1.0])[:, None]
    linear = fitted[:, :, :2] * (side - 1 / scale) / (side - 1)
    return np.concatenate([linear, center - linear @ np.full((2, 1), (side - 1) / 2)], axis=2)


def _pyramid_depth(chip_map: np.ndarray, side_px: int) -> int:
    """How often to halve the picture first, so that a crop's pixel spans at most two of it."""
    extent, depth = float(np.hypot(*chip_map[:, 0])) * (side_px - 1) / 2, 0
    while extent + 1 > side_px:
        extent, depth = extent / 2, depth + 1
    return depth


def _halved(region: Tensor) -> Tensor:
    """(3, h, w) smoothed by a 5x5 binomial and every second pixel taken, as dlib's pyramid does."""
    height, width = region.shape[1:]
    x = F.pad(region, (0, max(0, 5 - width), 0, max(0, 5 - height)))
    for axis in (1, 2):
        count = (x.shape[axis] - 3) // 2
        a, b, c, d, e = (_every_second(x, axis, start, count) for start in range(5))
        x = (a + e + 4 * (b + d) + 6 * c) / 16
    return x


def _every_second(x: Tensor, axis: int, start: int, count: int) -> Tensor:
    chosen = slice(start, start + 2 * count - 1, 2)
    return x[:, chosen] if axis == 1 else x[:, :, chosen]


# dlib maps a point p to p / 2 - (1.25, 0.75) a level, though its filter is centered on p / 2 - 1;
# kept, because its network has seen crops made so.
_LEVEL_SHIFT = np.array([1.25, 0.75])


def _region(chip_map: np.ndarray, side_px: int, depth: int, image: Tensor) -> tuple[int, ...]:
    """Left, top, right, bottom of the part of the picture that a crop needs, with a margin."""
    end = side_px - 1
    corners = np.array([[0, 0, 1], [end, 0, 1], [0, end, 1], [end, end, 1]]) @ chip_map.T
    margin = 2 ** (depth + 2) - 2
    low = np.floor(corners.min(0) - margin + 0.5)
    high = np.floor(corners.max(0) + margin + 1.5)
    limit = [image.shape[2], image.shape[1]]
    low, high = np.clip(low, 0, limit), np.clip(high, 0, limit)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _grid(chip_map: np.ndarray, side_px: int, region: Tensor) -> Tensor:
    """(1, side, side, 2) sampling places in grid_sample's units, computed in float64."""
    steps = np.arange(side_px)
    x, y = np.meshgrid(steps, steps)
    places = np.stack([x, y, np.ones_like(x)], -1) @ chip_map.T
    size = np.array([region.shape[2], region.shape[1]])
    grid = (2 * places + 1) / size - 1
    return torch.from_numpy(grid).to(region.device, region.dtype)[None]


def _crop(image: Tensor, chip_map: np.ndarray, side_px: int) -> Tensor:
    depth = _pyramid_depth(chip_map, side_px)
    left, top, right, bottom = _region(chip_map, side_px, depth, image)
    if right <= left or bottom <= top:
        return image.new_zeros(3, side_px, side_px)
    region = image[:, top:bottom, left:right]
    chip_map = chip_map - np.array([[0, 0, left], [0, 0, top]])
    for _ in range(depth):
        region, chip_map = _halved(region), chip_map / 2
        chip_map[:, 2] -= _LEVEL_SHIFT
    grid = _grid(chip_map, side_px, region)
    return F.grid_sample(region[None], grid, align_corners=False)[0]


def _pairs(
    images: Tensor | Sequence[Tensor], landmarks: Sequence[np.ndarray]
) -> Iterator[tuple[Tensor, np.ndarray]]:
    if len(images) != len(landmarks):
        raise DataError(f"{len(images)} pictures but landmarks for {len(landmarks)}")
    for image, points in zip(images, landmarks, strict=True):
        if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
            raise DataError(
                f"a picture is (3, H, W) floating point; got {tuple(image.shape)} {image.dtype}"
            )
        yield image, points


def aligned_crops(
    images: Tensor | Sequence[Tensor],
    landmarks: Sequence[np.ndarray],
    template: FaceTemplate = DLIB_TEMPLATE,
) -> Tensor:
    """All faces of all pictures, upright and at one size, in one batch.

    Args:
        images: (B, 3, H, W), or B pictures (3, H, W) of any sizes; any range of values.
        landmarks: for each picture (N_i, P, 2) x, y in pixels; constants, no gradient.
        template: where the landmarks come to lie.

    Returns:
        (sum N_i, 3, side, side), picture by picture; black beyond a picture's border;
        differentiable in the pixels. A large face is first halved with a binomial filter until
        a pixel of the crop spans at most two of it, as dlib does. Half precision is computed in
        float32 and given back as such.

    Raises:
        DataError: pictures and landmarks that do not fit each other or the template.
    """
    crops: list[Tensor] = []
    for image, points in _pairs(images, landmarks):
        exact = image if image.dtype == torch.float64 else image.float()
        if len(points):
            crops += [_crop(exact, a, template.side_px) for a in chip_maps(points, template)]
    if crops:
        return torch.stack(crops)
    dtype = images[0].dtype if len(images) else torch.float32
    device = images[0].device if len(images) else None
    return torch.zeros(0, 3, template.side_px, template.side_px, dtype=dtype, device=device)

"""The four networks: the eyes' detector and embedder, and the examiner's, of another make."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personae.vision.toons.layers import Attention, Bottleneck, Residual, conv_norm
from personae.vision.toons.traits import TRAIT_SIZES

__all__ = [
    "BoxNet",
    "CenterNet",
    "Dictionary",
    "FigureNet",
    "IdentityNet",
    "PatchNet",
    "TraitCode",
    "agreement",
    "code_of",
]


class CenterNet(nn.Module):
    """Faces as points: at every fourth pixel, how surely a face's center, its box, its landmarks.

    A residual trunk down to stride 16 and a way back up to stride 4. Of the 15 channels the first
    is the logit of a center; then, over ``unit_px`` pixels, the logarithms of the box's width and
    height, the offset of its middle from this place, and those of five landmarks, x and y.

    Source: Zhou, Wang and Kraehenbuehl 2019, arXiv 1904.07850 (objects as points).
    """

    stride = 4
    unit_px = 32.0

    def __init__(self, widths: tuple[int, int, int] = (24, 56, 104)) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = nn.Sequential(conv_norm(3, 16, 3, 2), conv_norm(16, a, 3, 2), Residual(a))
        self.middle = nn.Sequential(conv_norm(a, b, 3, 2), Residual(b), Residual(b))
        self.deep = nn.Sequential(conv_norm(b, c, 3, 2), Residual(c), Residual(c))
        self.up_deep = conv_norm(c, b, 1)
        self.up_middle = conv_norm(b, a, 3)
        last = nn.Conv2d(48, 15, 1)
        nn.init.zeros_(last.get_parameter("bias"))
        self.head = nn.Sequential(conv_norm(a, 48), _mostly_nothing(last))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1], H and W multiples of 16 -> (B, 15, H/4, W/4)."""
        fine = self.stem(images * 2 - 1)
        middle = self.middle(fine)
        deep = F.interpolate(self.up_deep(self.deep(middle)), scale_factor=2.0)
        up = F.interpolate(self.up_middle(middle + deep), scale_factor=2.0)
        out: Tensor = self.head(fine + up)
        return out


def _mostly_nothing(layer: nn.Conv2d) -> nn.Conv2d:
    """The same, so that at first hardly any place says face."""
    with torch.no_grad():
        layer.get_parameter("bias")[0] = -3.0
    return layer


class Dictionary(nn.Module):
    r"""A first layer that is computed, not trained: how much every spot is like each known patch.

    Of a patch, whitened: for each of K centers c (k-means), with d its distance to them,
    :math:`[\overline{d^2} - d_c^2]_+ / 2`; and both signs of its first L coordinates.
    Averaged over a ``grid`` by ``grid``. `personae.training.eyes_dictionary` fits it.

    Source: Coates, Ng and Lee 2011 (an analysis of single-layer networks), with squared distances.
    """

    def __init__(self, centers: int, linear: int, kernel: int, stride: int, grid: int) -> None:
        super().__init__()
        self.centers, self.stride, self.grid = centers, stride, grid
        self.register_buffer("filters", torch.zeros(centers + linear, 3, kernel, kernel))
        self.register_buffer("offsets", torch.zeros(centers + linear))

    @property
    def channels(self) -> int:
        """How many maps it gives: K + 2 L."""
        return 2 * len(self.get_buffer("offsets")) - self.centers

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, side, side) in [0, 1] -> (B, K + 2 L, grid, grid)."""
        filters, offsets = self.get_buffer("filters"), self.get_buffer("offsets")
        said = F.conv2d(crops, filters, offsets, self.stride)
        alike, plain = said[:, : self.centers], said[:, self.centers :]
        alike = (alike - alike.mean(1, keepdim=True)).relu()
        return F.adaptive_avg_pool2d(
            torch.cat([alike, plain.relu(), (-plain).relu()], 1), self.grid
        )


def code_of(chances: Sequence[Tensor]) -> Tensor:
    r"""Chances of each trait's choices as one vector of length 1: T times (..., K_t) -> (..., D).

    .. math:: c_{t,k} = \sqrt{p_t(k) / T}, \qquad
              c \cdot c' = \frac{1}{T} \sum_t \sum_k \sqrt{p_t(k) \, p'_t(k)}

    so the cosine is the mean of the traits' Bhattacharyya coefficients.

    >>> sure, unsure = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    >>> round(float(code_of([sure, sure]) @ code_of([sure, unsure]).T), 3)
    0.854
    """
    # The derivative of a root is without bound at 0.
    roots = [part.clamp(min=1e-6).sqrt() for part in chances]
    return F.normalize(torch.cat(roots, -1), dim=-1)


def agreement(first: Tensor, second: Tensor, sizes: Sequence[int] = TRAIT_SIZES) -> Tensor:
    r"""How surely two codes show the same in every trait: (..., N, D), (..., M, D) -> (..., N, M).

    .. math:: a = \Big( \prod_t \max(b_t, 10^{-3}) \Big)^{1/T}, \qquad
              b_t = \sum_k \sqrt{p_t(k) \, p'_t(k)}

    in [0.001, 1]: the geometric mean of the overlaps whose arithmetic mean is the cosine. One trait
    that surely differs tells two apart, however alike the rest; the cosine drowns it among traits
    that are only guessed (docs/numbers.md). Differentiable.

    >>> a = code_of([torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])])
    >>> b = code_of([torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])])
    >>> round(float(agreement(a, b, [2, 2])), 3), round(float(a @ b.mT), 3)
    (0.045, 0.501)
    """
    parts = (torch.split(codes, list(sizes), -1) for codes in (first, second))
    overlaps = [one @ other.mT * len(sizes) for one, other in zip(*parts, strict=True)]
    return torch.stack(overlaps).clamp(1e-3, 1.0).log().mean(0).exp()


class TraitCode(nn.Module):
    """What was seen to a unit vector: how likely each choice of each trait is, see `code_of`."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.logits = nn.Linear(wide, sum(TRAIT_SIZES))

    def forward(self, *views: Tensor) -> Tensor:
        """Views of the same faces, each (B, wide) -> (B, D) of length 1.

        The chances are the means of what the views give.
        """
        logits = torch.stack([self.logits(seen) for seen in views])
        said = torch.split(logits, list(TRAIT_SIZES), 2)
        return code_of([part.softmax(2).mean(0) for part in said])


class IdentityNet(nn.Module):
    """An aligned crop to a unit vector: a residual trunk down to 8x8 places, read as a whole.

    Every place keeps its own weights at the end, for in an aligned crop a brow is where brows are.
    Source: He et al. 2016, arXiv 1512.03385.
    """

    def __init__(self, widths: tuple[int, int, int] = (24, 56, 112), inner: int = 256) -> None:
        super().__init__()
        a, b, c = widths
        self.trunk = nn.Sequential(
            conv_norm(3, a, 5, 2),
            Residual(a),
            conv_norm(a, b, 3, 2),
            Residual(b),
            conv_norm(b, c, 3, 2),
            Residual(c),
            conv_norm(c, 32, 1),
        )
        self.whole = nn.Linear(32 * 64, inner, bias=False)
        self.norm = nn.BatchNorm1d(inner)
        self.code = TraitCode(inner)

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [0, 1] -> (B, D) of length 1."""
        # A mirrored face has the same traits, and is misread in another way.
        code: Tensor = self.code(self.features(crops), self.features(crops.flip(3)))
        return code

    def features(self, crops: Tensor) -> Tensor:
        """(B, 3, 64, 64) in [0, 1] -> (B, 256), from which the traits are read."""
        return F.relu(self.norm(self.whole(self.trunk(crops * 2 - 1).flatten(1))))


class FigureNet(nn.Module):
    """What a toon wears and does, from an aligned crop of its whole figure, by a dictionary.

    Its two answers are logits over ``worn`` and ``actions`` choices.
    """

    def __init__(self, worn: int, actions: int, width: int = 48) -> None:
        super().__init__()
        self.sizes = (worn, actions)
        self.dictionary = Dictionary(112, 24, 6, 2, 12)
        self.even = nn.BatchNorm2d(self.dictionary.channels)
        self.near = nn.Sequential(
            conv_norm(self.dictionary.channels, width, 1),
            conv_norm(width, width),
            conv_norm(width, 2 * width, 3, 2),
            Residual(2 * width),
        )
        self.out = nn.Sequential(nn.Dropout(0.3), nn.Linear(72 * width, worn + actions))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 64, 64) in [0, 1] -> (B, worn), (B, actions)."""
        return self.read(self.dictionary(crops))

    def read(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The same from (B, channels, 12, 12) of the dictionary."""
        seen = self.near(self.even(maps)).flatten(1)
        worn, acted = self.out(seen).split(self.sizes, dim=1)
        return worn, acted


class BoxNet(nn.Module):
    """Faces as regions: at every eighth pixel, is it a face, and where are its four sides.

    A trunk of per-channel filters with features of strides 8, 16 and 32 summed at stride 8. The
    first 15 channels: logit of a face; over ``unit_px`` pixels, logarithms of the distances to its
    left, top, right and bottom side, and the offsets of five landmarks from here. From the mean
    of everything come logits of the place.

    Source: Tian et al. 2019, arXiv 1904.01355 (FCOS: fully convolutional one-stage detection).
    """

    stride = 8
    unit_px = 32.0

    def __init__(self, places: int, width: int = 96) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 40, 4, 4), nn.BatchNorm2d(40), Bottleneck(40))
        self.fine = _stage(40, 72, 2)
        self.middle = _stage(72, 128, 3)
        self.deep = _stage(128, 160, 2)
        self.across = nn.ModuleList(nn.Conv2d(wide, width, 1) for wide in (72, 128, 160))
        self.neck = Bottleneck(width)
        self.head = _mostly_nothing(nn.Conv2d(width, 15, 1))
        self.place = nn.Linear(width + 160, places)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [0, 1], sides multiples of 32 -> (B, 15, H/8, W/8), (B, places)."""
        fine = self.fine(self.stem(images * 2 - 1))
        middle = self.middle(fine)
        deep = self.deep(middle)
        size = fine.shape[-2:]
        summed = self.across[0](fine)
        for layer, item in zip(self.across[1:], (middle, deep), strict=True):
            summed = summed + F.interpolate(layer(item), size=size)
        seen = self.neck(summed)
        pooled = torch.cat([seen.mean((2, 3)), deep.mean((2, 3))], 1)
        return self.head(seen), self.place(pooled)


def _stage(wide_in: int, wide_out: int, depth: int) -> nn.Sequential:
    down = nn.Conv2d(wide_in, wide_out, 2, 2)
    return nn.Sequential(down, *(Bottleneck(wide_out) for _ in range(depth)))


class PatchNet(nn.Module):
    """An aligned crop to a unit vector: places of a dictionary that attend to one another."""

    def __init__(self, width: int = 112, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.dictionary = Dictionary(128, 16, 5, 2, 9)
        self.even = nn.BatchNorm2d(self.dictionary.channels)
        self.tokens = nn.Conv2d(self.dictionary.channels, width, 1)
        self.places = nn.Parameter(torch.randn(1, 81, width) * 0.02)
        self.layers = nn.Sequential(*(Attention(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, 24)
        self.code = TraitCode(24 * 81)

    def forward(self, crops: Tensor) -> Tensor:
        """(B, 3, 72, 72) in [0, 1] -> (B, D) of length 1."""
        # A mirrored face has the same traits, and is misread in another way.
        code: Tensor = self.code(self.features(crops), self.features(crops.flip(3)))
        return code

    def features(self, crops: Tensor) -> Tensor:
        """(B, 3, 72, 72) in [0, 1] -> (B, 24 * 81), what each place has to say."""
        tokens = self.tokens(self.even(self.dictionary(crops))).flatten(2).transpose(1, 2)
        seen: Tensor = self.narrow(self.norm(self.layers(tokens + self.places)))
        return seen.flatten(1)

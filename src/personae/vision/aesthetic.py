"""How good a picture looks, by the published predictors of aesthetic scores."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from personae.errors import WeightsError
from personae.vision.embedders.pretrained import load_pretrained, weights_digest
from personae.vision.preference import clip_pixels

__all__ = ["CLIP_L14", "SIGLIP_SO400M", "AestheticScorer", "linear_head"]

SIGLIP_SO400M = "google/siglip-so400m-patch14-384"
"""The encoder of aesthetic-predictor-v2.5."""
CLIP_L14 = "openai/clip-vit-large-patch14"
"""The encoder of LAION's improved-aesthetic-predictor."""

_ENCODERS = {"siglip": "SiglipVisionModel", "clip": "CLIPVisionModelWithProjection"}
_WEIGHT = re.compile(r"(?:.*\.)?(\d+)\.weight")
_AS_SAFETENSORS = (
    'python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('HEAD.pth', weights_only=True), 'HEAD.safetensors')\""
)


class AestheticScorer:
    r"""An aesthetic predictor: a picture's embedding through a few linear layers.

    .. math:: A_L \cdots A_2 A_1 \frac{f(x)}{\lVert f(x) \rVert}

    about 1 to 10, higher is better; the layers :math:`A_i` are affine with nothing between them (a
    head that was trained with activations is another one). Which encoder :math:`f` is, its own
    configuration says: SigLIP (aesthetic-predictor-v2.5, XVerseBench's AES: all of the picture
    squeezed into the model's square, mean and deviation 0.5, the pooled output; weights of the head
    AGPL-3.0, of SigLIP Apache-2.0), or CLIP (LAION's improved-aesthetic-predictor: short side to
    the model's, the middle, the projected embedding; Apache-2.0 and MIT). Both heads are published
    as pickles, which are not read here: make a safetensors file of one first (the error says how).

    The gradient reaches the pixels. Pictures alone are asked about: prompts, which a
    `PreferenceModel` is given, are not looked at.

    Args:
        head: safetensors of the linear layers.
        encoder: folder or hub id.
        revision: commit of a hub id.
        device: where to compute.

    Raises:
        WeightsError: head or encoder cannot be read, or they do not fit each other.
    """

    differentiable = True

    def __init__(
        self,
        head: str | Path,
        encoder: str | Path = SIGLIP_SO400M,
        revision: str | None = None,
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self._is_clip, network = _load_encoder(encoder, revision)
        config = network.config
        self._side_px = int(config.image_size)
        self._head = linear_head(
            _read_head(Path(head)),
            int(config.projection_dim if self._is_clip else config.hidden_size),
            str(head),
        ).to(self.device)
        digest = hashlib.sha256(
            (weights_digest(network) + weights_digest(self._head)).encode()
        ).hexdigest()[:8]
        self.name = f"{Path(head).stem}+{Path(encoder).name}-{digest}"
        self._network: Any = network.eval().requires_grad_(False).to(self.device)

    def score(self, pictures: Tensor, prompts: Sequence[str] = ()) -> Tensor:
        """(B, 3, H, W) in about [0, 1] -> (B,) float32."""
        del prompts
        pictures = pictures.to(self.device).float()
        if self._is_clip:
            seen = self._network(pixel_values=clip_pixels(pictures, self._side_px)).image_embeds
        else:
            seen = self._network(pixel_values=_squeezed(pictures, self._side_px)).pooler_output
        said: Tensor = self._head(F.normalize(seen.float(), dim=-1))
        return said[:, 0]


def linear_head(tensors: Mapping[str, Tensor], width: int, where: str) -> nn.Sequential:
    """The layers of a head, in the order of the numbers in their names (``layers.4.weight``).

    Args:
        tensors: by name, as the file has them.
        width: numbers in an embedding.
        where: for messages.

    Raises:
        WeightsError: they are no chain of affine layers from ``width`` numbers to one.
    """
    places = {
        int(match[1]): name.removesuffix("weight")
        for name in tensors
        if (match := _WEIGHT.fullmatch(name))
    }
    stems = [places[number] for number in sorted(places)]
    named = {stem + part for stem in stems for part in ("weight", "bias")}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    layers, wanted = [], width
    for stem in stems:
        weight, bias = tensors.get(f"{stem}weight"), tensors.get(f"{stem}bias")
        fits = weight is not None and weight.ndim == 2 and weight.shape[1] == wanted
        if weight is None or bias is None or not fits or bias.shape != weight.shape[:1]:
            break
        wanted = weight.shape[0]
        layers.append(_layer(weight, bias))
    if not layers or len(layers) < len(stems) or named != set(tensors) or wanted != 1:
        raise WeightsError(
            f"{where}: expected linear layers from {width} numbers (the encoder's) to 1, such as "
            f"layers.0.weight (1024, {width}) and layers.0.bias; got {shapes}: is it the head of "
            "this encoder?"
        )
    return nn.Sequential(*layers).requires_grad_(False)


def _layer(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.float(), "bias": bias.float()})
    return layer


def _squeezed(pictures: Tensor, side_px: int) -> Tensor:
    """Both sides to ``side_px`` (bicubic, antialiased, clipped), then from [0, 1] to [-1, 1]."""
    resized = F.interpolate(pictures, (side_px, side_px), mode="bicubic", antialias=True)
    return resized.clamp(0, 1) * 2 - 1


def _load_encoder(source: str | Path, revision: str | None) -> tuple[bool, Any]:
    """Is it CLIP, and the model; every weight of it from the file."""
    kind = str(load_pretrained("AutoConfig", source, revision).model_type).split("_")[0]
    if kind not in _ENCODERS:
        raise WeightsError(
            f"{source}: an encoder of kind {kind!r}; expected one of {list(_ENCODERS)}, such as "
            f"{SIGLIP_SO400M} or {CLIP_L14}"
        )
    network, told = load_pretrained(_ENCODERS[kind], source, revision, output_loading_info=True)
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])
        raise WeightsError(
            f"{source}: {len(missing)} weights of {_ENCODERS[kind]} are not in it, such as "
            f"{missing[0]}; what is not in a file would be random, so give a whole one"
        )
    return kind == "clip", network


def _read_head(path: Path) -> Mapping[str, Tensor]:
    if path.suffix != ".safetensors" or not path.is_file():
        raise WeightsError(
            f"{path}: expected the head as a safetensors file; of the published .pth make one "
            f"with `{_AS_SAFETENSORS}`"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})") from error

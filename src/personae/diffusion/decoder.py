"""A small decoder in place of the model's own: what a reward's gradient flows through cheaply.

Its folder is one of diffusers' ``AutoencoderTiny`` (TAESD, Bohan 2023), of which only the decoder
is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personae.compute.runs import make_folder, write_atomic, write_json
from personae.diffusion.backbone import Backbone
from personae.errors import RequestError, WeightsError

__all__ = [
    "SmallDecoder",
    "load_small_decoder",
    "new_small_decoder",
    "save_small_decoder",
]

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_PREFIX = "decoder."
# diffusers' AutoencoderTiny, where a configuration leaves something out.
_DEFAULTS: Mapping[str, Any] = {
    "out_channels": 3,
    "decoder_block_out_channels": (64, 64, 64, 64),
    "act_fn": "relu",
    "upsample_fn": "nearest",
    "latent_channels": 4,
    "upsampling_scaling_factor": 2,
    "num_decoder_blocks": (3, 3, 3, 1),
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
}


class SmallDecoder(nn.Module):
    """(B, C, h, w) latents as `Backbone.predict` knows them -> (B, 3, H, W) pixels about [0, 1].

    Latents are unfolded until they have the decoder's own channels (FLUX.2: 4 C' channels at
    H / 16 to C' at H / 8), then divided by ``scaling_factor`` and moved by ``shift_factor``:
    TAESD-like decoders speak of latents that are normalized already. Gradients flow.

    Args:
        config: of an ``AutoencoderTiny``.
        fold: by how many pixels a side latents are unfolded.
    """

    def __init__(self, config: Mapping[str, Any], fold: int) -> None:
        super().__init__()
        from diffusers.models.autoencoders.vae import DecoderTiny

        settings = {**_DEFAULTS, **config}
        self.config, self.fold = dict(config), fold
        self.scale, self.shift = settings["scaling_factor"], settings["shift_factor"]
        self.decoder: nn.Module = DecoderTiny(
            in_channels=settings["latent_channels"],
            out_channels=settings["out_channels"],
            num_blocks=tuple(settings["num_decoder_blocks"]),
            block_out_channels=tuple(settings["decoder_block_out_channels"]),
            upsampling_scaling_factor=settings["upsampling_scaling_factor"],
            act_fn=settings["act_fn"],
            upsample_fn=settings["upsample_fn"],
        )

    def forward(self, latents: Tensor) -> Tensor:
        """See the class."""
        first = next(self.decoder.parameters())
        unfolded = F.pixel_shuffle(latents.to(first.dtype), self.fold)
        pixels: Tensor = self.decoder(unfolded / self.scale + self.shift)
        return pixels / 2 + 0.5


def new_small_decoder(
    backbone: Backbone, channels: int, blocks: tuple[int, ...], seed: int = 0
) -> SmallDecoder:
    """One with random weights that fits a backbone: where distilling it begins.

    Args:
        backbone: whose latents it is for.
        channels: width of all its layers.
        blocks: residual blocks at each size, smallest first; sizes double.
        seed: of the weights; torch's own random state is left as it was.

    Raises:
        RequestError: so many sizes do not lead from these latents to pixels.
    """
    shape = backbone.latent_shape(backbone.multiple, backbone.multiple)
    fold = backbone.multiple // 2 ** (len(blocks) - 1)
    latent_channels = shape[0] // max(1, fold * fold)
    config = {
        "latent_channels": latent_channels,
        "decoder_block_out_channels": [channels] * len(blocks),
        "num_decoder_blocks": list(blocks),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallDecoder(config, _fold(config, backbone, f"blocks {list(blocks)}"))


def save_small_decoder(decoder: SmallDecoder, folder: Path) -> Path:
    """Write the decoder as an ``AutoencoderTiny`` folder without an encoder."""
    from safetensors.torch import save

    make_folder(folder)
    write_json(folder / "config.json", {"_class_name": "AutoencoderTiny", **decoder.config})
    state = decoder.decoder.state_dict()
    tensors = {f"{_PREFIX}{name}": item.cpu().contiguous() for name, item in state.items()}
    write_atomic(folder / _WEIGHTS, save(tensors, {"format": "pt"}))
    return folder


def load_small_decoder(folder: Path, backbone: Backbone) -> Callable[[Tensor], Tensor]:
    """The small decoder of a folder, frozen, where the backbone's autoencoder is.

    Args:
        folder: of an ``AutoencoderTiny``; its encoder need not be there.
        backbone: whose latents it has to understand.

    Returns:
        Normalized latents (B, C, h, w) -> pixels (B, 3, H, W) about [0, 1], with a gradient.

    Raises:
        WeightsError: the folder is missing or damaged, or is another kind of model.
        RequestError: the decoder is for other latents, or for other sizes of pictures.
    """
    config = _read_config(folder)
    decoder = SmallDecoder(config, _fold(config, backbone, str(folder)))
    _load_weights(decoder, folder / _WEIGHTS)
    autoencoder = getattr(backbone.pipeline, "vae", None)
    dtype = backbone.dtype if autoencoder is None else autoencoder.dtype
    frozen: Any = decoder.eval().requires_grad_(False).to(backbone.device, dtype)
    small: SmallDecoder = frozen.to(memory_format=torch.channels_last)  # twice as fast on a CPU
    return small


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = config.get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{path}: cannot be read ({error}); expected a folder that recipes/small_decoder.py "
            "or diffusers' AutoencoderTiny.save_pretrained wrote"
        ) from error
    if kind != "AutoencoderTiny":
        raise WeightsError(f"{path}: expected _class_name AutoencoderTiny; got {kind!r}")
    return config


def _fold(config: Mapping[str, Any], backbone: Backbone, where: str) -> int:
    """By how much latents are unfolded so that channels and sizes fit."""
    settings = {**_DEFAULTS, **config}
    multiple = backbone.multiple
    channels = backbone.latent_shape(multiple, multiple)[0]
    own, stages = int(settings["latent_channels"]), len(settings["num_decoder_blocks"])
    grows = int(settings["upsampling_scaling_factor"]) ** (stages - 1)
    fold = math.isqrt(channels // max(1, own))
    if own < 1 or fold * fold * own != channels or fold * grows != multiple:
        raise RequestError(
            f"small decoder {where}: {own} latent channels, {grows} times as large pictures; "
            f"{backbone.name} has latents of {channels} channels and pictures {multiple} times as "
            f"large, so expected {_fitting(channels, multiple)}"
        )
    if settings["out_channels"] != 3:
        raise RequestError(f"small decoder {where}: expected 3 out_channels; got {settings}")
    if not 0 < float(settings["scaling_factor"]) < math.inf:
        raise RequestError(
            f"small decoder {where}: scaling_factor {settings['scaling_factor']}: expected a "
            "number above 0 that normalized latents are divided by (1 for TAESD and its kin)"
        )
    return fold


def _fitting(channels: int, multiple: int) -> str:
    """What would fit.

    >>> _fitting(128, 16)
    '128 channels with 16 times, or 32 channels with 8 times'
    """
    found = [
        f"{channels // fold**2} channels with {multiple // fold} times"
        for fold in (1, 2)
        if channels % fold**2 == 0 and multiple % fold == 0
    ]
    return ", or ".join(found)


def _load_weights(decoder: SmallDecoder, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        held = load_file(path)
        state = {k.removeprefix(_PREFIX): v for k, v in held.items() if k.startswith(_PREFIX)}
        decoder.decoder.load_state_dict(state)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(
            f"{path}: no weights for this configuration ({reason}); expected tensors named "
            f"{_PREFIX}layers.* as safetensors: distill it again with recipes/small_decoder.py"
        ) from error

"""The sizes of a model from its configuration files alone: enough to say what memory it needs."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from personae.diffusion.backbone import Limits, read_limits
from personae.diffusion.families import Family, facts_of
from personae.diffusion.flux1_limits import FLUX1_PARTS, flux1_limits
from personae.diffusion.flux2_limits import klein_limits
from personae.diffusion.folder import read_index, weighted_components
from personae.diffusion.parts import PartConfig
from personae.diffusion.sdxl_limits import SDXL_PARTS, sdxl_limits
from personae.errors import WeightsError

__all__ = ["KNOWN_MODELS", "ModelConfigs", "PartConfig", "build_on_meta", "read_configs"]


@dataclass(frozen=True)
class ModelConfigs:
    """A pipeline's class, its parts that have weights, and what it was trained for."""

    name: str
    pipeline_class: str
    parts: Mapping[str, PartConfig]
    limits: Limits

    @property
    def family(self) -> Family:
        """What is known of its family."""
        return facts_of(self.pipeline_class)

    @property
    def denoiser(self) -> PartConfig:
        """The part that is trained."""
        return self.parts[self.family.denoiser]

    @property
    def multiple(self) -> int:
        """Width and height of a picture are multiples of this many pixels, a latent's side."""
        stages = len(self.parts["vae"].config["block_out_channels"])
        return int(self.family.fold * 2 ** (stages - 1))

    @property
    def text_shape(self) -> tuple[int, int]:
        """(rows, width) of an embedded prompt."""
        return self.family.text_shape(self.parts, self.limits)


def read_configs(folder: Path, name: str | None = None) -> ModelConfigs:
    """Read a diffusers folder's configuration files; its weights need not be there.

    Raises:
        WeightsError: the folder or one of the files is missing or damaged.
    """
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; check the path of the model")
    pipeline_class, index = read_index(folder / "model_index.json")
    parts = {}
    for part in weighted_components(index):
        library, kind = index[part]
        path = folder / part / "config.json"
        try:
            parts[part] = PartConfig(library, kind, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"{path}: cannot be read ({error}); get the model's *.json files again"
            ) from error
    limits = read_limits(folder, facts_of(pipeline_class).limits(index, parts))
    return ModelConfigs(name or str(folder), pipeline_class, parts, limits)


def build_on_meta(part: PartConfig) -> nn.Module:
    """The part as a module without memory behind its weights.

    Raises:
        WeightsError: this version of the library does not know the class.
    """
    try:
        kind = getattr(importlib.import_module(part.library), part.kind)
    except (ImportError, AttributeError) as error:
        raise WeightsError(
            f"{part.library}.{part.kind}: not in the installed version; update {part.library}"
        ) from error
    with torch.device("meta"):
        if part.library == "diffusers":
            module: nn.Module = kind.from_config(dict(part.config))
        else:
            module = kind(kind.config_class.from_dict(dict(part.config)))
    return module


# The configuration files of FLUX.2 [klein] 4B, base and distilled alike, so that its needs can be
# said without a network: transformer/config.json of the published folder, the autoencoder of the
# FLUX.2 program (ch 128, ch_mult 1 2 4 4, 2 blocks, 32 channels, which are the class's defaults),
# and Qwen3-4B's config.json.
_KLEIN_4B = {
    "transformer": PartConfig(
        "diffusers",
        "Flux2Transformer2DModel",
        {
            "in_channels": 128,
            "num_layers": 5,
            "num_single_layers": 20,
            "num_attention_heads": 24,
            "attention_head_dim": 128,
            "joint_attention_dim": 7680,
            "mlp_ratio": 3.0,
            "axes_dims_rope": (32, 32, 32, 32),
            "guidance_embeds": False,
        },
    ),
    "text_encoder": PartConfig(
        "transformers",
        "Qwen3ForCausalLM",
        {
            "model_type": "qwen3",
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
    ),
    "vae": PartConfig(
        "diffusers",
        "AutoencoderKLFlux2",
        {
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 32,
        },
    ),
}
KNOWN_MODELS: Mapping[str, ModelConfigs] = {
    f"black-forest-labs/FLUX.2-klein-{kind}": ModelConfigs(
        f"black-forest-labs/FLUX.2-klein-{kind}",
        "Flux2KleinPipeline",
        _KLEIN_4B,
        klein_limits(is_distilled=kind == "4B"),
    )
    for kind in ("4B", "base-4B")
} | {
    name: ModelConfigs(name, kind, parts, limits(parts))
    for name, kind, parts, limits in (
        (
            "stabilityai/stable-diffusion-xl-base-1.0",
            "StableDiffusionXLPipeline",
            SDXL_PARTS,
            sdxl_limits,
        ),
        ("black-forest-labs/FLUX.1-dev", "FluxPipeline", FLUX1_PARTS, flux1_limits),
    )
}

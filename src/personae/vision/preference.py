"""Models that say how well a picture fits its prompt, or which one people would prefer."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from personae.errors import WeightsError
from personae.vision.embedders.pretrained import load_pretrained, weights_digest
from personae.vision.embedders.transformers_models import center_cropped

__all__ = ["ClipScorer", "HpsScorer", "ImageRewardScorer", "PreferenceModel", "clip_pixels"]

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_CLIP_TOKENS = 77
_IMAGE_REWARD_TOKENS = 35
_IMAGE_REWARD_SIDE_PX = 224


class PreferenceModel(Protocol):
    """Pictures and their prompts in, a number each out.

    Attributes:
        name: what results call it.
        differentiable: do gradients reach the pixels?
    """

    name: str
    differentiable: bool

    def score(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        """(B, 3, H, W) in about [0, 1] and B prompts that are not empty -> (B,) float32."""
        ...


def clip_pixels(pictures: Tensor, side_px: int) -> Tensor:
    """(B, 3, H, W) in about [0, 1] -> (B, 3, side_px, side_px) as CLIP's programs feed it.

    Short side to ``side_px`` (bicubic, antialiased, clipped to [0, 1]), the middle of it,
    normalized by CLIP's means and deviations. Differentiable wherever nothing was clipped.

    >>> clip_pixels(torch.full((1, 3, 30, 50), 0.5), 28).shape
    torch.Size([1, 3, 28, 28])
    """
    cropped = center_cropped(pictures.float(), side_px, side_px)
    mean, deviation = (
        torch.tensor(values, device=pictures.device)[:, None, None]
        for values in (_MEAN, _DEVIATION)
    )
    return (cropped - mean) / deviation


class ClipScorer:
    r"""How near CLIP sees a picture and its prompt; the gradient reaches the pixels.

    .. math:: \cos(f(x), g(y)), \qquad \text{scaled: } e^{\tau} \cos(f(x), g(y))

    Unscaled it is CLIP's alignment (Radford et al. 2021, arXiv 2103.00020), in [-1, 1]. Scaled it
    is PickScore's score (Kirstain et al. 2023, arXiv 2305.01569), whose weights are those of a
    CLIP ViT-H/14; about 17 to 24 on real pictures, as published. Prompts beyond 77 tokens are
    cut, as the published programs cut them.

    Args:
        source: folder or hub id with ``model.safetensors``.
        revision: commit of a hub id.
        tokenizer: where the tokenizer is, if ``source`` has none.
        scaled: multiply by the learned scale.
        device: where to compute.

    Raises:
        WeightsError: model or tokenizer cannot be loaded.
    """

    differentiable = True

    def __init__(
        self,
        source: str | Path,
        revision: str | None = None,
        *,
        tokenizer: str | Path | None = None,
        scaled: bool = False,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device, self._scaled = torch.device(device), scaled
        network = load_pretrained("CLIPModel", source, revision)
        self._tokenizer: Any = _load_tokenizer(source, revision, tokenizer)
        self.name = f"{Path(source).name}-{weights_digest(network)}"
        self._network: Any = network.eval().requires_grad_(False).to(self.device)
        self._side_px = int(network.config.vision_config.image_size)
        self._most = int(network.config.text_config.max_position_embeddings)

    def score(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        """See `PreferenceModel`."""
        tokens = self._tokenizer(
            list(prompts),
            padding=True,
            truncation=True,
            max_length=min(_CLIP_TOKENS, self._most),
            return_tensors="pt",
        ).to(self.device)
        seen = self._network(
            pixel_values=clip_pixels(pictures.to(self.device), self._side_px), **tokens
        )
        cosine: Tensor = (seen.image_embeds * seen.text_embeds).sum(-1).float()
        return cosine * self._network.logit_scale.exp() if self._scaled else cosine


def _load_tokenizer(source: str | Path, revision: str | None, other: str | Path | None) -> Any:
    """The model's own, or where it has none (PickScore's repository) the one it was made from."""
    try:
        return load_pretrained("CLIPTokenizer", source, revision)
    except WeightsError:
        if other is None:
            raise
        return load_pretrained("CLIPTokenizer", other)


class ImageRewardScorer:
    """ImageReward (Xu et al. 2023, arXiv 2304.05977) through its own package ``image-reward``.

    About -2 to 2, as published. The gradient reaches the pixels: the package's own pass with a
    gradient is asked, with pixels prepared as `clip_pixels` does. Prompts beyond 35 tokens are
    cut, as the package cuts them. Its weights are a ``.pt`` file, which the package reads with
    ``torch.load`` as torch has it since 2.6: numbers only, no code of the file runs.

    Args:
        source: ``ImageReward.pt``, or a folder that holds it, perhaps beside ``med_config.json``;
            None: what the package downloads.
        device: where to compute.

    Raises:
        WeightsError: package or weights are missing.
    """

    name = "imagereward"
    differentiable = True

    def __init__(
        self, source: str | Path | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.device = torch.device(device)
        package = _import("ImageReward", "image-reward")
        options: dict[str, Any] = {"name": "ImageReward-v1.0"}
        if source is not None:
            file = Path(source) / "ImageReward.pt" if Path(source).is_dir() else Path(source)
            _require_file(file, "imagereward")
            options["name"] = str(file)
            config = file.with_name("med_config.json")
            options |= {"med_config": str(config)} if config.is_file() else {}
        self._network: Any = _loaded("ImageReward.pt", package.load, device=device, **options)
        self._network.eval().requires_grad_(False)

    def score(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        """See `PreferenceModel`."""
        tokens = self._network.blip.tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=_IMAGE_REWARD_TOKENS,
            return_tensors="pt",
        ).to(self.device)
        pixels = clip_pixels(pictures.to(self.device), _IMAGE_REWARD_SIDE_PX)
        said: Tensor = self._network.score_gard(  # its author's spelling
            tokens.input_ids, tokens.attention_mask, pixels
        )
        return said.float().flatten()


class HpsScorer:
    """HPSv3 (Ma et al. 2025, arXiv 2508.03789) through its own package ``hpsv3``; no gradient.

    The model says a mean and a deviation of how much people like a picture; the mean is taken, as
    its authors do. The package wants an old transformers (4.45): give it an environment of its
    own and ask it through `personae serve`.

    Args:
        source: ``HPSv3.safetensors``, or a folder that holds it; None: what the package
            downloads.
        device: where to compute.

    Raises:
        WeightsError: package or weights are missing.
    """

    name = "hpsv3"
    differentiable = False

    def __init__(
        self, source: str | Path | None = None, device: str | torch.device = "cpu"
    ) -> None:
        package = _import("hpsv3", "hpsv3")
        file: Path | None = None
        if source is not None:
            file = Path(source) / "HPSv3.safetensors" if Path(source).is_dir() else Path(source)
            _require_file(file, "hpsv3")
        self._inferencer: Any = _loaded(
            "HPSv3.safetensors",
            package.HPSv3RewardInferencer,
            device=str(device),
            checkpoint_path=None if file is None else str(file),
        )

    @torch.no_grad()
    def score(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        """See `PreferenceModel`."""
        from PIL import Image

        shown = (pictures.detach().float().clamp(0, 1) * 255).round().byte()
        images = [Image.fromarray(one.permute(1, 2, 0).cpu().numpy()) for one in shown]
        said = self._inferencer.reward(image_paths=images, prompts=list(prompts))
        return torch.stack([torch.as_tensor(row).flatten()[0] for row in said]).float()


def _import(module: str, distribution: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WeightsError(
            f"reward {distribution}: its package cannot be imported ({error}); run `pip install "
            f"{distribution}` (in an environment of its own where its requirements disagree with "
            "these, behind `personae serve`), or leave this reward out"
        ) from error


def _require_file(path: Path, reward: str) -> None:
    if not path.is_file():
        raise WeightsError(
            f"{path}: no such file; expected the weights of {reward}: check "
            f"rewards.models.{reward}, or leave it out and let the package fetch them"
        )


def _loaded(what: str, make: Any, **options: Any) -> Any:
    """Foreign programs fail in many ways to find or to read their weights."""
    try:
        return make(**options)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(
            f"{what}: could not be loaded ({type(error).__name__}: {reason}); check the file, the "
            "network and HF_HUB_OFFLINE, or name a downloaded copy in rewards.models"
        ) from error

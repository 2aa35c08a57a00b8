"""Regional control: in each subject's box, a picture follows that subject's own prompt.

The network is asked once with the whole prompt and once with each regional one, about the same
noisy picture; what it says is put together by boxes. That is MultiDiffusion (Bar-Tal et al. 2023,
arXiv 2302.08113) with views of the picture's own size, and the kin of the regionally
controllable sampling of Mix-of-Show (Gu et al. 2023, arXiv 2305.18292), which does it
inside each cross-attention instead; MuDI (arXiv 2404.04243) has "DreamBooth + region control"
among its baselines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from personae.diffusion.backbone import Backbone
from personae.errors import RequestError

__all__ = ["Region", "blended", "box_cells", "drawn_by_regions"]


@dataclass(frozen=True, eq=False)
class Region:
    """A prompt and where it holds: ``cells`` (B, h, w) in [0, 1], of each picture's latents."""

    prompt: str
    cells: Tensor


def box_cells(box: Sequence[float], height: int, width: int) -> Tensor:
    """How much of each latent cell a box covers: (height, width) float32 in [0, 1].

    ``box`` is left, top, right, bottom as fractions of the picture.

    >>> box_cells((0.25, 0.0, 1.0, 1.0), 1, 2).tolist()
    [[0.5, 1.0]]
    """
    left, top, right, bottom = box
    rows = _covered(top * height, bottom * height, height)
    return rows[:, None] * _covered(left * width, right * width, width)


def _covered(start: float, end: float, length: int) -> Tensor:
    edges = torch.arange(length, dtype=torch.float32)
    return ((edges + 1).clamp(max=end) - edges.clamp(min=start)).clamp(min=0)


def blended(
    whole: Tensor, regional: Sequence[Tensor], cells: Sequence[Tensor], weight: float
) -> Tensor:
    r"""One prediction of several, by boxes.

    .. math:: (1 - w c) \, v + w c \, \frac{\sum_k m_k v_k}{\sum_k m_k}, \quad c = \max_k m_k

    ``whole`` v and ``regional`` v_k have one shape, ``cells`` m_k one that it can be multiplied
    with, in [0, 1]. Outside all boxes v stays as it is, to the bit; where boxes overlap their
    prompts have their mean. ``weight`` w in [0, 1]: 0 is the whole prompt everywhere.

    >>> v = torch.zeros(4)
    >>> blended(v, [v + 1, v + 3], [torch.tensor([1, 1, 0, 0.5]), torch.tensor([0, 1, 0, 0])], 1.0)
    tensor([1.0000, 2.0000, 0.0000, 0.5000])
    """
    if not regional:
        return whole
    total = torch.stack(list(cells)).to(whole)
    share = total.amax(0) * weight
    mean = sum(part * item for part, item in zip(total, regional, strict=True))
    mean = mean / total.sum(0).clamp(min=torch.finfo(whole.dtype).tiny)
    return torch.where(share > 0, (1 - share) * whole + share * mean, whole)


class _Calls(Protocol):
    """How one kind of network is called by its pipeline."""

    network: nn.Module

    def told(self, kwargs: Mapping[str, Any], sample: Tensor, pictures: int) -> slice | None:
        """The rows of a call that are asked with the prompt; None: it is the empty one's."""

    def place(self, cells: Tensor) -> Tensor:
        """(B, h, w) as what predictions can be multiplied with."""

    def again(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: slice, index: int
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call of these rows with the prompt of region ``index``."""


@contextmanager
def drawn_by_regions(
    backbone: Backbone, prompt: str, regions: Sequence[Region], weight: float = 1.0
) -> Iterator[None]:
    """While this lasts, what the pipeline draws from ``prompt`` follows regions in their boxes.

    Guidance by the prompt stays as it is: only what is said with the prompt is changed, not what
    is said with the empty one. Guidance by the references holds in each region too. Every pass
    with the prompt is one more for each region; with no regions nothing is done.

    Raises:
        RequestError: this family is called in a way that is not known here.
    """
    if not regions:
        yield
        return
    calls = _calls_of(backbone, prompt, [region.prompt for region in regions])
    inside = False

    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        nonlocal inside
        if inside:
            return output
        whole = output[0]
        rows = calls.told(kwargs, whole, len(regions[0].cells))
        if rows is None:
            return output
        said = []
        inside = True
        try:
            for index in range(len(regions)):
                other_args, other_kwargs = calls.again(args, kwargs, rows, index)
                # By a call of the module, so that other hooks hold in regions too.
                said.append(module(*other_args, **other_kwargs)[0])
        finally:
            inside = False
        cells = [_padded(calls.place(region.cells), whole).to(whole.device) for region in regions]
        changed = blended(whole[rows], said, cells, weight)
        return (torch.cat([whole[: rows.start], changed]), *output[1:])

    handle = calls.network.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _padded(cells: Tensor, whole: Tensor) -> Tensor:
    """Tokens beyond the picture's own are those of references: in no region."""
    missing = whole.shape[1] - cells.shape[1] if whole.ndim == 3 else 0
    return nn.functional.pad(cells, (0, 0, 0, missing)) if missing else cells


def _calls_of(backbone: Backbone, prompt: str, others: Sequence[str]) -> _Calls:
    if backbone.family == "flux2":
        return _Flux2Calls(backbone, prompt, others)
    if getattr(backbone.pipeline, "unet", None) is not None:
        return _UNetCalls(backbone, others)
    raise RequestError(
        f"{backbone.name}: regional control knows FLUX.2 and families with a UNet, not "
        f"{backbone.family!r}; leave --regions away"
    )


class _Flux2Calls:
    """A FLUX.2 pipeline asks with the prompt and with the empty one in two calls."""

    def __init__(self, backbone: Backbone, prompt: str, others: Sequence[str]) -> None:
        self.network: nn.Module = backbone.pipeline.transformer
        self._told, self._untold = (backbone.encode_prompt([text]) for text in (prompt, ""))
        self._texts = [backbone.encode_prompt([text]) for text in others]

    def told(self, kwargs: Mapping[str, Any], sample: Tensor, pictures: int) -> slice | None:
        text = kwargs["encoder_hidden_states"][:1].float()
        # Nearest rather than equal: a batch may be rounded otherwise than one prompt alone.
        near, far = ((text - one.float()).norm() for one in (self._told, self._untold))
        return slice(0, None) if near <= far else None

    def place(self, cells: Tensor) -> Tensor:
        return cells.flatten(1)[..., None]

    def again(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: slice, index: int
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        before = kwargs["encoder_hidden_states"]
        text = self._texts[index].to(before).expand(len(before), -1, -1)
        return args, {**kwargs, "encoder_hidden_states": text}


class _UNetCalls:
    """Stable Diffusion's pipelines ask in one batch, the empty prompt's rows before the others."""

    def __init__(self, backbone: Backbone, others: Sequence[str]) -> None:
        pipeline = backbone.pipeline
        self.network: nn.Module = pipeline.unet
        with torch.no_grad():
            self._texts = [
                pipeline.encode_prompt(
                    prompt=text,
                    device=backbone.device,
                    num_images_per_prompt=1,
                    do_classifier_free_guidance=False,
                )
                for text in others
            ]

    def told(self, kwargs: Mapping[str, Any], sample: Tensor, pictures: int) -> slice | None:
        return slice(len(sample) - pictures, None)

    def place(self, cells: Tensor) -> Tensor:
        return cells[:, None]

    def again(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], rows: slice, index: int
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        texts = self._texts[index]
        before = kwargs["encoder_hidden_states"][rows]
        changed = {**kwargs, "encoder_hidden_states": texts[0].to(before).expand_as(before)}
        added = kwargs.get("added_cond_kwargs")
        if added:
            kept = {name: value[rows] for name, value in added.items()}
            # SDXL's encoder gives (prompt, negative, pooled, negative pooled).
            pooled = texts[2].to(kept["text_embeds"]).expand_as(kept["text_embeds"])
            changed["added_cond_kwargs"] = {**kept, "text_embeds": pooled}
        if kwargs.get("timestep_cond") is not None:
            changed["timestep_cond"] = kwargs["timestep_cond"][rows]
        if "sample" in kwargs:
            changed["sample"] = kwargs["sample"][rows]
        return tuple(_rows_of(args, rows)), changed


def _rows_of(args: tuple[Any, ...], rows: slice) -> Iterator[Any]:
    """The sample comes first; a timestep of one for all stays as it is."""
    for place, value in enumerate(args):
        batched = torch.is_tensor(value) and value.ndim > 0 and (place == 0 or len(value) > 1)
        yield value[rows] if batched else value

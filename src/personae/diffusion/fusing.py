"""Adapters fused by what they do: each draws its own prompts, and every layer is watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.diffusion.backbone import Backbone
from personae.diffusion.gradient_fusion import cut_to_rank, fuse_layer, gathered_inputs, unlike
from personae.diffusion.lora import bare_module, load_lora
from personae.diffusion.low_rank import LowRank, attach_layers, read_adapter, remove_adapter
from personae.diffusion.memory import available_memory
from personae.errors import RequestError

__all__ = ["Concept", "FusedLayer", "Fusion", "Sampling", "fuse_adapters"]

_SIZE = (1024, 1024)


@dataclass(frozen=True, kw_only=True, eq=False)
class Concept:
    """An adapter and what it is for.

    Attributes:
        adapter: as `load_lora` takes it.
        prompts: that its subject is drawn from, as they were in training.
        references: (H, W, 3) uint8 each, for a model that is shown some; the same for all prompts.
    """

    adapter: str | Path
    prompts: Sequence[str]
    references: Sequence[np.ndarray] = ()


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the pictures are drawn whose activations are looked at; None is the checkpoint's own.

    Attributes:
        samples: pictures a prompt.
        steps: sampling steps, all of which are looked at.
        guidance: above 1 the empty prompt is looked at too.
        size: (width, height) in pixels; None is its smallest, or 1024 x 1024.
    """

    samples: int = 1
    steps: int | None = None
    guidance: float | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class FusedLayer:
    """How a layer came out.

    Attributes:
        unlike: how far it is from the adapters on their own inputs, as `unlike` says.
        average_unlike: the same of the adapters' plain average.
        lost: share of its output that was lost with the rank.
    """

    unlike: float | None
    average_unlike: float | None
    lost: float


@dataclass(frozen=True)
class Fusion:
    """How a fusion came out.

    Attributes:
        layers: by name.
        rank: of the adapter.
        num_inputs: activations that were looked at, by concept, in one layer.
    """

    layers: Mapping[str, FusedLayer]
    rank: int
    num_inputs: Mapping[str, int]

    def mean(self, what: str) -> float | None:
        """The mean over layers of one of `FusedLayer`'s numbers; None if no layer has it."""
        values = [getattr(layer, what) for layer in self.layers.values()]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    def as_json(self) -> dict[str, Any]:
        """A machine's answer."""
        means = {name: self.mean(name) for name in FusedLayer.__dataclass_fields__}
        layers = {name: asdict(layer) for name, layer in self.layers.items()}
        return {"rank": self.rank, "num_inputs": dict(self.num_inputs), **means, "layers": layers}


def fuse_adapters(  # noqa: PLR0913 - what, and the knobs of drawing and solving
    backbone: Backbone,
    concepts: Mapping[str, Concept],
    *,
    sampling: Sampling | None = None,
    rank: int | None = None,
    ridge: float = 1e-3,
    layers_at_once: int | None = None,
    generator: torch.Generator | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fusion:
    """Put one adapter on the backbone that does for each concept what its own adapter does.

    Each concept's prompts are drawn with its adapter, the inputs of every layer that any of the
    adapters changes are gathered, and `fuse_layer` solves each layer. Concepts count alike,
    however many prompts they have. `save_lora` writes the result, `merge_lora` adds it to the
    weights.

    What is held at a time is a matrix of ``8 * inputs**2`` bytes for each concept and each of
    ``layers_at_once`` layers: 75 MB at 3,072 inputs, 1.2 GB at 12,288. Each group of layers costs
    all the drawing again.

    Args:
        backbone: without an adapter.
        concepts: by name.
        sampling: how the pictures are drawn.
        rank: of the adapter; None is the sum of the concepts', which loses nothing.
        ridge: see `fuse_layer`.
        layers_at_once: None is as many as half of the free memory holds.
        generator: of the pictures' noise, on the CPU; by default one seeded with 0.
        progress: told (prompts drawn, of how many).

    Raises:
        RequestError: no concept, one without a prompt, a number out of range, a size that this
            model cannot draw, or a backbone that has an adapter already.
        WeightsError: an adapter is missing, or belongs to another model; the message names it.
    """
    sampling = sampling or Sampling()
    _check(concepts, sampling, rank, ridge, layers_at_once)
    read = {key: read_adapter(backbone, item.adapter, key) for key, item in concepts.items()}
    names = sorted({layer for held in read.values() for layer in held})
    groups = _groups(backbone, read, names, layers_at_once)
    noise = _noise(backbone, concepts, sampling, generator or torch.Generator().manual_seed(0))
    watch = _Watch(backbone, sampling, noise, len(groups), progress)
    fused: dict[str, LowRank] = {}
    told: dict[str, FusedLayer] = {}
    for group in groups:
        grams = {key: watch.inputs(key, concept, group) for key, concept in concepts.items()}
        for name in group:
            deltas = _deltas([held.get(name) for held in read.values()])
            seen = [grams[key].pop(name) for key in concepts]
            fused[name], told[name] = _fused(deltas, seen, rank, ridge)
    attach_layers(backbone, fused)
    return Fusion(told, max(layer.rank for layer in fused.values()), dict(watch.num_inputs))


def _fused(
    deltas: Sequence[LowRank], grams: Sequence[Tensor], rank: int | None, ridge: float
) -> tuple[LowRank, FusedLayer]:
    """One layer, and how it came out."""
    whole = fuse_layer(deltas, grams, ridge)
    layer, lost = cut_to_rank(whole, sum(grams[1:], grams[0]), rank or whole.rank)
    downs = torch.cat([delta.down for delta in deltas])
    ups = torch.cat([delta.scale * delta.up / len(deltas) for delta in deltas], dim=1)
    average = unlike(LowRank(downs, ups), deltas, grams)
    return layer, FusedLayer(unlike(layer, deltas, grams), average, lost)


class _Watch:
    """Draws concepts, and looks at what goes into layers meanwhile."""

    def __init__(
        self,
        backbone: Backbone,
        sampling: Sampling,
        noise: Mapping[str, Sequence[Tensor]],
        num_groups: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._backbone, self._sampling, self._noise = backbone, sampling, noise
        self._done, self._progress = 0, progress
        self._of = num_groups * sum(len(items) for items in noise.values())
        self.num_inputs: dict[str, int] = {}

    def inputs(self, key: str, concept: Concept, layers: Sequence[str]) -> dict[str, Tensor]:
        """Mean Gram matrices of these layers while the concept is drawn with its adapter."""
        denoiser = bare_module(self._backbone.denoiser)
        load_lora(self._backbone, concept.adapter)
        try:
            with gathered_inputs({name: denoiser.get_submodule(name) for name in layers}) as grams:
                for prompt, latents in zip(concept.prompts, self._noise[key], strict=True):
                    self._draw(prompt, concept.references, latents)
        finally:
            remove_adapter(self._backbone)
        self.num_inputs[key] = max(gram.num_inputs for gram in grams.values())
        return {name: gram.mean() for name, gram in grams.items()}

    def _draw(self, prompt: str, references: Sequence[np.ndarray], latents: Tensor) -> None:
        limits, sampling = self._backbone.limits, self._sampling
        width, height = _size(self._backbone, sampling)
        self._backbone.draw(
            prompt,
            references,
            width=width,
            height=height,
            latents=latents.to(self._backbone.device, self._backbone.dtype),
            steps=sampling.steps or limits.steps,
            guidance=limits.guidance if sampling.guidance is None else sampling.guidance,
            reference_guidance=limits.reference_guidance if references else 1.0,
        )
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._of)


def _noise(
    backbone: Backbone,
    concepts: Mapping[str, Concept],
    sampling: Sampling,
    generator: torch.Generator,
) -> dict[str, list[Tensor]]:
    """Each prompt's noise (samples, C, h, w): the same for every group of layers."""
    shape = (sampling.samples, *backbone.latent_shape(*_size(backbone, sampling)))
    return {
        key: [torch.randn(shape, generator=generator) for _ in concept.prompts]
        for key, concept in concepts.items()
    }


def _size(backbone: Backbone, sampling: Sampling) -> tuple[int, int]:
    known = sorted(backbone.limits.sizes, key=lambda size: size[0] * size[1])
    return sampling.size or (known[0] if known else _SIZE)


def _groups(
    backbone: Backbone,
    read: Mapping[str, Mapping[str, LowRank]],
    names: Sequence[str],
    layers_at_once: int | None,
) -> list[list[str]]:
    """Layers that are looked at together."""
    places = {backbone.device, torch.device("cpu")}
    budget = min(available_memory(place) for place in places) // 2
    groups: list[list[str]] = []
    held = 0
    for name in names:
        inputs = next(layers[name].down.shape[1] for layers in read.values() if name in layers)
        needed = 8 * inputs**2 * len(read)
        most = layers_at_once or (0 if held + needed > budget else len(names))
        if not groups or len(groups[-1]) >= most:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += needed
    return groups


def _deltas(held: Sequence[LowRank | None]) -> list[LowRank]:
    """One a concept; where its adapter leaves the layer alone, that is what it asks for."""
    there = next(delta for delta in held if delta is not None)
    nothing = LowRank(there.down[:0], there.up[:, :0])
    return [nothing if delta is None else delta for delta in held]


def _check(
    concepts: Mapping[str, Concept],
    sampling: Sampling,
    rank: int | None,
    ridge: float,
    layers_at_once: int | None,
) -> None:
    if not concepts:
        raise RequestError("fusion of nothing: expected at least one concept")
    mute = [name for name, concept in concepts.items() if not concept.prompts]
    if mute:
        raise RequestError(
            f"fusion: concept {mute[0]!r} has no prompt; give one that its subject is drawn from"
        )
    least = {
        "samples": sampling.samples,
        "steps": sampling.steps,
        "rank": rank,
        "layers at once": layers_at_once,
    }
    for name, value in least.items():
        if value is not None and value < 1:
            raise RequestError(f"fusion: {name} {value}: expected at least 1")
    if not ridge >= 0:
        raise RequestError(f"fusion: ridge {ridge}: expected a number from 0")

"""Adapters that were trained apart, merged into one: PEFT's own merges of their weights alone.

What the subjects look like is not asked; `personae.diffusion.gradient_fusion` does ask.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import nn

from personae.diffusion.backbone import Backbone
from personae.diffusion.low_rank import LowRank, attach_layers, read_adapter
from personae.errors import RequestError

__all__ = ["MERGES", "merge_adapters", "merge_layer"]

_SAME_RANK = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")
MERGES: Mapping[str, str] = {
    "cat": "the weighted sum itself; ranks add up",
    "svd": "the weighted sum, cut to a rank",
    "linear": "A and B are summed apart, which is not the sum of their products",
    "ties": "of A and B apart: small values dropped, the majority's sign kept",
    "ties_svd": "the same of the products, cut to a rank",
    "dare_linear": "of A and B apart: random values dropped, the others enlarged",
    "dare_linear_svd": "the same of the products, cut to a rank",
    "dare_ties": "dare_linear with the majority's sign kept",
    "dare_ties_svd": "the same of the products, cut to a rank",
    "magnitude_prune": "of A and B apart: small values dropped",
    "magnitude_prune_svd": "the same of the products, cut to a rank",
}


def merge_adapters(
    backbone: Backbone,
    sources: Mapping[str, str | Path],
    how: str = "cat",
    weights: Mapping[str, float] | None = None,
    *,
    rank: int | None = None,
    density: float = 0.5,
    seed: int = 0,
) -> None:
    r"""Put one adapter on the backbone that is made of several; `save_lora` writes it.

    With ``cat`` each layer becomes :math:`W + \sum_i w_i \, s_i B_i A_i`, exactly. ``linear``
    sums the factors instead, :math:`\sum_i \sqrt{w_i s_i} B_i` times :math:`\sum_i \sqrt{w_i s_i}
    A_i`: an adapter merged with itself at 0.5 and 0.5 comes out twice as strong, for two
    different ones the mixed products :math:`B_i A_j` are noise.

    Args:
        backbone: without an adapter.
        sources: name of an adapter -> what `load_lora` takes; at least two.
        how: one of `MERGES`, which are PEFT's ``combination_type``.
        weights: of some of the adapters, by name; default one over their number.
        rank: of the merged adapter, for the ways that end in ``svd``; default the largest.
        density: share of the values that is kept, for ``ties``, ``dare`` and ``magnitude_prune``.
        seed: of what ``dare`` drops.

    Raises:
        RequestError: an unknown way or name, fewer than two adapters, different ranks where a way
            needs one, a backbone that has an adapter already.
        WeightsError: an adapter is missing, or belongs to another model; the message names it.

    Source: Hugging Face PEFT, ``LoraModel.add_weighted_adapter``; TIES 2306.01708, DARE 2311.03099.
    """
    shares = _checked(sources, how, weights or {}, density)
    read = {name: read_adapter(backbone, source, name) for name, source in sources.items()}
    _require_rank(read, how)
    layers = dict.fromkeys(layer for held in read.values() for layer in held)
    merged = {}
    # PEFT drops values by the global generator, so that is lent to it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers:
            names = [name for name in read if layer in read[name]]
            parts, chosen = [read[name][layer] for name in names], [shares[name] for name in names]
            merged[layer] = merge_layer(parts, chosen, how, rank=rank, density=density)
    attach_layers(backbone, merged)


def merge_layer(
    parts: Sequence[LowRank],
    weights: Sequence[float],
    how: str,
    *,
    rank: int | None = None,
    density: float = 0.5,
) -> LowRank:
    """One layer's adapters as one, by PEFT, in a model that has no other layer.

    PEFT merges adapters of its own models only, and a diffusers model that adapters were injected
    into is none. One layer at a time needs no second model, and little memory.
    """
    from peft import LoraConfig, get_peft_model

    outputs, inputs = len(parts[0].up), parts[0].down.shape[1]
    # Its own weight is never looked at.
    bare = nn.Linear(inputs, outputs, bias=False, device="meta").to_empty(device="cpu")
    model = None
    for number, part in enumerate(parts):
        config = LoraConfig(
            r=part.rank, lora_alpha=part.scale * part.rank, target_modules=["layer"]
        )
        if model is None:
            whole = nn.Sequential(OrderedDict(layer=bare))
            model = get_peft_model(whole, config, adapter_name=str(number))
        else:
            model.add_adapter(str(number), config)
        held = model.base_model.model.layer
        held.lora_A[str(number)].weight.data = part.down
        held.lora_B[str(number)].weight.data = part.up
    assert model is not None
    names = [str(number) for number in range(len(parts))]
    model.add_weighted_adapter(
        names,
        list(weights),
        "merged",
        combination_type=how,
        svd_rank=rank,
        svd_full_matrices=False,
        density=density,
    )
    down, up = held.lora_A["merged"].weight, held.lora_B["merged"].weight
    return LowRank(down.detach(), up.detach(), float(held.scaling["merged"]))


def _checked(
    sources: Mapping[str, str | Path], how: str, weights: Mapping[str, float], density: float
) -> dict[str, float]:
    """Every adapter's weight, if the request makes sense."""
    if how not in MERGES:
        near = get_close_matches(how, MERGES, 1, 0.0)[0]
        raise RequestError(
            f"merge {how!r}: did you mean {near!r}? expected one of {', '.join(MERGES)}"
        )
    if len(sources) < 2:
        raise RequestError(
            f"merge of {list(sources)}: expected at least two adapters; one alone is loaded with "
            "load_lora, at any scale"
        )
    unknown = [name for name in weights if name not in sources]
    if unknown:
        raise RequestError(f"weight of {unknown[0]!r}: expected one of {', '.join(sources)}")
    if not 0 < density <= 1:
        raise RequestError(f"density {density}: expected a share above 0, at most 1")
    return {name: float(weights.get(name, 1 / len(sources))) for name in sources}


def _require_rank(read: Mapping[str, Mapping[str, LowRank]], how: str) -> None:
    if how not in _SAME_RANK:
        return
    for layer in dict.fromkeys(layer for held in read.values() for layer in held):
        ranks = {name: held[layer].rank for name, held in read.items() if layer in held}
        if len(set(ranks.values())) > 1:
            told = ", ".join(f"{name} {rank}" for name, rank in ranks.items())
            raise RequestError(
                f"merge {how}: expected adapters of one rank, got {told} at {layer}; use cat or "
                + ("svd" if how == "linear" else f"{how}_svd")
            )

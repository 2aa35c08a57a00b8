"""What a pass needs, found by making it without numbers: on torch's meta device, watched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from personae.diffusion.backbone import Limits
from personae.diffusion.configs import ModelConfigs, build_on_meta
from personae.diffusion.memory import Workload
from personae.diffusion.parts import PartConfig
from personae.diffusion.tokens import input_tables

__all__ = [
    "FusedAttention",
    "PeakBytes",
    "denoiser_pass",
    "learned_text_bytes",
    "pass_flops",
    "rehearsed_activations",
]

_META = torch.device("meta")
Key = tuple[str, str, str]


class PeakBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """``peak``: the most bytes of tensors that operations under it made and that lived at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self._sum = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it, and count what it made."""
        known = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if _is_dense(x)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _is_dense(leaf) and leaf.untyped_storage()._cdata not in known:
                storage = leaf.untyped_storage()
                weak = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
                self._alive[storage._cdata] = weak, storage.nbytes()
                self._sum += storage.nbytes()
        if self._sum > self.peak:  # it may be, if all of them are still alive
            self._alive = {
                key: held
                for key, held in self._alive.items()
                if not held[0].expired()  # type: ignore[no-untyped-call]
            }
            self._sum = sum(size for _, size in self._alive.values())
            self.peak = max(self.peak, self._sum)
        return result


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


class FusedAttention(TorchFunctionMode):
    """Attention as it runs on devices: without a matrix of n^2 numbers that is kept.

    ``flops`` are its forward passes' operations.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Take attention's place."""
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
        query, key, value = given["query"], given["key"], given["value"]
        self.flops += 4.0 * query.numel() * key.shape[-2]
        return _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]


class _Attention(torch.autograd.Function):
    """Shapes and what is kept of fused attention: queries, keys, values and the result."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """An empty result."""
        result = query.new_empty((*query.shape[:-1], value.shape[-1]))
        ctx.save_for_backward(query, key, value, result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        """Empty gradients."""
        return tuple(torch.empty_like(item) for item in ctx.saved_tensors[:3])


def rehearsed_activations(configs: ModelConfigs, workload: Workload) -> dict[str, int]:
    """Bytes of intermediate tensors of each stage, by passes without numbers.

    The stages are built on torch's meta device and called with inputs of the workload's shapes;
    counted are the most bytes that live at once (with training: of the forward and the backward
    pass, without the gradients of weights, which are counted elsewhere). Attention is taken to be
    fused: nothing grows with n squared.
    """
    dtype, batch = workload.dtype, workload.batch
    encoders = [name for name in configs.parts if name.startswith("text_encoder")]
    text = [_text_bytes(_key(configs.parts[name]), _tokens(configs, name), batch, dtype)
            for name in encoders]  # fmt: skip
    pixels = (workload.width, workload.height)
    return {
        "text_encoder": max(text),
        configs.family.denoiser: _denoiser_bytes(
            configs.pipeline_class,
            tuple((name, _key(part)) for name, part in sorted(configs.parts.items())),
            configs.limits,
            replace(workload, rank=1),
        ),
        "vae": _decoder_bytes(_key(configs.parts["vae"]), pixels, batch, dtype),
    }


def denoiser_pass(
    configs: ModelConfigs, denoiser: nn.Module, workload: Workload
) -> Callable[[], Tensor]:
    """One pass of a denoiser on the meta device over what a workload gives it."""
    dtype, batch, config = workload.dtype, workload.batch, configs.denoiser.config
    rows, _ = configs.text_shape

    def empty(*shape: int) -> Tensor:
        return torch.empty(batch, *shape, device=_META, dtype=dtype)

    channels, multiple = int(config["in_channels"]), configs.multiple
    sides = (workload.height // multiple, workload.width // multiple)
    time = torch.ones(batch, device=_META)
    if configs.family.denoiser == "unet":
        told = {"text_embeds": empty(_pooled(configs)), "time_ids": empty(6)}
        added = told if "text_encoder_2" in configs.parts else None
        words = empty(rows - (added is not None), int(config["cross_attention_dim"]))
        given = {"encoder_hidden_states": words, "added_cond_kwargs": added}
        return lambda: denoiser(empty(channels, *sides), time, **given, return_dict=False)[0]
    side = (workload.reference_px or configs.limits.reference_px) // multiple
    tokens = sides[0] * sides[1] + workload.references * side**2
    inputs = {
        "hidden_states": empty(tokens, channels),
        "timestep": time,
        "guidance": time if config.get("guidance_embeds") else None,
        "pooled_projections": empty(int(config["pooled_projection_dim"])),
        "encoder_hidden_states": empty(rows - 1, int(config["joint_attention_dim"])),
        "txt_ids": torch.empty(rows - 1, 3, device=_META),
        "img_ids": torch.empty(tokens, 3, device=_META),
    }
    return lambda: denoiser(**inputs, return_dict=False)[0]


def pass_flops(
    denoiser: nn.Module, run: Callable[[], Tensor], ranks: Mapping[str, int] | None = None
) -> float:
    """One pass, counted operation by operation; ``ranks`` are those of layers with an adapter."""
    adapters, handles = [0.0], []
    for name, layer in denoiser.named_modules():
        rank = (ranks or {}).get(name, 0)
        if rank and isinstance(layer, nn.Linear):
            sides = layer.in_features + layer.out_features

            def seen(
                module: Any, given: Any, out: Tensor, each: float = 2.0 * rank * sides
            ) -> None:
                adapters[0] += each * (out.numel() // out.shape[-1])

            handles.append(layer.register_forward_hook(seen))
    attention, counter = FusedAttention(), FlopCounterMode(display=False)
    with torch.no_grad(), counter, attention:
        run()
    for handle in handles:
        handle.remove()
    return float(counter.get_total_flops()) + attention.flops + adapters[0]


def _pooled(configs: ModelConfigs) -> int:
    part = configs.parts.get("text_encoder_2")
    return 0 if part is None else int(part.config["projection_dim"])


@lru_cache(maxsize=16)
def _denoiser_bytes(
    kind: str, keys: tuple[tuple[str, Key], ...], limits: Limits, workload: Workload
) -> int:
    parts = {name: _part(key) for name, key in keys}
    configs = ModelConfigs("", kind, parts, limits)
    if configs.family.denoiser == "unet" and workload.training is None and limits.guidance != 1:
        workload = replace(workload, batch=2 * workload.batch)  # both passes of guidance at once
    denoiser: Any = nn.Module.to(build_on_meta(configs.denoiser), workload.dtype)
    is_trained = _make_trainable(configs, denoiser, workload)
    run = denoiser_pass(configs, denoiser, workload)
    with PeakBytes() as watch, FusedAttention(), torch.set_grad_enabled(is_trained):
        said = run()
        if is_trained:
            torch.autograd.backward(said.sum())
    return int(watch.peak)


def _make_trainable(configs: ModelConfigs, denoiser: Any, workload: Workload) -> bool:
    """Is it trained? Then all weights are, or instead of an adapter's those it stands beside.

    A gradient is gone as soon as it is there: it is counted elsewhere.
    """
    denoiser.requires_grad_(False)
    if workload.training is None:
        return False
    targets = configs.family.lora_targets
    for name, value in denoiser.named_parameters():
        if workload.training == "full" or re.fullmatch(targets, name.rpartition(".")[0]):
            value.requires_grad_()
            value.register_post_accumulate_grad_hook(_forget)
    if workload.training == "lora" and workload.dtype.itemsize == 2:
        for name, layer in denoiser.named_modules():
            if re.fullmatch(targets, name):
                layer.register_forward_pre_hook(_own_input)
    denoiser.train()
    if workload.checkpointing:
        denoiser.enable_gradient_checkpointing(_recomputed)
    return True


def _own_input(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """An adapter has float32 numbers: it keeps a copy of its input, cast there and back."""
    return (given[0].clone(), *given[1:])


def _forget(weight: Tensor) -> None:
    weight.grad = None


def _recomputed(block: Any, *given: Any) -> Any:
    """A block that is passed again in the backward pass, where modes are off."""

    def again(*given: Any) -> Any:
        with FusedAttention():
            return block(*given)

    return checkpoint(again, *given, use_reentrant=False)


def _key(part: PartConfig) -> Key:
    """A part as something to remember results by."""
    return part.library, part.kind, json.dumps(dict(part.config), sort_keys=True)


def _part(key: Key) -> PartConfig:
    return PartConfig(key[0], key[1], json.loads(key[2]))


def _built(key: Key, dtype: torch.dtype) -> Any:
    # Not by the libraries' own methods, which have something to say about it.
    return nn.Module.to(build_on_meta(_part(key)), dtype)


def _tokens(configs: ModelConfigs, name: str) -> int:
    own = configs.parts[name].config.get("max_position_embeddings")
    return min(int(own or configs.limits.prompt_tokens), configs.limits.prompt_tokens)


def learned_text_bytes(
    configs: ModelConfigs, batch: int, dtype: torch.dtype, *, frozen: bool
) -> int:
    """Bytes of intermediate tensors of all text encoders, where a gradient flows through them.

    Args:
        configs: of the model.
        batch: prompts at once.
        dtype: of the passes.
        frozen: only what they read is learned (tokens), not their weights.
    """
    encoders = [name for name in configs.parts if name.startswith("text_encoder")]
    learned = "words" if frozen else "all"
    return sum(
        _text_bytes(_key(configs.parts[name]), _tokens(configs, name), batch, dtype, learned)
        for name in encoders
    )


@lru_cache(maxsize=16)
def _text_bytes(
    key: Key, tokens: int, batch: int, dtype: torch.dtype, learned: str = "nothing"
) -> int:
    encoder = _built(key, dtype)
    encoder.requires_grad_(learned == "all")
    for value in encoder.parameters():
        if value.requires_grad:
            value.register_post_accumulate_grad_hook(_forget)
    if learned == "words":
        for table in input_tables(encoder):
            table.register_forward_hook(_with_gradient)
    ids = torch.zeros(batch, tokens, device=_META, dtype=torch.int64)
    with PeakBytes() as watch, FusedAttention(), torch.set_grad_enabled(learned != "nothing"):
        said = encoder(ids, output_hidden_states=not key[1].startswith("T5"))
        if learned != "nothing":
            last = said.hidden_states[-1] if said.get("hidden_states") else said[0]
            torch.autograd.backward(last.sum())
    return int(watch.peak)


def _with_gradient(table: nn.Module, given: tuple[Tensor, ...], said: Tensor) -> Tensor:
    """Some rows of it are learned."""
    return said.requires_grad_()


@lru_cache(maxsize=16)
def _decoder_bytes(key: Key, pixels: tuple[int, int], batch: int, dtype: torch.dtype) -> int:
    autoencoder = _built(key, dtype)
    scale = 2 ** (len(autoencoder.config.block_out_channels) - 1)
    shape = (batch, autoencoder.config.latent_channels, pixels[1] // scale, pixels[0] // scale)
    with PeakBytes() as watch, FusedAttention(), torch.no_grad():
        autoencoder.decode(torch.empty(shape, device=_META, dtype=dtype))
    return int(watch.peak)

"""The denoiser cut up: each process keeps a part of every weight, gradient and optimizer state.

FSDP2 (Zhao et al., PyTorch FSDP, 2023, arXiv 2304.11277; ZeRO, Rajbhandari et al., 2020, stage 3).
Numbers are those of several processes that keep all of it; only where they lie is another matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.training.processes import Ranks
from personae.training.sharding_recipe import check_even

if TYPE_CHECKING:
    from personae.training.recipe import Recipe

__all__ = ["Shards", "blocks_of", "cut_as", "make_shards", "own_part", "whole_tensor"]


class Shards:
    """A denoiser in parts, one a process; all its weights are trained.

    In a pass with a gradient each block is put together when its turn comes and taken apart behind
    it. Every process has to make the same such passes in the same order, for in each of them all
    meet; whatever differs between processes belongs into :meth:`gathered` or :meth:`whole`.

    Args:
        backbone: its denoiser is replaced by a wrapper, its weights by parts of them.
        ranks: who shares.
        bf16: put blocks together in bfloat16. What stands around them is small and stays in
            float32, for there times become features, and bfloat16 would round them.

    Raises:
        RequestError: the denoiser has no lists of blocks.
    """

    def __init__(self, backbone: Backbone, ranks: Ranks, *, bf16: bool) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        self._backbone, self._ranks, self._bf16 = backbone, ranks, bf16
        self._denoiser = backbone.denoiser
        mesh = init_device_mesh(ranks.device.type, (ranks.world,))
        plain = MixedPrecisionPolicy(cast_forward_inputs=False)
        half = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        self._units = [
            fully_shard(block, mesh=mesh, mp_policy=half if bf16 else plain)
            for block in blocks_of(self._denoiser)
        ]
        self._root = _Root(self._denoiser)
        self._units.append(fully_shard(self._root, mesh=mesh, mp_policy=plain))
        backbone.denoiser = self._root

    @property
    def params(self) -> dict[str, nn.Parameter]:
        """This process's parts, by the names of `make_trainable`; what the optimizer steps."""
        return {f"denoiser.{name}": value for name, value in self._denoiser.named_parameters()}

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Every process holds all blocks for a while; each of them must make a pass meanwhile.

        For drawing: the first pass puts the blocks together, and any number of others follow
        without a word to the other processes. Pictures of one rollout stop at different steps, and
        without references a pass less is made, so processes would wait for each other forever;
        besides, nobody puts the model together anew in each of fifty passes. A backward pass comes
        later, when the blocks are in parts again.

        The price: all blocks at once, in the precision of passes, beside this process's parts.
        """
        for unit in self._units:
            unit.set_reshard_after_forward(False, recurse=False)
        try:
            yield
        finally:
            for unit in self._units:
                unit.set_reshard_after_forward(True, recurse=False)
                unit.reshard()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """On the main process an ordinary denoiser stands in for a while; all must come.

        For what one process does alone: validation, sample sheets, writing the model. Simpler than
        drawing on all of them, and nothing of FSDP gets into what is written. The price: the main
        process's device holds a whole model beside its parts.
        """
        dtype = torch.bfloat16 if self._bf16 else None  # what is saved has it in any case
        state = self._collect(self._denoiser.state_dict(), None, dtype)
        if not self._ranks.is_main:
            yield
            return
        backbone = self._backbone
        name = backbone.lora_prefix
        backbone.denoiser = _plain_copy(self._denoiser, state)
        setattr(backbone.pipeline, name, backbone.denoiser)
        try:
            yield
        finally:
            backbone.denoiser = self._root
            setattr(backbone.pipeline, name, self._denoiser)

    def collect(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole, on the main process's CPU; empty on the others, but all must come."""
        return self._collect(tensors, torch.device("cpu"), None)

    def _collect(
        self, tensors: Mapping[str, Tensor], device: torch.device | None, dtype: torch.dtype | None
    ) -> dict[str, Tensor]:
        """One after the other, in one order everywhere; ``dtype`` is for floating point."""
        found = {}
        for name, tensor in tensors.items():
            held = whole_tensor(tensor.detach())
            if self._ranks.is_main:
                found[name] = held.to(device, dtype if held.is_floating_point() else None)
        return found


def make_shards(
    backbone: Backbone, recipe: Recipe, ranks: Ranks, lengths: Iterable[int]
) -> Shards | None:
    """What the recipe says; None: every process holds all of the model, as one alone always does.

    Args:
        backbone: changed in place, once its weights are those that are trained.
        recipe: says whether.
        ranks: who shares.
        lengths: examples of each bucket.

    Raises:
        RequestError: processes would wait for each other forever, or there are no blocks.
    """
    if recipe.training.sharding == "no" or ranks.world == 1:
        return None
    check_even(recipe, lengths)
    return Shards(backbone, ranks, bf16=recipe.training.precision == "bf16")


class _Root(nn.Module):
    """What is not in blocks belongs to a wrapper, for FSDP changes the class of what it wraps.

    The denoiser's own class name is written into its configuration.
    """

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.denoiser(*args, **kwargs)


def blocks_of(denoiser: nn.Module) -> list[nn.Module]:
    """The units that are put together one after the other: members of its lists of modules.

    Raises:
        RequestError: it has no such lists.
    """
    lists = [child for child in denoiser.children() if isinstance(child, nn.ModuleList)]
    blocks = [block for held in lists for block in held]
    if not blocks:
        raise RequestError(
            f"training.sharding: expected a denoiser with lists of blocks; got "
            f'{type(denoiser).__name__}; set it to "no"'
        )
    return blocks


def whole_tensor(tensor: Tensor) -> Tensor:
    """Put together, where it lies in parts; then all processes must ask."""
    return cast(Any, tensor).full_tensor() if _is_cut(tensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of it, as an ordinary tensor in the same memory."""
    return cast(Any, tensor).to_local() if _is_cut(tensor) else tensor


def cut_as(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor that all have, if ``like`` lies in parts."""
    if not _is_cut(like) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    held = cast(Any, like)
    there = tensor.to(like.device)
    part = distribute_tensor(there, held.device_mesh, held.placements, src_data_rank=None)
    return part.clone()  # a view would keep the whole of it in memory


def _is_cut(tensor: Tensor) -> bool:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False  # alone, and perhaps without these modules
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def _plain_copy(denoiser: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """A frozen denoiser of the same class and configuration around these tensors."""
    from accelerate import init_empty_weights

    made = cast(Any, denoiser)
    with init_empty_weights():
        copy = cast(nn.Module, type(made).from_config(made.config))
    copy.load_state_dict(state, assign=True)
    return copy.eval().requires_grad_(False)

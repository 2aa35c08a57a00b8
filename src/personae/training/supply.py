"""What a run learns from: batches by number, their words, and what rewards are told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from personae.data.examples import Example, ExampleSource
from personae.data.latents import LatentStore, encode_examples
from personae.data.texts import TextStore, encode_texts
from personae.diffusion.backbone import Backbone
from personae.diffusion.offload import offload_prompts_and_references
from personae.training.asking import AskedExamples
from personae.training.batches import Batch, BatchPlan, Draws, collate, draws_for
from personae.training.processes import Ranks
from personae.training.recipe import Recipe
from personae.training.result import Progress
from personae.training.rewards.asked import Asked
from personae.training.rolling import guides_of
from personae.training.rollout import Guides
from personae.training.sources import example_source, prior_source

__all__ = ["Supply"]

_STORE_SHARE = 0.2  # of a GPU's free memory that latents may take


class Supply:
    """The examples of a run, as batches; step ``step`` is the one that is being made.

    Args:
        recipe: which examples, how many at once.
        out: the run's folder.
        ranks: which share of the batches is this process's.
        backbone: encodes them.
        encoding: is told (examples encoded, of how many).
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        ranks: Ranks,
        backbone: Backbone,
        encoding: Progress | None = None,
    ) -> None:
        self.recipe, self.out, self.ranks, self.backbone = recipe, out, ranks, backbone
        self.step = 0
        self.source = example_source(recipe, backbone)
        self.store = self._encode(self.source, encoding)
        lengths = {name: len(bucket) for name, bucket in self.store.buckets.items()}
        self.plan = BatchPlan(lengths, recipe.training.batch_size, recipe.seed)
        self._asked = AskedExamples(self.source)
        self._priors = self._encode_priors(encoding)
        self.texts: TextStore | None = None

    def keep_texts(self, precision: torch.autocast, progress: Progress | None = None) -> None:
        """Embed all prompts now, if the recipe wants them kept, and put away what did it."""
        if not self.recipe.data.cache_text:
            return
        folder = self.recipe.data.folder or self.out / "latents"
        if not self.ranks.is_main:
            self.ranks.wait()
        stores = [self.store, *([] if self._priors is None else [self._priors[0]])]
        with precision:
            for store in stores:  # in one folder, so that the last one knows of all
                self.texts = encode_texts(store, self.backbone, folder, progress=progress)
        if self.ranks.is_main:
            self.ranks.wait()
        if self.recipe.training.offload_text_encoder:
            offload_prompts_and_references(self.backbone)

    def _encode(self, source: ExampleSource, progress: Progress | None) -> LatentStore:
        data = self.recipe.data
        folder = data.folder or self.out / "latents"
        if not self.ranks.is_main:
            self.ranks.wait()
        store = encode_examples(
            source, self.backbone, folder, num_workers=data.workers, progress=progress
        )
        if self.ranks.is_main:
            self.ranks.wait()
        problems = getattr(source, "problems", ())
        store = replace(store, problems=(*problems, *store.problems))
        return store.to(self.ranks.device) if self._fits(store) else store

    def _encode_priors(self, progress: Progress | None) -> tuple[LatentStore, BatchPlan] | None:
        """Priors beside the examples, where the recipe has some."""
        source = prior_source(self.recipe, self.backbone)
        if source is None:
            return None
        store = self._encode(source, progress)
        lengths = {name: len(bucket) for name, bucket in store.buckets.items()}
        # Another order than the examples': a prior is no twin of an example.
        return store, BatchPlan(lengths, self.recipe.training.batch_size, self.recipe.seed + 1)

    @property
    def has_prior(self) -> bool:
        """Are there priors to hold on to?"""
        return self._priors is not None

    def prior_batch(self, part: int) -> tuple[Batch, Draws]:
        """The priors of a part of the present step; their noise is their own."""
        assert self._priors is not None
        store, plan = self._priors
        return self._batch(store, plan, self.number(part), self.recipe.seed + 1)

    def _fits(self, store: LatentStore) -> bool:
        if self.ranks.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.ranks.device)
        return store.num_bytes < _STORE_SHARE * free

    def number(self, part: int) -> int:
        """Which batch of the whole run this process takes for a part of the present step."""
        accumulate = self.recipe.training.accumulate
        return (self.step * accumulate + part) * self.ranks.world + self.ranks.rank

    def batch(self, part: int) -> tuple[Batch, Draws]:
        """The batch of a part of the present step, and what is random about it."""
        return self._batch(self.store, self.plan, self.number(part), self.recipe.seed)

    def _batch(
        self, store: LatentStore, plan: BatchPlan, number: int, seed: int
    ) -> tuple[Batch, Draws]:
        training = self.recipe.training
        name, rows = plan[number]
        shape = (len(rows), *store.buckets[name].image.shape[1:])
        draws = draws_for(
            seed,
            number,
            shape,
            caption_dropout=training.caption_dropout,
            reference_dropout=training.reference_dropout,
            device=self.ranks.device,
        )
        return collate(store, name, rows, draws, self.ranks.device), draws

    def text(self, batch: Batch) -> Tensor:
        """(B, L, D) embedded prompts; with a gradient where the text encoder is trained."""
        if self.texts is not None:
            return self.texts.look_up(batch.tokens, batch.mask).to(self.ranks.device)
        learns = self.recipe.training.train_text_encoder or self.recipe.tokens is not None
        with torch.set_grad_enabled(learns):
            return self.backbone.encode_tokens(batch.tokens, batch.mask)

    def empty_text(self) -> Tensor:
        """(1, L, D): the embedded empty prompt."""
        tokens, mask = self.store.empty_tokens[None], self.store.empty_mask[None]
        device = self.ranks.device
        if self.texts is not None:
            return self.texts.look_up(tokens, mask).to(device)
        with torch.no_grad():
            return self.backbone.encode_tokens(
                tokens.to(device, torch.int64), mask.to(device, torch.int64)
            )

    def guides(self, examples: Sequence[Example]) -> Guides:
        """What pictures of these examples (of one shape) are drawn towards, as users draw them."""
        return guides_of(self.backbone, examples, self.empty_text())

    def asked(self, batch: Batch) -> list[Asked]:
        """What rewards are told of each picture of a batch."""
        return [self._asked[number] for number in batch.numbers]

    def picture_size(self, batch: Batch) -> tuple[int, int]:
        """(width, height) in pixels of the pictures of a batch."""
        multiple = self.backbone.multiple
        return batch.image.shape[3] * multiple, batch.image.shape[2] * multiple

"""A run in progress: one step after the other, logged, saved and shown."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from personae.compute.runs import make_folder, write_atomic
from personae.config import as_data, as_toml, flatten
from personae.data.examples import ExampleSource
from personae.data.latents import LatentStore, encode_examples
from personae.diffusion.backbone import Backbone
from personae.errors import DataError, WorkError
from personae.training.batches import BatchPlan, collate, draws_for
from personae.training.checkpoint import (
    Checkpoint,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from personae.training.ema import Ema
from personae.training.logs import Trackers, TrainingLog, Window
from personae.training.objective import flow_matching_loss, sample_times
from personae.training.optimizers import (
    lr_factor,
    make_optimizers,
    optimizer_tensors,
    restore_optimizers,
    set_lr,
)
from personae.training.processes import Ranks
from personae.training.recipe import Recipe
from personae.training.result import Progress, TrainingResult
from personae.training.samples import Judge, draw_examples, write_sheet
from personae.training.sources import example_source, sample_examples
from personae.training.stopping import Stop
from personae.training.trainable import make_trainable, save_result

__all__ = ["Finetuning"]

_FEW_SHAPES = 4
_STORE_SHARE = 0.2  # of a GPU's free memory that latents may take


@dataclass(frozen=True, eq=False)
class _Pass:
    """What one forward and backward showed: ids, (B,) losses and times, still on the device."""

    ids: tuple[str, ...]
    loss: Tensor
    time: Tensor


class Finetuning:
    """A run in progress: the weights, what steps them, and where it stands."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        ranks: Ranks,
        backbone: Backbone,
        *,
        judge: Judge | None = None,
        encoding: Progress | None = None,
    ) -> None:
        self.recipe, self.out, self.ranks, self.judge = recipe, out, ranks, judge
        self.backbone = backbone
        self.step = 0
        self.seconds = 0.0
        self.window = Window()
        make_folder(out)
        source = example_source(recipe, backbone)
        self.store = self._encode(source, encoding)
        self.samples = sample_examples(recipe, source) if recipe.samples.every else []
        self.params = make_trainable(backbone, recipe)
        self.optimizers = make_optimizers(self.params, recipe.optimizer)
        decay = recipe.training.ema_decay
        self.ema = Ema(self.params, decay) if decay else None
        lengths = {name: len(bucket) for name, bucket in self.store.buckets.items()}
        self.plan = BatchPlan(lengths, recipe.training.batch_size, recipe.seed)
        if recipe.training.compile:
            # A graph for each of a few shapes, which runs fastest; one for all where they are many
            # or a GPU's clock is dear.
            few = ranks.device.type == "cpu" and len(self.store.buckets) <= _FEW_SHAPES
            wrapped = torch.compile(backbone.denoiser, dynamic=False if few else None)
            backbone.denoiser = cast(torch.nn.Module, wrapped)

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

    def _fits(self, store: LatentStore) -> bool:
        if self.ranks.device.type != "cuda":
            return False
        free, _ = torch.cuda.mem_get_info(self.ranks.device)
        return store.num_bytes < _STORE_SHARE * free

    def resume(self) -> None:
        """Take the last checkpoint, if there is one, and open the log where it ends."""
        found = checkpoints(self.out / "checkpoints")
        if found:
            self.restore(load_checkpoint(found[-1]))
        if self.ranks.is_main:
            write_atomic(self.out / "recipe.resolved.toml", as_toml(as_data(self.recipe)))
            self.log = TrainingLog(self.out / "log.jsonl", self.step)

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint was written."""
        if set(checkpoint.weights) != set(self.params):
            raise DataError(f"{self.out}: its checkpoint holds other weights than this run trains")
        for name, param in self.params.items():
            param.copy_(checkpoint.weights[name])
        if self.ema is not None:
            self.ema.load(checkpoint.ema)
        restore_optimizers(checkpoint.optimizer, self.params, self.optimizers)
        self.step = checkpoint.state["step"]
        self.seconds = checkpoint.state["seconds"]
        self.window = Window(checkpoint.state["window"])

    def checkpoint(self) -> Checkpoint:
        """All of it, as it stands."""
        state = {"step": self.step, "seconds": self.seconds, "window": self.window.state()}
        ema = self.ema.shadow if self.ema is not None else {}
        optimizer = optimizer_tensors(self.params, self.optimizers)
        return Checkpoint(self.params, ema, optimizer, state)

    def save(self) -> None:
        """Write a checkpoint."""
        if self.ranks.is_main:
            folder = self.out / "checkpoints"
            save_checkpoint(folder, self.checkpoint(), self.recipe.training.keep)
        self.ranks.wait()

    def train(self, stop: Stop, progress: Progress | None = None) -> TrainingResult:
        """Step until all is done or something says stop; then write what there is."""
        training = self.recipe.training
        trackers = Trackers(training.trackers, self.out, flatten(as_data(self.recipe)))
        reason, saved_at = None, self.step
        self._row: dict[str, Any] = {}
        while self.step < training.steps and not reason:
            self.take_step()
            self.seconds = stop.seconds
            self._after_step(trackers, progress)
            reason = stop.reason if self.ranks.any(stop.reason is not None) else None
            if training.save_every and self.step % training.save_every == 0:
                self.save()
                saved_at = self.step
        if saved_at != self.step:
            self.save()
        trackers.close()
        return self._result(reason if self.step < training.steps else None)

    def _result(self, stopped: str | None) -> TrainingResult:
        saved = None
        if stopped is None and self.ranks.is_main:
            saved = self.write_result()
        loss, problems = self._row.get("loss"), self.store.problems
        return TrainingResult(self.out, self.step, stopped, saved, loss, self.seconds, problems)

    def write_result(self) -> Path:
        """``model`` or ``adapter``, with the running mean of the weights where one is kept."""
        with self._mean_weights():
            return save_result(self.backbone, self.recipe, self.out)

    def _mean_weights(self) -> AbstractContextManager[None]:
        return nullcontext() if self.ema is None else self.ema.swapped()

    def take_step(self) -> None:
        """One step of the optimizer: passes, guard, clip, step, running mean."""
        recipe, params = self.recipe, list(self.params.values())
        set_lr(self.optimizers, lr_factor(self.step, recipe.training.steps, recipe.optimizer))
        passes = [self._pass(part) for part in range(recipe.training.accumulate)]
        self.ranks.average(params)
        limit = recipe.optimizer.clip or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(params, limit))
        self._guard(norm, passes)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for part in passes:
            self.window.add(part.loss.tolist(), part.time.tolist())
        self.window.norm.append(norm)
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.step)

    def _pass(self, part: int) -> _Pass:
        """Forward and backward of one batch."""
        training, ranks = self.recipe.training, self.ranks
        number = (self.step * training.accumulate + part) * ranks.world + ranks.rank
        name, rows = self.plan[number]
        shape = (len(rows), *self.store.buckets[name].image.shape[1:])
        draws = draws_for(
            self.recipe.seed,
            number,
            shape,
            caption_dropout=training.caption_dropout,
            reference_dropout=training.reference_dropout,
            device=ranks.device,
        )
        batch = collate(self.store, name, rows, draws, ranks.device)
        time = sample_times(draws.normal, self.recipe.times)
        with self._precision():
            loss = flow_matching_loss(self.backbone, batch, time, draws.noise)
        torch.autograd.backward(loss.mean() / training.accumulate)
        return _Pass(batch.ids, loss.detach(), time)

    def _precision(self) -> torch.autocast:
        wanted = self.recipe.training.precision == "bf16"
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=wanted)

    def _guard(self, norm: float, passes: Sequence[_Pass]) -> None:
        """Stop before the weights are touched, and say by which examples.

        A loss that is not finite makes a gradient that is not, so one look at the norm a step is
        enough, and a GPU waits once.

        Raises:
            WorkError: the norm of the gradient is not finite.
        """
        if math.isfinite(norm):
            return
        ids = [name for part in passes for name in part.ids]
        bad = [not math.isfinite(value) for part in passes for value in part.loss.tolist()]
        named = [name for name, is_bad in zip(ids, bad, strict=True) if is_bad]
        what = f"loss of {', '.join(named)}" if named else f"gradient of {', '.join(ids)}"
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        raise WorkError(
            f"step {self.step + 1}: {what} is not finite; the weights are as after step "
            f"{self.step}. Look at {'this example' if len(named) == 1 else 'these examples'}, or "
            "lower optimizer.lr, and run again with --resume"
        )

    def _after_step(self, trackers: Trackers, progress: Progress | None) -> None:
        """Log, sheet, progress; only the main process writes."""
        recipe = self.recipe
        if progress:
            progress(self.step, recipe.training.steps)
        if not self.ranks.is_main:
            return
        if self.step % recipe.training.log_every == 0 or self.step == recipe.training.steps:
            self._row = self._log_row()
            self._tell(self._row, trackers)
        every = recipe.samples.every
        if every and self.step % every == 0 and self.samples:
            self._tell({"step": self.step, **self.draw_samples()}, trackers)

    def _tell(self, row: Mapping[str, Any], trackers: Trackers) -> None:
        self.log.write(row)
        trackers.write(row)

    def _log_row(self) -> dict[str, Any]:
        now = clock.monotonic()
        before, self._told = getattr(self, "_told", None), now
        num = len(self.window.loss) * self.ranks.world
        rate = round(num / (now - before), 2) if before else None
        lr = self.optimizers[0].param_groups[0]["lr"]
        row = {"step": self.step, **self.window.row(), "lr": lr, "examples_per_second": rate}
        self.window = Window()
        return {**row, "seconds": round(self.seconds, 1)}

    def draw_samples(self) -> dict[str, float]:
        """Write a sample sheet; the judge's metrics of it."""
        with self._mean_weights(), self._precision():
            drawn = draw_examples(
                self.backbone, self.samples, self.recipe.samples, self.recipe.seed
            )
        write_sheet(self.out / "samples" / f"step-{self.step:08d}.png", self.samples, drawn)
        return dict(self.judge(self.samples, drawn)) if self.judge else {}

"""A run in progress: one step after the other, logged, saved and shown."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from personae.compute.runs import make_folder, write_atomic
from personae.config import as_data, as_toml, flatten
from personae.diffusion.backbone import Backbone
from personae.diffusion.lora import without_lora
from personae.errors import DataError, RequestError, WorkError
from personae.training.best import OVER, Best
from personae.training.card import write_card
from personae.training.checkpoint import (
    Checkpoint,
    checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from personae.training.chosen import Chosen
from personae.training.ema import Ema
from personae.training.logs import Trackers, TrainingLog, Window
from personae.training.methods import Finetuning, Pass, not_finite
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
from personae.training.sharding import cut_as, make_shards, whole_tensor
from personae.training.sources import sample_examples
from personae.training.stopping import Stop
from personae.training.supply import Supply
from personae.training.trainable import make_trainable, save_result
from personae.training.validation import Validation

__all__ = ["Session"]

_FEW_SHAPES = 4


class Session(Supply):
    """A run in progress: the weights, what steps them, and where it stands."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        ranks: Ranks,
        backbone: Backbone,
        *,
        chosen: Chosen | None = None,
        judge: Judge | None = None,
        encoding: Progress | None = None,
    ) -> None:
        super().__init__(recipe, make_folder(out), ranks, backbone, encoding)
        self.chosen, self.judge = chosen or Chosen(Finetuning(), None), judge
        self.best = Best()
        self.skipped = 0
        self.seconds = 0.0
        self.window = Window()
        self.log: TrainingLog | None = None
        self._row: dict[str, Any] = {}
        self._told: float | None = None
        self.samples = sample_examples(recipe, self.source) if recipe.samples.every else []
        self.params = make_trainable(backbone, recipe)
        self.keep_texts(self.precision(), encoding)
        self.shards = make_shards(backbone, recipe, ranks, self.plan.lengths.values())
        if self.shards is not None:
            self.params = self.shards.params
        self.optimizers = make_optimizers(self.params, recipe.optimizer)
        decay = recipe.training.ema_decay
        self.ema = Ema(self.params, decay) if decay else None
        if recipe.training.compile:
            # A graph for each of a few shapes, which runs fastest; one for all where they are many
            # or a GPU's clock is dear.
            few = ranks.device.type == "cpu" and len(self.store.buckets) <= _FEW_SHAPES
            wrapped = torch.compile(backbone.denoiser, dynamic=False if few else None)
            backbone.denoiser = cast(torch.nn.Module, wrapped)

    def resume(self) -> None:
        """Take the last checkpoint, if there is one, and open the log where it ends."""
        found = checkpoints(self.out / "checkpoints")
        if found:
            self.restore(load_checkpoint(found[-1]))
        if self.ranks.is_main:
            write_atomic(self.out / "recipe.resolved.toml", as_toml(as_data(self.recipe)))
            self.log = TrainingLog(self.out / "log.jsonl", self.step if found else -1)

    @torch.no_grad()
    def restore(self, checkpoint: Checkpoint) -> None:
        """Stand where the checkpoint was written."""
        if set(checkpoint.weights) != set(self.params):
            raise DataError(f"{self.out}: its checkpoint holds other weights than this run trains")
        for name, param in self.params.items():
            param.copy_(cut_as(checkpoint.weights[name], param))
        if self.ema is not None:
            self.ema.load(checkpoint.ema)
        restore_optimizers(checkpoint.optimizer, self.params, self.optimizers)
        self.step = checkpoint.state["step"]
        self.seconds = checkpoint.state["seconds"]
        self.skipped = checkpoint.state.get("skipped", 0)
        self.best = Best(**checkpoint.state.get("best", {}))
        self.window = Window(checkpoint.state["window"])

    def checkpoint(self) -> Checkpoint:
        """All of it, as it stands."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "best": self.best.as_data(),
            "window": self.window.state(),
        }
        ema = self.ema.shadow if self.ema is not None else {}
        optimizer = optimizer_tensors(self.params, self.optimizers)
        parts: list[Mapping[str, Tensor]] = [self.params, ema, optimizer]
        if self.shards is not None:
            parts = [self.shards.collect(tensors) for tensors in parts]
        return Checkpoint(parts[0], parts[1], parts[2], state)

    def save(self) -> None:
        """Write a checkpoint."""
        if self._takes_part:
            checkpoint = self.checkpoint()
            if self.ranks.is_main:
                folder = self.out / "checkpoints"
                save_checkpoint(folder, checkpoint, self.recipe.training.keep)
        self.ranks.wait()

    def train(self, stop: Stop, progress: Progress | None = None) -> TrainingResult:
        """Step until all is done or something says stop; then write what there is."""
        training = self.recipe.training
        trackers = Trackers(training.trackers, self.out, flatten(as_data(self.recipe)))
        reason, saved_at = None, self.step
        if self.step == 0 and self._takes_part:
            self._validate(trackers)  # what training starts from
        while self.step < training.steps and not reason:
            self.take_step()
            self.seconds = stop.seconds
            self._after_step(trackers, progress)
            reason = self._reason(stop)
            if training.save_every and self.step % training.save_every == 0:
                self.save()
                saved_at = self.step
        if saved_at != self.step:
            self.save()
        trackers.close()
        is_done = self.step >= training.steps or reason == OVER
        return self._result(None if is_done else reason)

    def _reason(self, stop: Stop) -> str | None:
        """Why to end now; what one process is told, or sees, ends all of them."""
        if self.ranks.any(stop.reason is not None):
            return stop.reason or "another process"
        # Has the third measure not grown for as long as the recipe waits?
        patience = self.recipe.validation.patience
        is_over = self.ranks.any(bool(patience) and self.best.worse_in_a_row >= patience)
        return OVER if is_over else None

    def _result(self, stopped: str | None) -> TrainingResult:
        saved = None
        if stopped is None and self._takes_part:
            saved = self.write_result()
            if saved is not None and self.best.step is not None:
                saved = self.out / "best" / saved.name
        loss, problems = self._row.get("loss"), self.store.problems
        return TrainingResult(self.out, self.step, stopped, saved, loss, self.seconds, problems)

    def write_result(self) -> Path | None:
        """``model`` or ``adapter``, with the running mean of the weights where one is kept."""
        with self._shown():
            if not self.ranks.is_main:
                return None
            folder = save_result(self.backbone, self.recipe, self.out)
        write_card(self, folder)
        return folder

    @contextmanager
    def _shown(self) -> Iterator[None]:
        """The model that is drawn with and saved, on the main process; all that take part come."""
        mean = nullcontext() if self.ema is None else self.ema.swapped()
        with mean, nullcontext() if self.shards is None else self.shards.whole():
            yield

    @property
    def _takes_part(self) -> bool:
        """Is this process needed for what the main one shows and writes? With shards it is."""
        return self.ranks.is_main or self.shards is not None

    def gathered(self) -> AbstractContextManager[None]:
        """For drawing while training, with as many passes as it takes: see `Shards.gathered`."""
        return nullcontext() if self.shards is None else self.shards.gathered()

    def take_step(self) -> None:
        """One step of the method, with its updates; then the running mean."""
        recipe = self.recipe
        set_lr(self.optimizers, lr_factor(self.step, recipe.training.steps, recipe.optimizer))
        for seen in self.chosen.method.step(self):
            self.window.add(seen)
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.step)

    def update(self, passes: Sequence[Pass]) -> None:
        """One step of the optimizer: average over processes, guard, clip, step.

        The gradients of shards are averaged already: backward passes leave each process its part.

        Raises:
            WorkError: more gradients were not finite than the recipe lets pass.
        """
        params = list(self.params.values())
        if self.shards is None:
            self.ranks.average(params)
        limit = self.recipe.optimizer.clip or float("inf")
        norm = float(whole_tensor(torch.nn.utils.clip_grad_norm_(params, limit)))
        finite = math.isfinite(norm)
        for optimizer in self.optimizers:
            if finite:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if finite:
            self.window.norm.append(norm)
        else:
            self._skip(passes)

    def _skip(self, passes: Sequence[Pass]) -> None:
        """Leave the weights as they are, and say by which examples.

        A loss that is not finite makes a gradient that is not, so one look at the norm an update
        is enough, and a GPU waits once.
        """
        what = not_finite(passes)
        self.skipped += 1
        if self.log is not None:
            self.log.write({"step": self.step + 1, "skipped": what})
        most = self.recipe.training.max_skipped
        if self.skipped <= most:
            return
        raise WorkError(
            f"step {self.step + 1}: {what} is not finite; the weights are as after step "
            f"{self.step} ({self.skipped} steps were skipped, training.max_skipped is {most}). "
            "Look at these examples, or lower optimizer.lr, and run again with --resume"
        )

    def frozen(self) -> AbstractContextManager[None]:
        """The model as it was before training, for a while: without its adapter.

        Raises:
            RequestError: all weights are trained, so there is no such model any more.
        """
        if self.recipe.lora is None:
            raise RequestError(
                "a penalty towards the frozen model needs an adapter: add a section [lora]"
            )
        return without_lora(self.backbone)

    def precision(self) -> torch.autocast:
        """In which numbers passes compute."""
        wanted = self.recipe.training.precision == "bf16"
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=wanted)

    def _after_step(self, trackers: Trackers, progress: Progress | None) -> None:
        """Log, sheet, progress; only the main process writes."""
        recipe = self.recipe
        if progress:
            progress(self.step, recipe.training.steps)
        if not self._takes_part:
            return
        is_told = self.step % recipe.training.log_every == 0 or self.step == recipe.training.steps
        if is_told and self.ranks.is_main:
            self._row = self._log_row()
            self._tell(self._row, trackers)
        every = recipe.samples.every
        if every and self.step % every == 0 and self.samples:
            self._tell({"step": self.step, **self.draw_samples()}, trackers)
        if recipe.validation.every and self.step % recipe.validation.every == 0:
            self._validate(trackers)

    def _validate(self, trackers: Trackers) -> None:
        if self.chosen.validation is not None:
            self._tell({"step": self.step, **self.validate(self.chosen.validation)}, trackers)

    def validate(self, validation: Validation) -> dict[str, Any]:
        """Look at other identities, and keep the weights if a third measure says the best yet."""
        with self._shown():
            if not self.ranks.is_main:
                return {}
            with self.precision():
                row = validation.look(self)
            value = row.get(f"validation.{self.recipe.validation.best_by}")
            if value is None:
                return row
            is_best = self.best.compare(self.step, value)
            if is_best:
                folder = save_result(self.backbone, self.recipe, self.out / "best")
                write_card(self, folder, row)
        return {**row, "best_step": self.best.step}

    def _tell(self, row: Mapping[str, Any], trackers: Trackers) -> None:
        if self.log is not None:
            self.log.write(row)
        trackers.write(row)

    def _log_row(self) -> dict[str, Any]:
        now = clock.monotonic()
        before, self._told = self._told, now
        num = self.window.pictures * self.ranks.world
        rate = round(num / (now - before), 2) if before else None
        lr = self.optimizers[0].param_groups[0]["lr"]
        row = {"step": self.step, **self.window.row(), "lr": lr, "examples_per_second": rate}
        self.window = Window()
        return {**row, "seconds": round(self.seconds, 1)}

    def draw_samples(self) -> dict[str, float]:
        """Write a sample sheet; the judge's metrics of it."""
        with self._shown(), self.precision():
            if not self.ranks.is_main:
                return {}
            drawn = draw_examples(
                self.backbone, self.samples, self.recipe.samples, self.recipe.seed
            )
        write_sheet(self.out / "samples" / f"step-{self.step:08d}.png", self.samples, drawn)
        return dict(self.judge(self.samples, drawn)) if self.judge else {}

"""A whole training run as one frozen value: what a recipe file says, over the defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from personae.config import apply_settings, as_data, build_config, flatten, read_toml
from personae.diffusion.quantize import Quantize
from personae.errors import DataError, RequestError
from personae.training.contradictions import check_objective, check_savings, check_tokens
from personae.training.data_recipe import DataRecipe, ToonsRecipe
from personae.training.grpo_recipe import GrpoRecipe, check_grpo
from personae.training.objective import ObjectiveRecipe, Times
from personae.training.optimizers import OptimizerRecipe
from personae.training.rerefl import ReReflRecipe
from personae.training.rewards.recipe import RewardsRecipe
from personae.training.rollout import RolloutRecipe
from personae.training.sharding_recipe import Sharding, check_sharding
from personae.training.validation import ValidationRecipe

__all__ = [
    "DataRecipe",
    "LoraRecipe",
    "Recipe",
    "SampleRecipe",
    "TokensRecipe",
    "ToonsRecipe",
    "TrainingRecipe",
    "changed_keys",
    "read_recipe",
]

# What may differ between a run and its resumption.
_FREE = (
    "training.steps",
    "training.max_seconds",
    "training.save_every",
    "training.keep",
    "training.log_every",
    "training.threads",
    "training.compile",
    "training.sharding",
    "training.trackers",
    "training.offload_text_encoder",
    "data.cache_text",
    "data.folder",
    "data.workers",
    "samples.",
    "validation.",
)


@dataclass(frozen=True, kw_only=True)
class LoraRecipe:
    """Train low-rank additions instead of the weights.

    Attributes:
        rank: of each addition; UMO used 512 (its section on settings).
        alpha: they are scaled by alpha / rank; None: the same as the rank.
        targets: names of layers that get one; empty: the family's defaults.
        start: a saved adapter that this one begins as, of the same rank, alpha and layers: a
            folder, a safetensors file, or one that ships (``toons-umo``). What a penalty or KL
            term holds on to is still the base without any adapter.
        under: a saved adapter that is put into the frozen weights first, so that this one is in
            addition to it and a penalty or KL term holds on to both together: MuDI's iterative
            training, and its modular one. The two as one adapter are saved beside, in ``together``.
    """

    rank: int = 64
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    start: str | None = None
    under: str | None = None

    @property
    def scale(self) -> float:
        """Alpha / rank."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


@dataclass(frozen=True, kw_only=True)
class TokensRecipe:
    """Make each token of the cast a word of its own and learn its embedding (Textual Inversion).

    Attributes:
        alone: nothing else is trained; else an adapter is, at the same rate.
    """

    alone: bool = True


@dataclass(frozen=True, kw_only=True)
class SampleRecipe:
    """Sample sheets: references, target and drawn picture, a row an example.

    Attributes:
        every: steps between sheets; 0 is none.
        count: examples on a sheet, of the data's first validation examples.
        steps: sampling steps; None: the model's own.
        guidance: None: the model's own.
        reference_guidance: None: the model's own.
    """

    every: int = 0
    count: int = 8
    steps: int | None = None
    guidance: float | None = None
    reference_guidance: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How long and how.

    Attributes:
        steps: steps of the optimizer in all.
        max_seconds: stop with a checkpoint after this long, counted over all resumptions.
        batch_size: examples of one pass on one process.
        accumulate: passes a step.
        caption_dropout: share of examples that lose their prompt (UNO's own program: 0.1).
        reference_dropout: share of batches that lose their references. Rewards still ask for
            them; leave it at 0 where there are any.
        ema_decay: of the running mean of the weights; 0 keeps none.
        train_text_encoder: train it too.
        gradient_checkpointing: spend time to save memory.
        precision: ``bf16`` computes in bfloat16 (weights that are trained stay in float32).
        compile: compile the denoiser with torch.compile.
        save_every: steps between checkpoints; 0: only at the end.
        keep: how many checkpoints are kept.
        log_every: steps a row of log.jsonl speaks of.
        threads: of torch on the CPU; 0: as it is.
        trackers: names that accelerate knows: tensorboard, wandb ...
        max_skipped: steps whose gradient is not finite that a run may skip before it stops.
        quantize: keep the frozen base below an adapter in fewer bits: ``int8`` or ``nf4``.
        offload_text_encoder: once prompts and pictures are encoded, leave the text encoder and
            the autoencoder's encoder on the CPU; needs ``data.cache_text``.
        sharding: where several processes train all weights, ``fsdp2`` gives each of them a part of
            every weight, gradient and optimizer state of the denoiser; with ``no`` each has all of
            it. Checkpoints and what is saved are the same files; alone, nothing happens.
    """

    steps: int = 1000
    max_seconds: float | None = None
    batch_size: int = 4
    accumulate: int = 1
    caption_dropout: float = 0.1
    reference_dropout: float = 0.0
    ema_decay: float = 0.0
    train_text_encoder: bool = False
    gradient_checkpointing: bool = False
    precision: Literal["no", "bf16"] = "no"
    compile: bool = False
    save_every: int = 500
    keep: int = 2
    log_every: int = 10
    threads: int = 0
    trackers: tuple[str, ...] = ()
    max_skipped: int = 3
    quantize: Quantize = "no"
    offload_text_encoder: bool = False
    sharding: Sharding = "no"

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch_size, self.accumulate, self.keep, self.log_every)
        if min(counts) < 1:
            raise RequestError(
                "training: steps, batch_size, accumulate, keep and log_every: expected 1 or more"
            )
        if not (0 <= self.caption_dropout <= 1 and 0 <= self.reference_dropout <= 1):
            raise RequestError("training: caption_dropout, reference_dropout: expected 0 to 1")
        if not 0 <= self.ema_decay < 1:
            raise RequestError(f"training: ema_decay: expected 0 to below 1; got {self.ema_decay}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run.

    Attributes:
        base: checkpoint to start from: ``toons``, a folder, or an id on the hub.
        data: what is trained on.
        seed: of everything random.
        device: ``auto`` is CUDA where there is one.
        revision: of a base on the hub.
        lora: train an adapter; without this section all weights of the denoiser are trained.
        tokens: learn the embeddings of the cast's tokens, alone or beside an adapter.
        training: how long and how.
        optimizer: who steps, how far.
        times: from which times the model learns.
        objective: what is minimized on examples.
        samples: sheets drawn on the way.
        rewards: what pictures drawn while training are rewarded for; needs one of the next two.
        rollout: how they are drawn.
        rerefl: follow the rewards' gradient (UMO).
        grpo: let pictures compete for rewards, with a gradient or without (Flow-GRPO, PSR).
        validation: pictures of other identities, scored on the way.
    """

    base: str
    data: DataRecipe
    seed: int = 0
    device: str = "auto"
    revision: str | None = None
    lora: LoraRecipe | None = None
    tokens: TokensRecipe | None = None
    training: TrainingRecipe = field(default_factory=TrainingRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    times: Times = field(default_factory=Times)
    objective: ObjectiveRecipe = field(default_factory=ObjectiveRecipe)
    samples: SampleRecipe = field(default_factory=SampleRecipe)
    rewards: RewardsRecipe | None = None
    rollout: RolloutRecipe = field(default_factory=RolloutRecipe)
    rerefl: ReReflRecipe | None = None
    grpo: GrpoRecipe | None = None
    validation: ValidationRecipe = field(default_factory=ValidationRecipe)

    def __post_init__(self) -> None:
        sections = {"rewards": self.rewards, "rerefl": self.rerefl, "grpo": self.grpo}
        given = {name for name, section in sections.items() if section is not None}
        if given not in (set(), {"rewards", "rerefl"}, {"rewards", "grpo"}):
            raise RequestError(
                "rewards: expected a section [rewards] together with one of [rerefl] and [grpo]; "
                f"got {', '.join(f'[{name}]' for name in sections if name in given)}"
            )
        if self.grpo is not None:
            check_grpo(self.grpo, self.training, adapter=self.lora is not None)
        if self.rewards is not None and self.data.cast is not None:
            raise RequestError("data.cast: a cast is learned by its photos; rewards need examples")
        check_objective(self)
        check_tokens(self)
        check_savings(self)
        check_sharding(self)

    @property
    def has_prior(self) -> bool:
        """Are priors learned beside the examples, as many a step?"""
        cast, weight = self.data.cast, self.objective.prior_weight
        return cast is not None and cast.prior is not None and weight > 0


def read_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """The recipe of a file with ``--set`` settings over it.

    Relative paths in the file stay as they are: relative to where the command runs.

    Raises:
        DataError: no such file, no TOML, an unknown key, a wrong value.
        RequestError: a setting that cannot be read.
    """
    return build_config(Recipe, apply_settings(read_toml(path), settings), str(path))


def changed_keys(old: Mapping[str, Any], new: Recipe) -> list[str]:
    """What differs between a run's resolved recipe and a new one, and may not.

    Steps, seconds, saving, logging and sample sheets may differ. A key that the old one lacks,
    since it was written before there was such a key, had its default.
    """
    try:
        before = flatten(as_data(build_config(Recipe, old)))
    except DataError:
        before = flatten(old)
    after = flatten(as_data(new))
    different = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return sorted(key for key in different if not key.startswith(_FREE))

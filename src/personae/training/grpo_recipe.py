"""The section [grpo] of a recipe, and where its window stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from personae.diffusion.stochastic import StepKind
from personae.errors import RequestError

if TYPE_CHECKING:
    from personae.training.recipe import TrainingRecipe

__all__ = ["GrpoRecipe", "check_grpo", "window_of"]


@dataclass(frozen=True, kw_only=True)
class GrpoRecipe:
    """How pictures compete, and how far a step may go.

    Attributes:
        group: pictures of a prompt (DanceGRPO and MixGRPO 12, Flow-GRPO 24, PSR 6).
        prompts: groups a step, on each process; ``training.batch_size`` is the same number.
        noise: of the steps with noise; see `noisy_step` (Flow-GRPO: 0.7, FLUX 0.9).
        kind: which noise: ``flow``, ``dance``, or ``cps``, which does not keep the marginals.
        window: steps with noise and a gradient; 0 is all from ``window_start`` on. The last step
            never has noise, which would stay in the picture; Flow-GRPO and DanceGRPO do not train
            it either.
        window_start: the first of them, 0-based.
        slide_every: steps of training until the window moves on by one, back to the beginning
            behind the end (MixGRPO: 25); 0: it stays.
        clip: of the ratio; small, since log-probabilities are means over elements.
        kl: weight of the divergence from the model without its adapter (Flow-GRPO: 0 to 0.04).
        advantages: against the ``group``'s standard deviation; that of all rewards of the step on
            this process (``global``); or each reward by itself (``per_reward``, GDPO).
        advantage_clip: largest advantage.
        updates: of the optimizer, among which the pictures of a step are shared out; after the
            first, pictures are of slightly older weights (Flow-GRPO: 2; with guidance 1).
        minibatch: pictures of one pass, in rollout and training alike: kernels may round
            otherwise at another size, and ratios would not begin at 1.
        guard: GRPO-Guard's ratio, and losses divided by the step's time.
        same_noise: a group begins with the same noise (DanceGRPO), so that its pictures differ
            by the window alone, and what lies before it is drawn once.
        flow_weight: of a flow-matching loss on the examples, in every update.
    """

    group: int = 12
    prompts: int = 4
    noise: float = 0.7
    kind: StepKind = "flow"
    window: int = 4
    window_start: int = 0
    slide_every: int = 25
    clip: float = 1e-4
    kl: float = 0.0
    advantages: Literal["group", "global", "per_reward"] = "group"
    advantage_clip: float = 5.0
    updates: int = 1
    minibatch: int = 8
    guard: bool = True
    same_noise: bool = True
    flow_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.group < 2 or min(self.prompts, self.updates, self.minibatch) < 1:
            raise RequestError(
                "grpo: expected a group of 2 or more, and prompts, updates and minibatch of 1 or "
                f"more; got {self.group}, {self.prompts}, {self.updates} and {self.minibatch}"
            )
        if min(self.noise, self.clip, self.advantage_clip) <= 0 or (
            self.kind == "cps" and self.noise >= 1
        ):
            raise RequestError(
                "grpo: expected noise (below 1 for cps), clip and advantage_clip above 0; got "
                f"{self.noise}, {self.clip} and {self.advantage_clip}"
            )
        counts = (self.window, self.window_start, self.slide_every)
        if min(*counts, self.kl, self.flow_weight) < 0:
            raise RequestError(
                "grpo: window, window_start, slide_every, kl and flow_weight cannot be below 0"
            )
        parts = -(-self.group * self.prompts // self.minibatch)
        if self.updates > parts:
            raise RequestError(
                f"grpo.updates: {self.group} x {self.prompts} pictures in minibatches of "
                f"{self.minibatch} are {parts}, not enough for {self.updates} updates; lower "
                "updates or minibatch"
            )


def check_grpo(recipe: GrpoRecipe, training: TrainingRecipe, *, adapter: bool) -> None:
    """Does the section fit the others?

    Raises:
        RequestError: it does not.
    """
    if (training.batch_size, training.accumulate) != (recipe.prompts, 1):
        raise RequestError(
            f"grpo.prompts is {recipe.prompts}, so training.batch_size must be {recipe.prompts} "
            f"and training.accumulate 1; got {training.batch_size} and {training.accumulate}. "
            "How many pictures a pass holds is grpo.minibatch"
        )
    if training.train_text_encoder:
        raise RequestError("training.train_text_encoder: [grpo] trains the denoiser alone; drop it")
    if recipe.kl and not adapter:
        raise RequestError(
            f"grpo.kl {recipe.kl}: the model before training is there only below an adapter; add "
            "a section [lora], or set it to 0"
        )


def window_of(recipe: GrpoRecipe, total: int, step: int) -> tuple[int, int]:
    """(first step with noise, how many) of T = ``total`` at a step of training.

    >>> recipe = GrpoRecipe(window=2, slide_every=10)
    >>> [window_of(recipe, 6, step) for step in (0, 9, 10, 39, 40)]
    [(0, 2), (0, 2), (1, 2), (3, 2), (0, 2)]

    Raises:
        RequestError: the window does not fit.
    """
    count = recipe.window or total - 1 - recipe.window_start
    places = total - count  # the last step has no noise
    if count < 1 or not recipe.window_start < places:
        raise RequestError(
            f"grpo: a window of {recipe.window} from step {recipe.window_start} does not fit "
            f"rollouts of {total} steps, whose last has no noise"
        )
    slides = recipe.window and recipe.slide_every
    moved = step // recipe.slide_every if slides else 0
    return (recipe.window_start + moved) % places, count

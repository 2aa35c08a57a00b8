"""How well pictures fit their prompts, by models that read both: CLIP-T, ImageReward and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from personae.compute.device import choose_device
from personae.compute.runs import RowLog
from personae.errors import DataError, RequestError
from personae.evaluation.measure import Shot
from personae.evaluation.model_rows import score_by_models
from personae.generation.prompts import named
from personae.metrics.score import Score
from personae.metrics.scoring import Protocol
from personae.subjects.picture import read_picture
from personae.training.rewards.preference import ModelReward, make_model_reward
from personae.vision.embedders.crops import image_tensor

__all__ = ["TEXT_SCORERS", "TextScorer", "build_text_scorers", "score_texts"]

TEXT_SCORERS: Mapping[str, tuple[str, str]] = {
    "clip": ("clip_t", "alignment"),
    "imagereward": ("image_reward", "imagereward"),
    "pickscore": ("pick_score", "pickscore"),
    "hpsv3": ("hps_v3", "hpsv3"),
}
"""What ``--text`` names, as (metric, reward of the same model)."""

_MARK = "text"


@dataclass(frozen=True, eq=False)
class TextScorer:
    """A model that reads prompts, under its metric's name.

    The prompt is the scene's with each subject by its noun: what a token means, no such model
    knows. A picture that is not there, an empty prompt, or a model that fails or says no finite
    number, is unmeasured.
    """

    metric: str
    reward: ModelReward
    protocol: Protocol = "official"

    @property
    def name(self) -> str:
        """What rows call it."""
        return self.reward.model.name

    def told(self, shot: Shot) -> str:
        """See `PictureModel`."""
        return shot.scene.prompt

    def scores(self, shot: Shot) -> list[Score]:
        """See `PictureModel`."""
        return [_score(self, shot)]


def build_text_scorers(texts: Sequence[str], device: str = "cpu") -> list[TextScorer]:
    """Load the models: ``clip``, ``imagereward``, ``pickscore``, ``hpsv3``, or ``NAME:SOURCE``.

    Raises:
        RequestError: another name, or one twice.
        WeightsError: package or weights are missing.
    """
    found: dict[str, TextScorer] = {}
    for text in texts:
        name, _, source = text.partition(":")
        if name not in TEXT_SCORERS or name in found:
            raise RequestError(
                f"--text {text!r}: expected each once of {', '.join(TEXT_SCORERS)}, with "
                ":FOLDER-OR-HUB-ID where weights are brought along"
            )
        metric, reward = TEXT_SCORERS[name]
        made = make_model_reward(reward, source or None, choose_device(device))
        found[name] = TextScorer(metric, made)
    return list(found.values())


def score_texts(
    scorers: Sequence[TextScorer],
    shots: Sequence[Shot],
    log: RowLog,
    stamp: Callable[[Shot], str],
) -> int:
    """A row a picture and model, as `score_by_models` adds them; how many pictures were read."""
    return score_by_models(scorers, shots, log, stamp, _MARK)


def _score(scorer: TextScorer, shot: Shot) -> Score:
    if shot.path is None:
        return Score.unmeasured(scorer.metric, "the scene has no picture")
    nouns = {name: subject.noun for name, subject in shot.scene.subjects.items()}
    try:
        image = read_picture(shot.path)
        prompt = named(shot.scene.prompt, nouns, f"scene {shot.scene.id!r}").strip()
    except DataError as error:
        return Score.unmeasured(scorer.metric, str(error))
    if not prompt:
        return Score.unmeasured(scorer.metric, "the prompt is empty")
    with torch.no_grad():
        (said,) = scorer.reward.told(image_tensor(image)[None], [prompt])
    if isinstance(said, str):
        return Score.unmeasured(scorer.metric, said)
    return Score.of(scorer.metric, float(said), None, prompt=prompt)

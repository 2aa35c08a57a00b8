"""Rewards by models that read the prompt: alignment, human preference, and judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from personae.errors import RequestError
from personae.metrics.alignment import check_claims, fidelity_score
from personae.metrics.presence import presence
from personae.subjects.scene import Claim
from personae.training.rewards.asked import Asked, Rewards
from personae.training.rewards.sight import Seen, Sight, as_pixels
from personae.vision.preference import (
    ClipScorer,
    HpsScorer,
    ImageRewardScorer,
    PreferenceModel,
)
from personae.vision.protocols import Detection, Judge

__all__ = ["MODELS", "JudgeReward", "ModelReward", "claims_of", "make_model_reward"]

_CLIP_L = "openai/clip-vit-large-patch14"
_PICKSCORE = "yuvalkirstain/PickScore_v1"
_CLIP_H = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"

Maker = Callable[[str | None, torch.device], PreferenceModel]


def _alignment(model: str | None, device: torch.device) -> PreferenceModel:
    return ClipScorer(model or _CLIP_L, device=device)


def _pickscore(model: str | None, device: torch.device) -> PreferenceModel:
    return ClipScorer(model or _PICKSCORE, tokenizer=_CLIP_H, scaled=True, device=device)


def _imagereward(model: str | None, device: torch.device) -> PreferenceModel:
    return ImageRewardScorer(model, device)


def _hpsv3(model: str | None, device: torch.device) -> PreferenceModel:
    return HpsScorer(model, device)


MODELS: Mapping[str, Maker] = {
    "alignment": _alignment,
    "pickscore": _pickscore,
    "imagereward": _imagereward,
    "hpsv3": _hpsv3,
}
"""Reward to what makes its model of a folder or hub id (None: the published one)."""


def make_model_reward(name: str, model: str | None, device: torch.device) -> ModelReward:
    """One of ``MODELS`` as a reward.

    Args:
        name: which.
        model: folder, file or hub id of its weights; None: the published ones.
        device: where it computes.

    Raises:
        RequestError: no such reward.
        WeightsError: package or weights are missing.
    """
    if name not in MODELS:
        raise RequestError(f"reward {name!r}: expected one of {list(MODELS)}")
    return ModelReward(name, MODELS[name](model, device))


class ModelReward:
    """What a `PreferenceModel` says of each picture and its prompt.

    A picture without a prompt, or of which the model says no finite number, is unmeasured. Where
    a batch fails, each picture is asked for alone, so that one cannot take the others with it;
    only a full memory ends the run.

    Args:
        name: in recipes and logs.
        model: what is asked.
    """

    def __init__(self, name: str, model: PreferenceModel) -> None:
        self.name, self.model = name, model
        self.differentiable = model.differentiable

    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Rewards:
        """See `Reward`."""
        values: list[Tensor | str] = ["the prompt is empty"] * len(asked)
        places = [place for place, item in enumerate(asked) if item.prompt.strip()]
        if places:
            told = self.told(pictures[places], [asked[place].prompt for place in places])
            for place, value in zip(places, told, strict=True):
                values[place] = value
        return Rewards.of(values, pictures.device)

    def told(self, pictures: Tensor, prompts: Sequence[str]) -> list[Tensor | str]:
        """A number for each picture and its prompt, or why there is none."""
        try:
            said = self.model.score(pictures, prompts)
            if said.shape != (len(prompts),):
                raise ValueError(f"{tuple(said.shape)} numbers for {len(prompts)} pictures")
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, OSError) as error:
            if len(prompts) == 1:
                reason = str(error).strip().split("\n")[0][:200]
                return [f"{self.name} failed ({type(error).__name__}: {reason})"]
            pairs = zip(pictures, prompts, strict=True)
            return [self.told(one[None], [prompt])[0] for one, prompt in pairs]
        finite = torch.isfinite(said.detach()).tolist()
        return [
            value if good else f"{self.name} said {float(value.detach())}"
            for value, good in zip(said, finite, strict=True)
        ]


def claims_of(asked: Asked) -> list[Claim]:
    """What every picture claims: so many subjects, and where one lies to another.

    A judge that reads language can be asked for more, such as ``Claim("prompt", None,
    asked.prompt)``.
    """
    claims = [Claim("count", None, str(len(asked.subjects)))]
    if asked.relation is not None:
        relation = asked.relation
        claims.append(Claim("relation", relation.first, f"{relation.words} {relation.second}"))
    return claims


class JudgeReward:
    """Share of the claims that a picture keeps, by a judge: `prompt_fidelity` as a reward.

    What boxes decide (count, relation, absence) is not put to the judge. One claim of which it
    can say nothing makes the picture unmeasured, with its reason.

    Args:
        judge: answers claims, such as a vision-language model; never the examiner.
        sights: eyes that find the subjects; a subject nobody looked for cannot be judged.
        claims: what is asked of a picture.
        name: in logs.

    Raises:
        RequestError: the judge is the examiner.
    """

    differentiable = False

    def __init__(
        self,
        judge: Judge,
        sights: Sequence[Sight] = (),
        claims: Callable[[Asked], Sequence[Claim]] = claims_of,
        name: str = "claims",
    ) -> None:
        from personae.vision.toons.examiner import Examiner

        if isinstance(judge, Examiner):
            raise RequestError(
                "judge: the examiner judges what came of a training, so no reward may ask it; "
                "give another judge"
            )
        self.name, self._judge, self._sights, self._claims = name, judge, tuple(sights), claims

    @torch.no_grad()
    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Rewards:
        """See `Reward`."""
        looks = [sight.see(pictures, asked) for sight in self._sights]
        values = [
            self._value(image, item, [look[place] for look in looks])
            for place, (image, item) in enumerate(zip(as_pixels(pictures), asked, strict=True))
        ]
        return Rewards.of(values, pictures.device)

    def _value(self, image: np.ndarray, asked: Asked, looks: Sequence[Seen | None]) -> Tensor | str:
        claims = list(self._claims(asked))
        if not claims:
            return "nothing is claimed of this picture"
        seen = [look for look in looks if look is not None]
        found = [box for look in seen for box in look.detections]
        looked_for = sum(len(look.subjects) for look in seen)
        if looked_for < len(asked.subjects) and any(claim.kind == "count" for claim in claims):
            return f"no eyes for some of {list(asked.subjects)}, so nobody can count"
        try:
            checks = check_claims(image, claims, _where(seen), found, self._judge)
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            return f"the judge failed ({type(error).__name__}: {str(error)[:200]})"
        score = fidelity_score(checks)
        if score.value is None:
            return score.reason or "the judge is silent"
        return torch.tensor(score.value)


def _where(looks: Sequence[Seen]) -> dict[str, Detection | None]:
    """Each subject that was looked for, as it was found."""
    where: dict[str, Detection | None] = {}
    for seen in looks:
        match = presence(seen.similarity.detach()).match
        for name, place in zip(seen.subjects, match, strict=True):
            where[name] = None if place is None else seen.detections[place]
    return where

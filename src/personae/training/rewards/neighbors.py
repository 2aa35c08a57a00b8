"""Our rewards in other trainers' forms: Flow-Factory's reward model, and VeRL-Omni's function.

Nothing of theirs is imported before it is needed. Neither has a place for a picture that could not
be measured: Flow-Factory stops at a reward that is not finite, and VeRL-Omni's manager of several
rewards counts 0 for one that raises (unless it is ``required``). So it is said here what is to
happen: by default an error that gives the reasons; or the number that you name as ``unmeasured``,
with ``personae_measured`` 0 and the reason beside it.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.compute.device import choose_device
from personae.errors import DataError, RequestError
from personae.subjects.picture import MAX_PIXELS, read_picture
from personae.subjects.scene import Relation
from personae.subjects.subject import Reference
from personae.training.rewards.asked import Asked, Reward
from personae.training.rewards.photos import decode_picture, to_pixels, to_reference
from personae.training.rewards.plain import Answers, score_pictures

__all__ = ["flow_factory_reward", "verl_score", "verl_score_async"]

Make = Callable[[torch.device], Reward]
Scored = dict[str, float | str]


def flow_factory_reward(make: Make, *, unmeasured: float | None = None) -> type:
    """A class for Flow-Factory's ``reward_model:``, built on its ``PointwiseRewardModel``.

    Written after X-GenGroup/Flow-Factory, ``rewards/abc.py`` at 5f6cda1a, and the version of its
    reward processor that knows ``applicable_datasets``: a class is made with ``(config,
    accelerator)``, called with lists ``prompt``, ``image``, ``condition_images`` (Pillow) and
    ``metadata`` (JSON texts with the dataset's other columns), as far as its signature names them,
    and answers a ``RewardModelOutput``; lists of the batch's length in ``extra_info`` are kept
    with the samples.

    Columns of the dataset that are read: ``subjects``, the subject of each condition image in
    order (a repeated one has several references; without the column each image is a subject of its
    own, "1", "2" ...), and ``nouns``, ``kinds`` and ``relation`` by those names.

    Args:
        make: builds the reward of a device.
        unmeasured: what a picture counts that could not be measured; None: an error.

    Example::

        # my_rewards.py, named in the recipe as  reward_model: "my_rewards.Personae"
        Personae = flow_factory_reward(lambda device: make_reward(RewardsRecipe(), device))
    """
    theirs: Any = import_module("flow_factory.rewards")

    class PersonaeReward(theirs.PointwiseRewardModel):  # type: ignore[misc]
        """One of Personae's rewards."""

        required_fields = ("prompt", "image", "condition_images")
        use_tensor_inputs = False

        def __init__(self, config: Any, accelerator: Any) -> None:
            super().__init__(config, accelerator)
            self._scorer = _Scorer(make, self.device)

        def __call__(
            self,
            prompt: Sequence[str],
            image: Sequence[Any] | None = None,
            condition_images: Sequence[Any] | None = None,
            metadata: Sequence[str | None] | None = None,
        ) -> Any:
            """Rewards of a batch."""
            if image is None or condition_images is None:
                raise DataError(
                    "flow-factory: expected image and condition_images; without references there "
                    "is nobody to compare with"
                )
            told = metadata or [None] * len(prompt)
            rows = zip(prompt, condition_images, told, strict=True)
            asked = [_of_sample(*row, f"sample {place}") for place, row in enumerate(rows)]
            pictures = [to_pixels(one, f"sample {place}") for place, one in enumerate(image)]
            answers = self._scorer(pictures, asked)
            values = [_number(value, why, unmeasured) for value, why in answers]
            return theirs.RewardModelOutput(
                rewards=torch.tensor(values), extra_info=_extra(answers)
            )

    return PersonaeReward


def verl_score(
    make: Make,
    *,
    device: str = "auto",
    unmeasured: float | None = None,
    parts: Sequence[str] = (),
) -> Callable[..., Scored]:
    """A ``compute_score`` for VeRL-Omni's visual reward managers.

    Written after verl-project/verl-omni, ``reward_loop/reward_manager/visual.py`` at 1486d9ce and
    ``multi.py`` at 061f8b95: it is called by keyword, one sample at a time, from several threads,
    with ``data_source``, ``solution_image`` (a tensor (3, H, W), uint8 since pull request 373,
    float in [0, 1] before), ``ground_truth`` (the prompt) and ``extra_info``, and answers a mapping
    with ``score``; the other entries become metrics. verl's own ``naive`` manager calls with text
    (``solution_str``), and is refused.

    ``extra_info["references"]`` is a list of mappings ``subject``, one of ``bytes`` (PNG, JPEG),
    ``path`` and ``image`` (an array or Pillow's), and maybe ``noun`` and ``kind``;
    ``extra_info["relation"]`` may be [FIRST, WORDS, SECOND].

    Args:
        make: builds the reward of a device, at the first call, once in a process.
        device: where; auto is the GPU where there is one.
        unmeasured: what a picture counts that could not be measured; None: an error.
        parts: those of the reward's parts that become metrics; NaN where there is none. The loop
            takes the first sample's entries for those of all, so they are named here.

    Example::

        # my_rewards.py, with  reward.custom_reward_function.path=my_rewards.py  and
        # reward.custom_reward_function.name=compute_score
        compute_score = verl_score(lambda device: make_reward(RewardsRecipe(), device))
    """
    scorer = _Scorer(make, device)

    def compute_score(
        data_source: str = "",
        solution_image: Any = None,
        ground_truth: Any = "",
        extra_info: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> Scored:
        """Reward of one sample."""
        asked = _of_extra_info(extra_info or {}, ground_truth)
        answers = scorer([_solution(solution_image, others)], [asked])
        ((value, why),) = answers
        further = {name: answers.parts.get(name, (None,))[0] for name in parts}
        return {
            "score": _number(value, why, unmeasured),
            "personae_measured": float(why is None),
            "personae_reason": why or "",
            **{f"personae_{k}": math.nan if v is None else v for k, v in further.items()},
        }

    return compute_score


def verl_score_async(
    make: Make,
    *,
    device: str = "auto",
    unmeasured: float | None = None,
    parts: Sequence[str] = (),
) -> Callable[..., Coroutine[Any, Any, Scored]]:
    """The same as a coroutine function, for the asynchronous reward loop: others go on meanwhile.

    See `verl_score`.
    """
    score = verl_score(make, device=device, unmeasured=unmeasured, parts=parts)

    async def compute_score(**sample: Any) -> Scored:
        """Reward of one sample."""
        return await asyncio.to_thread(score, **sample)

    return compute_score


class _Scorer:
    """A reward that is built at its first use, and asked by one thread at a time."""

    def __init__(self, make: Make, device: torch.device | str) -> None:
        self._make, self._device = make, device
        self._lock = threading.Lock()
        self._reward: Reward | None = None

    def __call__(self, pictures: Sequence[Tensor], asked: Sequence[Asked]) -> Answers:
        """What the reward says."""
        with self._lock:
            if isinstance(self._device, str):
                self._device = choose_device(self._device)
            if self._reward is None:
                self._reward = self._make(self._device)
            return score_pictures(self._reward, pictures, asked, self._device)


def _number(value: float | None, why: str | None, unmeasured: float | None) -> float:
    if value is not None:
        return value
    if unmeasured is None:
        raise DataError(
            f"a picture could not be measured ({why}), and this trainer has no place for that; "
            "name the number that it is to count as unmeasured="
        )
    return unmeasured


def _extra(answers: Answers) -> dict[str, list[Any]]:
    """Lists with an entry a sample."""
    return {
        "personae_measured": [float(why is None) for why in answers.reasons],
        "personae_reason": [why or "" for why in answers.reasons],
        **{f"personae_{name}": list(numbers) for name, numbers in answers.parts.items()},
    }


def _of_sample(prompt: str, images: Sequence[Any], metadata: str | None, where: str) -> Asked:
    """Flow-Factory's sample as what was asked for."""
    about = _metadata(metadata, where)
    names = about.get("subjects") or [str(place + 1) for place in range(len(images))]
    if len(names) != len(images):
        raise DataError(
            f"{where}: {len(images)} condition images, but subjects names {len(names)}: {names}; "
            "expected the subject of each condition image"
        )
    held: dict[str, tuple[Reference, ...]] = {}
    for place, (name, image) in enumerate(zip(names, images, strict=True)):
        reference = to_reference(image, f"{where}, condition image {place}")
        held[name] = (*held.get(name, ()), reference)
    return _asked(held, about.get("nouns"), about.get("kinds"), prompt, about.get("relation"))


def _metadata(text: str | None, where: str) -> dict[str, Any]:
    try:
        about = json.loads(text) if text else {}
    except ValueError as error:
        raise DataError(f"{where}: metadata is no JSON ({error})") from error
    if not isinstance(about, dict):
        raise DataError(f"{where}: metadata is no JSON object, but {type(about).__name__}")
    return about


def _of_extra_info(extra_info: Mapping[str, Any], prompt: Any) -> Asked:
    """VeRL-Omni's sample as what was asked for."""
    listed = extra_info.get("references")
    if listed is None or not len(listed):
        raise DataError(
            "verl: expected extra_info['references'], a list of mappings with subject and one of "
            f"bytes, path, image; got extra_info with {sorted(extra_info)}"
        )
    held: dict[str, tuple[Reference, ...]] = {}
    for place, item in enumerate(listed):
        reference = _photo(item, f"extra_info['references'][{place}]")
        held[item["subject"]] = (*held.get(item["subject"], ()), reference)
    nouns = {item["subject"]: item["noun"] for item in listed if item.get("noun")}
    kinds = {item["subject"]: item["kind"] for item in listed if item.get("kind")}
    text = prompt if isinstance(prompt, str) else ""
    return _asked(held, nouns, kinds, text, extra_info.get("relation"))


def _asked(
    held: Mapping[str, tuple[Reference, ...]], nouns: Any, kinds: Any, prompt: str, relation: Any
) -> Asked:
    told = None if relation is None else tuple(relation)
    if told is not None and len(told) != 3:
        raise DataError(f"relation: expected FIRST, WORDS and SECOND; got {told}")
    return Asked(
        held, nouns=nouns or {}, kinds=kinds or {}, prompt=prompt, relation=told and Relation(*told)
    )


def _photo(item: Mapping[str, Any], where: str) -> Reference:
    if not item.get("subject"):
        raise DataError(f"{where}: expected a subject; got {sorted(item)}")
    if item.get("bytes") is not None:
        return Reference(decode_picture(item["bytes"], where, MAX_PIXELS), path=where)
    if item.get("path") is not None:
        return Reference(read_picture(Path(item["path"])), path=str(item["path"]))
    if isinstance(item.get("image"), np.ndarray | Image.Image):
        return to_reference(item["image"], where)
    raise DataError(f"{where}: expected bytes, path or image; got {sorted(item)}")


def _solution(image: Any, others: Mapping[str, Any]) -> Tensor:
    if image is None:
        raise RequestError(
            "verl: expected solution_image, a picture; got "
            f"{'text' if 'solution_str' in others else sorted(others)}; "
            "use VeRL-Omni's visual reward manager, or its manager of several rewards"
        )
    tensor = torch.as_tensor(image)
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    return to_pixels(tensor, "solution_image")

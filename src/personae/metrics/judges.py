"""Choosing a judge by name, with what it answered kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from personae.errors import RequestError
from personae.metrics.toon_judge import ToonJudge
from personae.vision.cache import cache_folder
from personae.vision.judges import Asking, KeptJudge, ModelJudge, QuestionJudge
from personae.vision.language import EndpointModel, Patience, SeeingFolderModel

__all__ = ["JUDGES", "build_judge", "judgement_folder"]

JUDGES = "endpoint, folder:PATH or toons"
"""The names that `build_judge` knows."""

# Several pictures and many questions at once: longer than the planner of layouts is waited for.
_TIMEOUT_SECONDS = 180.0


def judgement_folder() -> Path:
    """Where judgements are kept, unless said otherwise: in the user's cache."""
    return cache_folder() / "judgements"


def build_judge(
    name: str,
    *,
    url: str | None = None,
    model: str | None = None,
    asking: Asking | None = None,
    patience: Patience | None = None,
    device: str = "cpu",
    cache: Path | None = None,
) -> QuestionJudge:
    """The judge of a name; nothing is asked of it yet.

    Args:
        name: ``endpoint`` (any that speaks OpenAI's chat completions), ``folder:PATH`` (a
            vision-language model of transformers on this machine) or ``toons`` (see `ToonJudge`).
        url: of the endpoint, such as ``http://localhost:8000/v1``. Its key, where it wants one, is
            read from the environment (``PERSONAE_LLM_KEY``) and written nowhere.
        model: its name at the endpoint.
        asking: how it is asked.
        patience: how long and how often an endpoint is waited for; None is 180 seconds, four times.
        device: where a folder's model computes.
        cache: where a model's answers are kept; None keeps none (see `judgement_folder`). What
            toons answer is never kept: it is quickly had, and could outlive the code it rests on.

    Raises:
        RequestError: an unknown name, a flag that does not go with it, or one that is missing.
        WeightsError: no model in that folder.
        WorkError: the folder of answers cannot be made.
    """
    kind, _, path = name.partition(":")
    if kind != "endpoint" and (url is not None or model is not None):
        raise RequestError(f"judge {name!r} has no address and no model's name; that is endpoint")
    how = asking or Asking()
    if name == "toons":
        return ToonJudge()
    if name == "endpoint":
        judge = _endpoint(url, model, how, patience)
    elif kind == "folder" and path:
        seeing = SeeingFolderModel(
            Path(path), device=device, max_tokens=how.max_tokens, temperature=how.temperature
        )
        # Threads would only wait for each other's model.
        judge = ModelJudge(seeing, replace(how, num_threads=1))
    else:
        raise RequestError(f"judge {name!r}: expected {JUDGES}")
    return judge if cache is None else KeptJudge(judge, cache)


def _endpoint(
    url: str | None, model: str | None, how: Asking, patience: Patience | None
) -> ModelJudge:
    if not url or not model:
        raise RequestError(
            "judge endpoint: expected its address and its model's name, such as "
            "http://localhost:8000/v1 and Qwen/Qwen2.5-VL-7B-Instruct"
        )
    seeing = EndpointModel(
        url,
        model,
        max_tokens=how.max_tokens,
        temperature=how.temperature,
        patience=patience or Patience(timeout_seconds=_TIMEOUT_SECONDS),
        flag="judge's address",
    )
    return ModelJudge(seeing, how)

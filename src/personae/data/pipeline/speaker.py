"""How a step asks a language model: strictly, again with the complaint, and never twice the same.

An answer that was once had and could be used is kept on disk by all that it depends on, so that a
run that is made again says the same and costs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from PIL import Image

from personae.compute.device import choose_device
from personae.compute.runs import make_folder, read_json, write_json
from personae.data.pipeline.items import Lost
from personae.errors import DataError, RequestError, WeightsError, WorkError
from personae.vision.cache import cache_folder
from personae.vision.language import (
    EndpointModel,
    FolderModel,
    Message,
    Patience,
    RefusedError,
    Reply,
    SeeingFolderModel,
)

__all__ = ["Heard", "Speaker", "Talker", "picture_bytes"]

_FORMAT = 1
_ECHOED = 2000  # characters of a bad answer that are told back
_SEEDS = 2**31
_NO_USE = "the language model gave no answer that can be used"
_REFUSED = "the language model refused to answer"
_SILENT = "the language model did not answer"
T = TypeVar("T")


class _Model(Protocol):
    temperature: float
    max_tokens: int

    def reply(self, messages: Sequence[Message], *, seed: int | None = None) -> Reply: ...


@dataclass(frozen=True)
class Heard(Generic[T]):
    """What was read out of an answer, or None and why."""

    value: T | None
    reason: str = ""
    detail: str = ""

    def lost(self, name: str) -> Lost:
        """The item of this name, as one that failed for want of an answer."""
        return Lost(name, self.reason, failed=True, detail=self.detail[:300])


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """Which language model is asked, and how.

    Attributes:
        by: ``endpoint`` (any that speaks OpenAI's chat completions; its key stands in
            ``PERSONAE_LLM_KEY``), or ``folder:PATH`` of transformers.
        url, model: of an endpoint: its address and the model's name there.
        temperature: 0 takes the likeliest answer; above, one is drawn by a seed of each item.
        max_tokens: of an answer.
        tries: answers that are read before an item is given up.
        silences: items in a row without any answer after which the run stops; nothing of the
            shard in work is written then, and the same command goes on.
        max_side_px: of a picture that is shown; larger ones are scaled down.
        timeout_s: of one question to an endpoint.
        device: where a folder's model computes.
    """

    by: str = "endpoint"
    url: str | None = None
    model: str | None = None
    temperature: float = 0.0
    max_tokens: int = 1024
    tries: int = 3
    silences: int = 3
    max_side_px: int = 1024
    timeout_s: float = 180.0
    device: str = "auto"

    def __post_init__(self) -> None:
        folder = self.by.startswith("folder:") and len(self.by) > len("folder:")
        if not folder and self.by != "endpoint":
            raise RequestError(f"speaker.by {self.by!r}: expected endpoint or folder:PATH")
        if folder == bool(self.url or self.model) or not (folder or (self.url and self.model)):
            raise RequestError(
                f"speaker: {self.by!r} with url {self.url!r} and model {self.model!r}; expected "
                "both for an endpoint, such as http://localhost:8000/v1 and Qwen/Qwen3-8B, and "
                "neither for a folder"
            )
        if min(self.tries, self.silences, self.max_tokens) < 1 or not self.temperature >= 0:
            raise RequestError(
                "speaker: expected tries, silences and max_tokens of 1 or more and a temperature "
                f"of 0 or more; got {self.tries}, {self.silences}, {self.max_tokens}, "
                f"{self.temperature}"
            )

    @property
    def folder(self) -> Path | None:
        """Of a local model."""
        return Path(self.by.partition(":")[2]) if self.by != "endpoint" else None

    def settings(self) -> dict[str, Any]:
        """What answers depend on, as JSON."""
        untold = {"device", "silences", "timeout_s"}
        return {key: value for key, value in vars(self).items() if key not in untold}

    def build(self, *, sees: bool, patience: Patience | None = None) -> Talker:
        """The model, asked nothing yet.

        Raises:
            WeightsError: no model in that folder.
            RequestError: no address.
        """
        told: dict[str, Any] = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        if self.folder is None:
            patience = patience or Patience(timeout_seconds=self.timeout_s)
            endpoint = EndpointModel(
                str(self.url), str(self.model), patience=patience, flag="speaker.url", **told
            )
            return Talker(endpoint, endpoint.name, self)
        told["device"] = choose_device(self.device)
        # Its name holds the hash of the weights, of a model without eyes as well.
        name = SeeingFolderModel(self.folder, **told).name
        kind = SeeingFolderModel if sees else FolderModel
        return Talker(kind(self.folder, **told), name, self)


@dataclass(eq=False)
class Talker:
    """A model that is asked, and how often it was silent in a row.

    Attributes:
        model: who is asked.
        name: what its answers depend on.
        speaker: how it is asked.
        kept: where answers are kept.
    """

    model: _Model
    name: str
    speaker: Speaker
    kept: Path = field(default_factory=lambda: cache_folder() / "answers")
    _silences: int = 0

    def ask(self, talk: Sequence[Message], read: Callable[[str], T], seed: int) -> Heard[T]:
        """What ``read`` makes of an answer; its `DataError` is told back as the complaint.

        Raises:
            WorkError: too many items in a row had no answer, or no question will ever have one
                (a wrong key, no such model); what was finished is kept.
        """
        seed %= _SEEDS
        path = self._path(talk, seed)
        text = _kept(path)
        if text is not None:
            try:
                return Heard(read(text))
            except DataError:
                pass  # it was read by other rules
        try:
            heard, used = self._asked(talk, read, seed)
        except RefusedError as error:
            self._silences = 0
            return Heard(None, _REFUSED, str(error))
        except (RequestError, WeightsError) as error:
            raise WorkError(str(error)) from error
        except WorkError as error:
            self._silences += 1
            if self._silences >= self.speaker.silences:
                raise
            return Heard(None, _SILENT, str(error))
        if heard.value is not None:
            make_folder(path.parent)
            write_json(path, {"format": _FORMAT, "model": self.name, "answer": used})
        return heard

    def _asked(
        self, talk: Sequence[Message], read: Callable[[str], T], seed: int
    ) -> tuple[Heard[T], str]:
        talk, complaint = list(talk), ""
        for _ in range(self.speaker.tries):
            text = self.model.reply(talk, seed=seed).text.encode("utf-8", "replace").decode()
            self._silences = 0
            try:
                return Heard(read(text)), text
            except DataError as error:
                complaint = str(error)
            again = f"That cannot be used: {complaint}. Answer with the JSON object alone."
            talk += [
                Message("assistant", text[:_ECHOED] or "(nothing)"),
                Message("user", again),
            ]
        return Heard(None, _NO_USE, f"{self.speaker.tries} tries; the last: {complaint}"), ""

    def _path(self, talk: Sequence[Message], seed: int) -> Path:
        """Of an answer: all that it depends on, but how often it may be asked for."""
        told = {
            "format": _FORMAT,
            "model": self.name,
            "temperature": self.model.temperature,
            "max_tokens": self.model.max_tokens,
            "seed": seed,
            "talk": [
                [one.role, one.content, [hashlib.sha256(item).hexdigest() for item in one.pictures]]
                for one in talk
            ],
        }
        key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        return self.kept / key[:2] / f"{key}.json"


def picture_bytes(image: np.ndarray, max_side_px: int) -> bytes:
    """A picture (H, W, 3) uint8 as a PNG file, scaled down to a long side of ``max_side_px``."""
    picture = Image.fromarray(image)
    picture.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    stream = BytesIO()
    picture.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _kept(path: Path) -> str | None:
    """The answer in a file; None where there is none, or one that is damaged."""
    try:
        told: Mapping[str, Any] = read_json(path)
        return told["answer"] if isinstance(told["answer"], str) else None
    except (DataError, KeyError, TypeError):
        return None

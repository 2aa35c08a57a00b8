"""A language model of this machine: a transformers folder with a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from personae.errors import RequestError, WeightsError, WorkError
from personae.vision.language.text_model import Message, Reply

__all__ = ["FolderModel"]


class FolderModel:
    """A causal language model in a transformers folder (safetensors), read at the first question.

    At temperature 0 it answers greedily, so that the same talk has the same answer. Nothing is
    downloaded.

    Args:
        folder: of ``save_pretrained``, of the model and its tokenizer.
        device: where it computes.
        dtype: in what; None is bfloat16 on a GPU and float32 elsewhere.
        max_tokens: of an answer; what is longer is cut off.
        temperature: 0 takes the likeliest answer; above, one is drawn.

    Raises:
        WeightsError: no such folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        max_tokens: int = 1024,
        temperature: float = 0.0,
    ) -> None:
        if not (folder / "config.json").is_file():
            raise WeightsError(
                f"{folder}: no language model here (no config.json); give a folder of "
                "transformers, or the --llm-url of an endpoint"
            )
        self.name = str(folder)
        self.max_tokens, self.temperature = max_tokens, temperature
        self._folder = folder
        self._device = torch.device(device)
        usual = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        self._dtype = dtype or usual
        self._loaded: tuple[Any, Any] | None = None

    def complete(self, messages: Sequence[Message]) -> str:
        """See `TextModel`."""
        return self.reply(messages).text

    @torch.no_grad()
    def reply(
        self,
        messages: Sequence[Message],
        *,
        seed: int | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Reply:
        """See `SeeingModel`; a schema is not looked at, and no other random number is touched.

        Raises:
            WeightsError: the folder cannot be read, or has no chat template.
            WorkError: the device's memory does not hold this talk.
        """
        reader, model = self._read()
        told = self._told(reader, messages)
        gpus = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(seed or 0)
            try:
                answer = model.generate(**told, **self._manner(_tokenizer(reader)))
            except torch.OutOfMemoryError as error:
                raise WorkError(
                    f"{self.name}: the memory of {self._device} does not hold this talk; "
                    "give smaller pictures or another device"
                ) from error
        new = answer[0, told["input_ids"].shape[1] :]
        return Reply(_tokenizer(reader).decode(new, skip_special_tokens=True), self.name)

    def _told(self, reader: Any, messages: Sequence[Message]) -> dict[str, Any]:
        """What the model is given of a talk."""
        if any(message.pictures for message in messages):
            raise RequestError(f"{self.name}: a language model without eyes was shown a picture")
        told = reader.apply_chat_template(
            [{"role": message.role, "content": message.content} for message in messages],
            add_generation_prompt=True,
            enable_thinking=False,  # templates that know no such thing do not look at it
            return_tensors="pt",
            return_dict=True,
        ).to(self._device)
        return {"input_ids": told["input_ids"], "attention_mask": told["attention_mask"]}

    def _manner(self, tokenizer: Any) -> dict[str, Any]:
        """How `generate` is to answer, whatever the folder's own settings are."""
        ends, drawn = tokenizer.eos_token_id, self.temperature > 0
        return {
            "max_new_tokens": self.max_tokens,
            "do_sample": drawn,
            "temperature": self.temperature if drawn else None,
            "top_p": None,
            "top_k": 0 if drawn else None,
            "pad_token_id": ends if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        }

    def _read(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = self._reader_and_model()
        return self._loaded

    def _reader_and_model(self) -> tuple[Any, Any]:
        """What turns a talk into tokens, and the model."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                self._folder, dtype=self._dtype, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{self._folder}: cannot be read as a causal language model ({error})"
            ) from error
        if tokenizer.chat_template is None:
            raise WeightsError(
                f"{self._folder}: its tokenizer has no chat template, so it cannot be talked to; "
                "use an instruction-tuned model"
            )
        placed: Any = model
        return tokenizer, placed.to(self._device).eval()


def _tokenizer(reader: Any) -> Any:
    """Of a reader that also reads pictures, or the reader itself."""
    return getattr(reader, "tokenizer", reader)

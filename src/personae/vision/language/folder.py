"""A language model of this machine: a transformers folder with a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from personae.errors import WeightsError
from personae.vision.language.text_model import Message

__all__ = ["FolderModel"]


class FolderModel:
    """A causal language model in a transformers folder (safetensors), read at the first question.

    It answers greedily, so that the same talk has the same answer. Nothing is downloaded.

    Args:
        folder: of ``save_pretrained``, of the model and its tokenizer.
        device: where it computes.
        dtype: in what; None is bfloat16 on a GPU and float32 elsewhere.
        max_tokens: of an answer; what is longer is cut off.

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
    ) -> None:
        if not (folder / "config.json").is_file():
            raise WeightsError(
                f"{folder}: no language model here (no config.json); give a folder of "
                "transformers, or the --llm-url of an endpoint"
            )
        self.name = str(folder)
        self._folder, self._max_tokens = folder, max_tokens
        self._device = torch.device(device)
        usual = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        self._dtype = dtype or usual
        self._loaded: tuple[Any, Any] | None = None

    @torch.no_grad()
    def complete(self, messages: Sequence[Message]) -> str:
        """The likeliest next turn.

        Raises:
            WeightsError: the folder cannot be read, or has no chat template.
        """
        tokenizer, model = self._read()
        told = tokenizer.apply_chat_template(
            [asdict(message) for message in messages],
            add_generation_prompt=True,
            enable_thinking=False,  # templates that know no such thing do not look at it
            return_tensors="pt",
            return_dict=True,
        ).to(self._device)
        ends = tokenizer.eos_token_id
        answer = model.generate(
            input_ids=told["input_ids"],
            attention_mask=told["attention_mask"],
            max_new_tokens=self._max_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=ends if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )
        new = answer[0, told["input_ids"].shape[1] :]
        text: str = tokenizer.decode(new, skip_special_tokens=True)
        return text

    def _read(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = self._tokenizer_and_model()
        return self._loaded

    def _tokenizer_and_model(self) -> tuple[Any, Any]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(self.name, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                self.name, dtype=self._dtype, local_files_only=True, use_safetensors=True
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

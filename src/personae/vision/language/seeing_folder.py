"""A vision-language model of this machine: a transformers folder that is shown pictures."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from personae.errors import WeightsError
from personae.vision.language.folder import FolderModel
from personae.vision.language.text_model import Message
from personae.vision.weights import file_sha256

__all__ = ["SeeingFolderModel"]

_SETTINGS = (".json", ".jinja", ".txt", ".model")


class SeeingFolderModel(FolderModel):
    """A model that answers about pictures (LLaVA, Qwen2.5-VL, Gemma 3, ...), as `FolderModel`.

    ``name`` is the folder's name and the start of the hash of all that its answers depend on
    (weights, tokenizer, template), so it is the same on another machine. Where a family's processor
    cannot be built because torchvision is not installed, which it wants for videos alone (Qwen-VL),
    it is built without that part.

    Args:
        folder: of ``save_pretrained``, of the model and its processor.
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
        super().__init__(
            folder, device=device, dtype=dtype, max_tokens=max_tokens, temperature=temperature
        )
        self.name = f"{folder.resolve().name}@{self.fingerprint[:8]}"

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the folder's weights and settings, and of the type it computes in."""
        digest = hashlib.sha256(str(self._dtype).encode())
        for path in sorted(self._folder.iterdir()):
            if path.suffix == ".safetensors" or path.suffix in _SETTINGS:
                digest.update(f"{path.name} {file_sha256(path)}\n".encode())
        return digest.hexdigest()

    def _told(self, reader: Any, messages: Sequence[Message]) -> dict[str, Any]:
        told = reader.apply_chat_template(
            [{"role": message.role, "content": _parts(message)} for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_tensors="pt",
            return_dict=True,
        ).to(self._device)
        return {
            key: value.to(self._dtype) if value.is_floating_point() else value
            for key, value in told.items()
        }

    def _reader_and_model(self) -> tuple[Any, Any]:
        from transformers import AutoModelForImageTextToText

        try:
            reader = self._processor()
            model = AutoModelForImageTextToText.from_pretrained(
                self._folder, dtype=self._dtype, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise WeightsError(
                f"{self._folder}: cannot be read as a vision-language model ({error})"
            ) from error
        if not getattr(reader, "chat_template", None):
            raise WeightsError(
                f"{self._folder}: its processor has no chat template, so it cannot be talked to; "
                "use an instruction-tuned model"
            )
        placed: Any = model
        return reader, placed.to(self._device).eval()

    def _processor(self) -> Any:
        import transformers

        processors: Any = transformers.AutoProcessor
        try:
            return processors.from_pretrained(self._folder, local_files_only=True)
        except ImportError:
            return _without_videos(self._folder)


def _parts(message: Message) -> list[dict[str, Any]]:
    pictures = [
        {"type": "image", "image": Image.open(BytesIO(item)).convert("RGB")}
        for item in message.pictures
    ]
    return [*pictures, {"type": "text", "text": message.content}]


def _without_videos(folder: Path) -> Any:
    """The family's own processor for words and still pictures.

    Raises:
        ImportError: the family has none that can do without torchvision.
    """
    import transformers

    families = importlib.import_module("transformers.models.auto.processing_auto")
    image_processors: Any = transformers.AutoImageProcessor
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    name = families.PROCESSOR_MAPPING_NAMES.get(config.model_type)
    family = getattr(transformers, str(name), None)
    if family is None or "video_processor" not in family.get_attributes():
        raise ImportError("its processor needs torchvision; install it, or choose LLaVA or Gemma 3")

    class Stills(family):  # type: ignore[misc, valid-type]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            """The class of a video processor cannot even be named without torchvision."""
            if argument_name == "video_processor":
                return None
            return super().check_argument_for_proper_class(argument_name, argument)

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return Stills(
        image_processor=image_processors.from_pretrained(folder, local_files_only=True),
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=tokenizer.chat_template,
    )

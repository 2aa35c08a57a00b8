"""The model that draws, behind one small interface that training, rollouts and drawing share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from personae.errors import DataError

__all__ = ["LIMITS_FILE", "Backbone", "Context", "Limits", "read_limits", "write_limits"]

LIMITS_FILE = "personae.json"


@dataclass(frozen=True)
class Limits:
    """What a checkpoint was trained for.

    Attributes:
        max_subjects: the most subjects, one reference each, that it was trained with.
        sizes: (width, height) in pixels it was trained at; empty: any multiple of its patch.
        reference_px: side of a square reference in context; 0: it takes none.
        prompt_tokens: tokens a prompt is padded or cut to (``max_sequence_length``).
        text_layers: hidden states of the text encoder that are read
            (``text_encoder_out_layers``).
        steps: sampling steps when nobody says otherwise.
        guidance: guidance scale when nobody says otherwise; 1 is none.
        subject_words: how a prompt names a subject, from ``{noun}`` and its 1-based ``{index}``.
        reference_guidance: the same, away from what it draws without the references.
        guidance_embedded: the network is told ``guidance`` as a number, which costs no second pass.
    """

    max_subjects: int
    sizes: tuple[tuple[int, int], ...]
    reference_px: int
    prompt_tokens: int
    text_layers: tuple[int, ...]
    steps: int
    guidance: float
    subject_words: str
    reference_guidance: float = 1.0
    guidance_embedded: bool = False


@dataclass(frozen=True, eq=False)
class Context:
    """What a batch of pictures is drawn from.

    Attributes:
        text: (B, L, D) embedded prompts; what its rows are is the family's own business.
        references: one (B, C, h, w) latent a subject, in the order of the subjects.
    """

    text: Tensor
    references: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        """Check that all parts speak of the same batch."""
        batch = len(self.text)
        shapes = [tuple(reference.shape) for reference in self.references]
        if any(len(shape) != 4 or shape[0] != batch for shape in shapes):
            raise DataError(
                f"references {shapes}: expected (B, C, h, w) with the batch size {batch} of text"
            )

    def __len__(self) -> int:
        """Batch size."""
        return len(self.text)

    def __getitem__(self, rows: slice) -> Context:
        """Some rows of the batch."""
        return Context(self.text[rows], tuple(item[rows] for item in self.references))

    def repeat(self, times: int) -> Context:
        """Each row ``times`` times in a row: row i becomes rows i * times to (i + 1) * times."""
        repeated = (item.repeat_interleave(times, dim=0) for item in self.references)
        return Context(self.text.repeat_interleave(times, dim=0), tuple(repeated))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Context:
        """The same on another device or in another dtype."""
        moved = (item.to(device=device, dtype=dtype) for item in self.references)
        return Context(self.text.to(device=device, dtype=dtype), tuple(moved))


class Backbone(Protocol):
    """A generating model; one class a family.

    Latents are (B, C, h, w), normalized as the denoiser wants them. Time runs from 1 (noise) to
    0 (picture). Tensors come and go on ``device`` in ``dtype``.

    Attributes:
        family: e.g. ``"flux2"``.
        name: folder or hub id it was loaded from.
        revision: of the hub id; None for a folder.
        limits: what the checkpoint was trained for.
        denoiser: what training adapts; may be replaced by a wrapper of itself.
        text_encoder: what embeds prompts.
        pipeline: the diffusers pipeline that :meth:`draw` calls.
        lora_targets: regular expression of the layers that a LoRA adapts.
        lora_prefix: the pipeline's name of its denoiser (``transformer``, ``unet``), with which the
            names in a LoRA's file start.
        is_flow: times and targets are those of a rectified flow.
    """

    family: str
    name: str
    revision: str | None
    limits: Limits
    denoiser: nn.Module
    text_encoder: nn.Module
    pipeline: Any
    lora_targets: str
    lora_prefix: str
    is_flow: bool

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def dtype(self) -> torch.dtype:
        """In what it computes."""

    @property
    def multiple(self) -> int:
        """Width and height of a picture are multiples of this many pixels, a latent's side."""

    @property
    def text_shape(self) -> tuple[int, int]:
        """(L, D) of one embedded prompt."""

    @property
    def sampler(self) -> str:
        """What takes the steps of :meth:`draw`: its scheduler's class."""

    def count_tokens(self, prompt: str) -> int:
        """Tokens of a prompt before it is cut to ``limits.prompt_tokens``."""

    def tokenize(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (B, L) each, as the pipeline makes them.

        Of two tokenizers they stand side by side.
        """

    def encode_tokens(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) from what :meth:`tokenize` gives; gradients flow."""

    def encode_prompt(self, prompts: Sequence[str]) -> Tensor:
        """(B, L, D), without a gradient."""

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] to normalized latents (B, C, h, w): the mode, not a sample."""

    def decode(self, latents: Tensor) -> Tensor:
        """(B, 3, H, W), [0, 1] but not clamped, so that gradients flow; the caller clamps."""

    def predict(self, x: Tensor, time: Tensor, context: Context) -> Tensor:
        """What the network says of x (B, C, h, w) at time (B,); gradients flow."""

    def mix(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The point at ``time`` (B,) between a clean latent and noise."""

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What :meth:`predict` should say of :meth:`mix`."""

    def estimate(self, x: Tensor, prediction: Tensor, time: Tensor) -> Tensor:
        """The clean latent that a prediction at x stands for."""

    def follow(self, x: Tensor, prediction: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """Where a prediction at x leads without noise, from times ``here`` to ``there`` (B,)."""

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, h, w) of a picture of this size in pixels."""

    def times(self, steps: int, width: int, height: int) -> Tensor:
        """(steps + 1,) float32 on the CPU, falling to 0: exactly the pipeline's.

        A flow's begin with 1.
        """

    def draw(  # noqa: PLR0913  (what a picture is drawn from has this many parts)
        self,
        prompt: str,
        references: Sequence[np.ndarray],
        *,
        width: int,
        height: int,
        latents: Tensor,
        steps: int,
        guidance: float,
        reference_guidance: float = 1.0,
        negative: str = "",
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> list[np.ndarray]:
        """One picture (H, W, 3) uint8 for each noise of ``latents``, by the diffusers pipeline."""

    def save(self, folder: Path) -> None:
        """Write an ordinary diffusers folder that :func:`load_backbone` reads."""


def read_limits(folder: Path, defaults: Limits) -> Limits:
    """The limits that stand in a checkpoint's ``personae.json``, over its family's defaults.

    Raises:
        DataError: the file is not JSON, or a value is not what it has to be.
    """
    path = folder / LIMITS_FILE
    if not path.is_file():
        return defaults
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["limits"]
        return replace(defaults, **{name: _as_limit(name, stored[name]) for name in stored})
    except (ValueError, KeyError, TypeError) as error:
        known = ", ".join(field.name for field in fields(Limits))
        raise DataError(
            f'{path}: expected {{"limits": {{...}}}} with keys among {known} ({error}); '
            "mend the file, or remove it to use the family's defaults"
        ) from error


def write_limits(folder: Path, limits: Limits) -> Path:
    """Write ``personae.json`` into a checkpoint's folder."""
    path = folder / LIMITS_FILE
    path.write_text(json.dumps({"limits": asdict(limits)}, indent=2) + "\n", encoding="utf-8")
    return path


def _as_limit(name: str, value: Any) -> Any:
    if name == "sizes":
        return tuple((int(width), int(height)) for width, height in value)
    if name == "text_layers":
        return tuple(int(layer) for layer in value)
    if name == "guidance_embedded" and isinstance(value, bool):
        return value
    wanted = {"subject_words": str, "guidance": float, "reference_guidance": float}.get(name, int)
    if isinstance(value, bool) or not isinstance(
        value, (int, float) if wanted is float else wanted
    ):
        raise TypeError(f"{name} is {value!r}, expected {wanted.__name__}")
    return wanted(value)

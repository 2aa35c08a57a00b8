"""How pictures are drawn, as one frozen value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from personae.diffusion.backbone import Backbone
from personae.errors import RequestError
from personae.generation.layouts import LAYOUTS

__all__ = ["INITS", "START_PHOTOS", "Drawing", "Init", "StartPhoto"]

Init = Literal["plain", "mean-shift"]
INITS: tuple[Init, ...] = ("plain", "mean-shift")
StartPhoto = Literal["reference", "random"]
START_PHOTOS: tuple[StartPhoto, ...] = ("reference", "random")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How pictures are drawn: all that their pixels depend on beside model, scene and seed.

    Attributes:
        steps: sampling steps; None is the checkpoint's own number.
        guidance: guidance scale; None is the checkpoint's own.
        reference_guidance: how far to go away from what the model draws without the references,
            1 is none; None is the checkpoint's own. Identity grows with it, and sameness too.
        size: (width, height) in pixels; None is what `picture_size` says.
        init: ``plain`` noise, or ``mean-shift``: noise shifted towards a collage of the references.
        gamma: how far the mean is shifted (MuDI's gamma; their values are not published).
        layout: where the collage, and regions, have each subject; one of ``LAYOUTS``.
        relative_sizes: a subject's id or noun, and its size against the others in the collage.
        reference: which of a subject's references is used, from 0; the last one where it has fewer.
        start_photo: what a subject is cut out of for the collage: that ``reference``, or for each
            seed a ``random`` one of its references, so that poses differ from picture to picture.
        in_context: does the model see the references? Without, it draws from words, and references
            serve the starting noise alone: what a model that takes none (MuDI's) would do.
        best_of: how many pictures are drawn of which the best is kept.
        negative: words to turn away from, with ``{id}`` for a subject's bare noun (Cut-Mix's "a {a}
            and a {b}"); they need guidance above 1.
        adapter: what the backbone was adapted with, as images.jsonl names it.
        regions: does each subject's box follow its own prompt (`drawn_by_regions`)?
        region_weight: of the regional prompts in their boxes, in [0, 1].
    """

    steps: int | None = None
    guidance: float | None = None
    reference_guidance: float | None = None
    size: tuple[int, int] | None = None
    init: Init = "plain"
    gamma: float = 0.3
    layout: str = "given"
    relative_sizes: Mapping[str, float] = field(default_factory=dict)
    reference: int = 0
    start_photo: StartPhoto = "reference"
    in_context: bool = True
    best_of: int = 1
    negative: str = ""
    adapter: str | None = None
    regions: bool = False
    region_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn, before any work."""
        least = {"steps": self.steps, "best_of": self.best_of}
        for name, value in least.items():
            if value is not None and value < 1:
                raise RequestError(f"{name} {value}: expected at least 1")
        scales = {"guidance": self.guidance, "reference_guidance": self.reference_guidance}
        for name, scale in scales.items():
            if scale is not None and not (math.isfinite(scale) and scale >= 0):
                raise RequestError(f"{name} {scale}: expected a number from 0; 1 is none")
        if not (math.isfinite(self.gamma) and self.gamma >= 0):
            raise RequestError(f"gamma {self.gamma}: expected a number from 0; 0 is plain noise")
        if self.init not in INITS:
            raise RequestError(f"init {self.init!r}: expected one of {INITS}")
        if self.start_photo not in START_PHOTOS:
            raise RequestError(f"start photo {self.start_photo!r}: expected one of {START_PHOTOS}")
        if self.layout not in LAYOUTS:
            raise RequestError(f"layout {self.layout!r}: expected one of {LAYOUTS}")
        if not 0 <= self.region_weight <= 1:
            raise RequestError(f"region_weight {self.region_weight}: expected 0 to 1")
        if self.reference < 0:
            raise RequestError(f"reference {self.reference}: expected 0 for the first")

    @property
    def uses_layout(self) -> bool:
        """Does it matter where the layout has anybody?"""
        return self.regions or (self.init == "mean-shift" and self.gamma > 0)

    def settled(self, backbone: Backbone) -> Drawing:
        """With the checkpoint's own steps and guidance where none were asked for.

        A model that takes no references in context (``limits.reference_px`` 0) sees none.

        Raises:
            RequestError: the checkpoint cannot draw this size, or there is no guidance that
                negative words could serve.
        """
        limits = backbone.limits
        if self.size is not None:
            backbone.latent_shape(*self.size)
        own = {
            name: getattr(limits, name)
            for name in ("steps", "guidance", "reference_guidance")
            if getattr(self, name) is None
        }
        settled = replace(self, **own, in_context=self.in_context and limits.reference_px > 0)
        if self.negative and ((settled.guidance or 0) <= 1 or limits.guidance_embedded):
            raise RequestError(
                f"negative words {self.negative!r}: nothing is turned away from without guidance "
                f"that costs a second pass; got {settled.guidance} with {backbone.name}, give more "
                "than 1, or leave them out"
            )
        return settled

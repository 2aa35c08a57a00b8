"""The reference-guided detector: finds given subjects in a picture by their own photos.

No published detector is behind it and nothing is downloaded. Per cast, a linear head on the
backbone's dense features learns from rehearsal pictures (the references pasted about) what is
of which subject; candidate boxes are cut from its map; each is embedded like any crop, kept
where it is alike to a reference, and the best of those that overlap stays.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.errors import RequestError
from personae.subjects.box import Box
from personae.subjects.mask import mask_box
from personae.subjects.subject import Reference
from personae.vision.cache import TensorCache, content_key
from personae.vision.detectors.candidates import (
    Candidates,
    box_means,
    component_boxes,
    iou_matrix,
    ring_means,
    summed_area,
    upsampled,
)
from personae.vision.detectors.finds import Find, GuidedConfig, suppressed
from personae.vision.detectors.foreground import estimated_masks
from personae.vision.detectors.heads import Evidence, fit_heads, gather_evidence, posterior
from personae.vision.detectors.rehearsal import rehearse
from personae.vision.embedders.crops import image_tensor, square_crop, square_crop_batch
from personae.vision.embedders.efficientnet import EfficientNetEmbedder
from personae.vision.protocols import Detection

__all__ = ["GuidedDetector"]

_STRIDE = 16
# Names the way subjects are prepared: to be changed with it, or old cached ones would be used.
_METHOD = "rehearsals-1"


@dataclass(frozen=True, eq=False)
class _Known:
    """A subject as the detector knows it: evidence for the heads, descriptors of its references."""

    evidence: Evidence
    descriptors: Tensor

    def as_tensors(self) -> dict[str, Tensor]:
        """For the cache."""
        return {
            "gram": self.evidence.gram,
            "toward": self.evidence.toward,
            "weight": torch.tensor([self.evidence.weight], dtype=torch.float64),
            "descriptors": self.descriptors,
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> _Known:
        """From the cache."""
        gram, toward = tensors["gram"].to(device), tensors["toward"].to(device)
        evidence = Evidence(gram, toward, float(tensors["weight"]))
        return cls(evidence, tensors["descriptors"].to(device))


class GuidedDetector:
    """Finds each subject of a cast by its references; implements `ThingDetector`.

    A detection's score is the cosine between its crop and the nearest reference, less what leaks
    out of the box, plus what fills it: about 0.4 (barely) to 1. Masks beside references help;
    without them the subject is taken to be what sets a photo's middle apart from its border.
    A subject smaller than about a tenth of the picture's long side is not found, and a subject
    nobody gave references for is not looked for. Deterministic: same input, same boxes.

    Args:
        embedder: the eyes.
        config: settings.
        cache: where prepared subjects are kept between runs; preparing one takes seconds.
    """

    def __init__(
        self,
        embedder: EfficientNetEmbedder,
        config: GuidedConfig | None = None,
        cache: TensorCache | None = None,
    ) -> None:
        self.embedder = embedder
        self.config = config or GuidedConfig()
        self._cache = cache or TensorCache()
        self.name = f"guided+{embedder.name}"
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._heads: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()

    @torch.inference_mode()
    def detect(
        self, image: np.ndarray, cast: Mapping[str, Sequence[Reference]], nouns: Mapping[str, str]
    ) -> list[Detection]:
        """(H, W, 3) uint8 -> every find of every subject, surest first; ``nouns`` are not needed.

        Raises:
            RequestError: a subject has no reference.
        """
        if not cast:
            return []
        keys = tuple(self._learn(name, references) for name, references in cast.items())
        dense = self.dense_map(image, self.config.long_side_px)
        maps = posterior(dense, self._cast_heads(keys))
        known = {name: self._known[key] for name, key in zip(cast, keys, strict=True)}
        finds: list[Find] = []
        for index, name in enumerate(cast):
            found = self._candidates(dense, maps, index, known[name])
            if len(found.boxes):
                finds += self._verified(image, dense, found, name, known)
        kept = suppressed(finds, self.config)
        return [Detection(Box(*find.box.tolist()), find.score, find.subject) for find in kept]

    def dense_map(self, image: np.ndarray, long_side_px: int) -> Tensor:
        """(C, h, w) features of a picture resized to a long side, its sides multiples of 32."""
        factor = long_side_px / max(image.shape[:2])
        size = [max(round(side * factor / 32), 1) * 32 for side in image.shape[:2]]
        picture = image_tensor(image)[None].to(self.embedder.device)
        resized = F.interpolate(picture, size, mode="bilinear", antialias=True)
        return self.embedder.dense(resized)[0]

    def _learn(self, name: str, references: Sequence[Reference]) -> str:
        """Prepare a subject once; the key under which it is known."""
        if not references:
            raise RequestError(f"subject {name!r} has no reference to look for; give it a photo")
        key = content_key(references, f"{self.name} {_METHOD} {self.config!r}")
        if key not in self._known:
            made = self._cache.get(key, lambda: self._prepared(references).as_tensors())
            self._known[key] = _Known.from_tensors(made, self.embedder.device)
            while len(self._known) > 512:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return key

    def _prepared(self, references: Sequence[Reference]) -> _Known:
        masked = self.masked(references)
        side, rng = self.config.long_side_px, np.random.default_rng(self.config.seed)
        maps, masks = [], []
        for _ in range(self.config.rehearsals):
            rehearsal = rehearse(rng, masked, side)
            maps.append(self.dense_map(rehearsal.image, side))
            masks.append(torch.from_numpy(rehearsal.mask).float().to(self.embedder.device))
        return _Known(gather_evidence(maps, masks), self._descriptors(masked))

    def masked(self, references: Sequence[Reference]) -> list[Reference]:
        """The references, each with a mask: its own, or the one estimated from all without."""
        bare = [item for item in references if item.mask is None]
        guesses = iter(
            estimated_masks([item.image for item in bare], lambda image: self.dense_map(image, 480))
            if bare
            else []
        )
        return [
            item if item.mask is not None else Reference(item.image, next(guesses), item.path)
            for item in references
        ]

    def _descriptors(self, references: Sequence[Reference]) -> Tensor:
        """(R, D) of the boxes around the masks, background kept."""
        side = self.embedder.side_px
        crops = [
            square_crop(item.image, mask_box(item.mask), side)
            for item in references
            if item.mask is not None
        ]
        return self.embedder.embed(torch.stack(crops))

    def _cast_heads(self, keys: tuple[str, ...]) -> Tensor:
        if keys not in self._heads:
            self._heads[keys] = fit_heads([self._known[key].evidence for key in keys])
            while len(self._heads) > 512:
                self._heads.popitem(last=False)
        return self._heads[keys]

    def _candidates(self, dense: Tensor, maps: Tensor, index: int, known: _Known) -> Candidates:
        """Boxes of one subject in the resized picture, the most promising ones."""
        high = upsampled(maps)
        px = _STRIDE * maps.shape[-1] / high.shape[-1]
        boxes = component_boxes(high[index], high.argmax(0) == index, px)
        table = summed_area(maps[index : index + 1])
        inside = box_means(table, boxes, _STRIDE)[:, 0].cpu().numpy()
        found = Candidates(boxes, inside, ring_means(table, boxes, inside, _STRIDE))
        promise = self._cheap_cosine(dense, boxes, known) - 0.3 * found.leak
        kept: list[int] = []
        for place in np.argsort(-promise, kind="stable"):
            if len(kept) == self.config.candidates:
                break
            if not kept or iou_matrix(boxes[[place]], boxes[kept]).max() < 0.75:
                kept.append(int(place))
        return found[kept]

    def _cheap_cosine(self, dense: Tensor, boxes: np.ndarray, known: _Known) -> np.ndarray:
        """Cosine to the nearest reference of what the dense map itself holds in each box: (K,)."""
        coarse = dense[-self.embedder.num_class_directions :]
        pooled = box_means(summed_area(coarse), boxes, _STRIDE).to(dense.device)
        references = self.embedder.class_directions(known.descriptors)
        return np.asarray(self.embedder.cosine(pooled, references).amax(1).cpu().numpy())

    def _verified(
        self,
        image: np.ndarray,
        dense: Tensor,
        found: Candidates,
        name: str,
        known: Mapping[str, _Known],
    ) -> list[Find]:
        """The candidates whose crops are alike to this subject, and to no other subject more."""
        factor = np.array(image.shape[1::-1]) / (np.array(dense.shape[:0:-1]) * _STRIDE)
        boxes = found.boxes * np.tile(factor, 2)
        crops = square_crop_batch(image, [Box(*box) for box in boxes], self.embedder.side_px)
        descriptors = self.embedder.embed(crops)
        cosines = {
            other: self.embedder.cosine(descriptors, item.descriptors).amax(1).cpu().numpy()
            for other, item in known.items()
        }
        rivals = np.max([*cosines.values()], axis=0)
        own = cosines[name]
        score = own - self.config.leak_weight * found.leak
        score = score + self.config.fill_weight * found.inside.clip(0, 0.6)
        good = (own > self.config.threshold) & (own >= rivals)
        return [Find(boxes[i], float(score[i]), name) for i in np.flatnonzero(good)]

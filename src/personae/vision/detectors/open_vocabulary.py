"""OWLv2 and Grounding DINO: detectors that take words, for those who have their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from personae.subjects.box import Box
from personae.subjects.subject import Reference
from personae.vision.detectors.candidates import iou_matrix
from personae.vision.embedders.crops import image_tensor
from personae.vision.embedders.pretrained import load_pretrained
from personae.vision.protocols import Detection

__all__ = [
    "GROUNDING_DINO",
    "OWLV2",
    "GroundingDino",
    "Owlv2",
    "caption_and_spans",
    "clipped_detections",
    "fitted_size",
    "non_maximum",
    "noun_queries",
    "pixel_boxes",
]

GROUNDING_DINO = "IDEA-Research/grounding-dino-tiny"
OWLV2 = "google/owlv2-base-patch16-ensemble"
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_DEVIATION = (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_OWL_WORDS = 16


def pixel_boxes(centered: Tensor, width: float, height: float) -> np.ndarray:
    """(N, 4) center x, center y, width, height as fractions of a frame -> (N, 4) xyxy in pixels.

    The frame is what the model saw: for OWLv2 the *padded* square, whose side is the picture's
    longer one, so a box of a wide picture must be scaled by its width in both directions.

    >>> pixel_boxes(torch.tensor([[0.5, 0.25, 0.5, 0.25]]), 400, 400).tolist()
    [[100.0, 50.0, 300.0, 150.0]]
    """
    center, half = centered[:, :2], centered[:, 2:] / 2
    corners = torch.cat([center - half, center + half], dim=1).double().cpu().numpy()
    return np.asarray(corners * np.array([width, height, width, height]))


def fitted_size(
    height: int, width: int, short_px: int = 800, long_px: int = 1333
) -> tuple[int, int]:
    """Height and width with the short side at ``short_px``, unless the long one passes ``long_px``.

    >>> fitted_size(480, 640), fitted_size(400, 1600)
    ((800, 1067), (333, 1333))
    """
    factor = min(short_px / min(height, width), long_px / max(height, width))
    return max(round(height * factor), 1), max(round(width * factor), 1)


def caption_and_spans(words: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Grounding DINO's caption of several queries, and where in it each one stands.

    >>> caption_and_spans(["Corgi", "chow chow"])
    ('corgi. chow chow.', [(0, 5), (7, 16)])
    """
    caption, spans = "", []
    for word in words:
        clean = word.strip().lower().rstrip(".")
        start = len(caption) + (1 if caption else 0)
        spans.append((start, start + len(clean)))
        caption += (" " if caption else "") + clean + "."
    return caption, spans


def non_maximum(boxes: np.ndarray, scores: np.ndarray, iou: float) -> list[int]:
    """Best first, the boxes (N, 4) that overlap no surer kept one by more than ``iou``."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if not kept or iou_matrix(boxes[[index]], boxes[kept]).max() <= iou:
            kept.append(int(index))
    return kept


def _normalized(picture: Tensor, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    center, scale = (torch.tensor(values, device=picture.device)[:, None, None]
                     for values in (mean, deviation))  # fmt: skip
    return (picture - center) / scale


def noun_queries(
    cast: Mapping[str, Sequence[Reference]], nouns: Mapping[str, str]
) -> dict[str, str | None]:
    """Noun -> its subject; None where two subjects share a noun, which words cannot tell apart."""
    queries: dict[str, str | None] = {}
    for subject in cast:
        noun = nouns.get(subject, subject)
        queries[noun] = None if noun in queries else subject
    return queries


def clipped_detections(
    boxes: np.ndarray,
    scores: np.ndarray,
    subjects: Sequence[str | None],
    size: tuple[int, int],
    nms_iou: float | None,
) -> list[Detection]:
    """Detections, surest first, clipped to the picture (width, height), thinned where asked."""
    order = list(np.argsort(-scores, kind="stable"))
    if nms_iou is not None:
        order = non_maximum(boxes, scores, nms_iou)
    found = []
    for index in order:
        left, top, right, bottom = boxes[index].tolist()
        box = (
            Box(left, top, right, bottom).clipped(*size) if right > left and bottom > top else None
        )
        if box is not None:
            found.append(Detection(box, float(scores[index]), subjects[index]))
    return found


class Owlv2:
    """OWLv2 (Minderer et al. 2023, arXiv 2306.09683) behind the `ThingDetector` protocol.

    The queries are the nouns as they stand. Each patch gives a box; its label is the noun of the
    highest sigmoid, and boxes above ``threshold`` stay. The official programs do no
    non-maximum suppression (MuDI, section 3.2), so none is done unless ``nms_iou`` is given.

    Args:
        source: folder or hub id.
        revision: its revision.
        threshold: 0.4 as MuDI's notebook.
        nms_iou: overlap above which the less sure box goes; None keeps all.
        device: where to compute.
    """

    name = "owlv2"
    commercial = True
    licence = "Apache-2.0"

    def __init__(
        self,
        source: str | Path = OWLV2,
        revision: str | None = None,
        threshold: float = 0.4,
        nms_iou: float | None = None,
        device: str = "cpu",
    ) -> None:
        self.threshold, self.nms_iou = threshold, nms_iou
        self.device = torch.device(device)
        network = load_pretrained("Owlv2ForObjectDetection", source, revision)
        self._network: Any = network.eval().requires_grad_(False).to(self.device)
        self._tokenizer = load_pretrained("AutoTokenizer", source, revision)

    @torch.inference_mode()
    def detect(
        self, image: np.ndarray, cast: Mapping[str, Sequence[Reference]], nouns: Mapping[str, str]
    ) -> list[Detection]:
        """(H, W, 3) uint8 -> boxes, surest first; the references are not looked at."""
        queries = noun_queries(cast, nouns)
        if not queries:
            return []
        words = self._tokenizer(
            list(queries), padding="max_length", truncation=True, max_length=_OWL_WORDS,
            return_tensors="pt",
        )  # fmt: skip
        outputs = self._network(
            input_ids=words["input_ids"].to(self.device),
            attention_mask=words["attention_mask"].to(self.device),
            pixel_values=self._pixels(image),
        )
        best, labels = torch.sigmoid(outputs.logits[0]).max(dim=-1)
        sure = best > self.threshold
        height, width = image.shape[:2]
        side = max(height, width)
        boxes = pixel_boxes(outputs.pred_boxes[0][sure], side, side)
        names = list(queries.values())
        subjects = [names[label] for label in labels[sure].tolist()]
        return clipped_detections(
            boxes, best[sure].cpu().numpy(), subjects, (width, height), self.nms_iou
        )

    def _pixels(self, image: np.ndarray) -> Tensor:
        """Padded with zeros below and to the right to a square, resized, normalized."""
        height, width = image.shape[:2]
        side = max(height, width)
        square = F.pad(image_tensor(image), (0, side - width, 0, side - height)).to(self.device)
        size = int(self._network.config.vision_config.image_size)
        resized = F.interpolate(square[None], (size, size), mode="bilinear", antialias=True)
        return _normalized(resized, _CLIP_MEAN, _CLIP_DEVIATION)


class GroundingDino:
    """Grounding DINO (Liu et al. 2023, arXiv 2303.05499) behind the `ThingDetector` protocol.

    All nouns form one caption, "corgi. chow chow."; a box's score is its highest token
    probability, its subject the one whose words reach the highest, at least ``text_threshold``.

    Args:
        source: folder or hub id.
        revision: its revision.
        box_threshold: lowest score (0.35 in PSR's program).
        text_threshold: lowest probability of a noun's words (0.25 in PSR's program).
        nms_iou: overlap above which the less sure box goes; None keeps all.
        device: where to compute.
    """

    name = "grounding-dino"
    short_px, long_px = 800, 1333
    commercial = True
    licence = "Apache-2.0"

    def __init__(
        self,
        source: str | Path = GROUNDING_DINO,
        revision: str | None = None,
        box_threshold: float = 0.35,
        text_threshold: float = 0.25,
        nms_iou: float | None = None,
        device: str = "cpu",
    ) -> None:
        self.box_threshold, self.text_threshold = box_threshold, text_threshold
        self.nms_iou, self.device = nms_iou, torch.device(device)
        network = load_pretrained("GroundingDinoForObjectDetection", source, revision)
        self._network: Any = network.eval().requires_grad_(False).to(self.device)
        self._tokenizer = load_pretrained("AutoTokenizer", source, revision)

    @torch.inference_mode()
    def detect(
        self, image: np.ndarray, cast: Mapping[str, Sequence[Reference]], nouns: Mapping[str, str]
    ) -> list[Detection]:
        """(H, W, 3) uint8 -> boxes, surest first; the references are not looked at."""
        queries = noun_queries(cast, nouns)
        if not queries:
            return []
        caption, spans = caption_and_spans(list(queries))
        words = self._tokenizer(caption, return_tensors="pt", return_offsets_mapping=True)
        offsets = words.pop("offset_mapping")[0].tolist()
        inputs = {key: value.to(self.device) for key, value in words.items()}
        outputs = self._network(pixel_values=self._pixels(image), **inputs)
        tokens = torch.sigmoid(outputs.logits[0])
        by_noun = torch.stack([_span_score(tokens, offsets, span) for span in spans], dim=1)
        best, labels = by_noun.max(dim=1)
        sure = (tokens.amax(dim=1) > self.box_threshold) & (best > self.text_threshold)
        height, width = image.shape[:2]
        boxes = pixel_boxes(outputs.pred_boxes[0][sure], width, height)
        names = list(queries.values())
        subjects = [names[label] for label in labels[sure].tolist()]
        scores = tokens.amax(dim=1)[sure].cpu().numpy()
        return clipped_detections(boxes, scores, subjects, (width, height), self.nms_iou)

    def _pixels(self, image: np.ndarray) -> Tensor:
        """Short side 800, long side at most 1333, normalized."""
        picture = image_tensor(image)[None].to(self.device)
        height, width = image.shape[:2]
        size = fitted_size(height, width, self.short_px, self.long_px)
        resized = F.interpolate(picture, size, mode="bilinear", antialias=True)
        return _normalized(resized, _IMAGENET_MEAN, _IMAGENET_DEVIATION)


def _span_score(tokens: Tensor, offsets: Sequence[Sequence[int]], span: tuple[int, int]) -> Tensor:
    """Highest probability over the tokens whose characters lie in the span: (boxes,)."""
    start, end = span
    inside = [i for i, (a, b) in enumerate(offsets) if a < b and a >= start and b <= end]
    return tokens[:, inside].amax(dim=1) if inside else tokens.new_zeros(len(tokens))

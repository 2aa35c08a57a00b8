"""Florence-2: a detector that is asked in words and answers in words, for those who have it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personae.errors import DataError, WeightsError
from personae.subjects.subject import Reference
from personae.vision.detectors.open_vocabulary import clipped_detections, noun_queries
from personae.vision.embedders.pretrained import load_pretrained
from personae.vision.protocols import Detection

__all__ = ["FLORENCE2", "Florence2", "answered_boxes"]

FLORENCE2 = "florence-community/Florence-2-large"
_TASK = "<OPEN_VOCABULARY_DETECTION>"
_BINS = 1000
_FRAME = re.compile(r"</?s>|<pad>")
_LOC = r"<loc_\d{1,3}>\s*"
_POLYGON = rf"<poly>\s*(?:{_LOC}{_LOC})+(?:<sep>\s*(?:{_LOC}{_LOC})+)*</poly>\s*"
_PLACE = re.compile(rf"{_POLYGON}|(?:{_LOC}){{4}}")
_ANSWER = re.compile(rf"(?:\s*[^<\s][^<]*(?:{_PLACE.pattern})+)+")


def answered_boxes(answer: str, width: float, height: float) -> np.ndarray:
    """Florence-2's answer to one question -> (N, 4) float64 xyxy in pixels, in its order.

    An answer names things, each followed by where they are: ``a corgi<loc_10><loc_20><loc_30>
    <loc_40>`` is left, top, right and bottom of one box in thousandths of the picture's width and
    height, several boxes in a row are several things. A place k means the middle of its bin,
    (k + 0.5) / 1000 of the side; nothing is rounded. A thing that is outlined (``<poly><loc_1>
    <loc_2> ... <sep> ... </poly>``, x and y in turn) has the box around its outline. An answer
    without any place found nothing.

    Raises:
        DataError: places that are neither boxes nor outlines, or that follow no words.

    >>> answered_boxes("</s><s>a corgi<loc_0><loc_99><loc_499><loc_999></s>", 200, 100).tolist()
    [[0.1, 9.95, 99.9, 99.95]]
    """
    told = _FRAME.sub("", answer).strip()
    if "<" not in told:
        return np.zeros((0, 4))
    if _ANSWER.fullmatch(told) is None:
        raise DataError(
            f"Florence-2's answer cannot be read: expected words, then four <loc_0> to <loc_999> "
            f"for each box; got {told[:200]!r}"
        )
    size = np.array([width, height])
    return np.array([_box(place.group(), size) for place in _PLACE.finditer(told)])


def _box(place: str, size: np.ndarray) -> np.ndarray:
    """(4,) xyxy of one place; a polygon's is the box around its points."""
    bins = np.array([int(found) for found in re.findall(r"<loc_(\d+)>", place)], np.float64)
    points = (bins.reshape(-1, 2) + 0.5) * size / _BINS
    if place.startswith("<poly>"):
        points = np.stack([points.min(axis=0), points.max(axis=0)])
    return np.asarray(points.reshape(4))


class Florence2:
    """Florence-2 (Xiao et al. 2023, arXiv 2311.06242) behind the `ThingDetector` protocol.

    Each noun is a question by itself, "Locate corgi in the image.", and the answer is text (see
    `answered_boxes`). The model gives no scores: every ``Detection.score`` is 1, and the order is
    that of the nouns, and of the answer for each of them. A thing that answers to two nouns is
    found twice, once for each.

    Questions, beams and length are those of XVerseBench's program (its bfloat16 weights are float32
    here); what it leaves open is as the weights' generation configuration says.

    Args:
        source: folder or hub id, of the form that transformers reads itself.
        revision: its revision.
        num_beams: beams of the search; 1 is greedy.
        max_new_tokens: an answer that is not done by then is an error; no more than the weights
            have positions.
        nms_iou: overlap with an earlier box of the same noun above which a box goes; None keeps
            all.
        device: where to compute.

    Raises:
        WeightsError: no such weights, or some are missing, as in a copy that brings its own code.
    """

    name = "florence-2"
    commercial = True
    licence = "MIT"

    def __init__(
        self,
        source: str | Path = FLORENCE2,
        revision: str | None = None,
        num_beams: int = 3,
        max_new_tokens: int = 768,
        nms_iou: float | None = None,
        device: str = "cpu",
    ) -> None:
        self.num_beams, self.nms_iou = num_beams, nms_iou
        self.device = torch.device(device)
        network, info = load_pretrained(
            "Florence2ForConditionalGeneration", source, revision,
            dtype=torch.float32, output_loading_info=True,
        )  # fmt: skip
        if info["missing_keys"]:
            raise WeightsError(
                f"{source}: {len(info['missing_keys'])} weights of Florence-2 are missing (such as "
                f"{min(info['missing_keys'])}); expected a checkpoint of transformers' own form, "
                f"such as {FLORENCE2}: copies that bring their own code are not read"
            )
        self._network: Any = network.eval().requires_grad_(False).to(self.device)
        self._positions = int(network.config.text_config.max_position_embeddings)
        self.max_new_tokens = min(max_new_tokens, self._positions)
        self._processor = load_pretrained("Florence2Processor", source, revision)

    def detect(
        self, image: np.ndarray, cast: Mapping[str, Sequence[Reference]], nouns: Mapping[str, str]
    ) -> list[Detection]:
        """(H, W, 3) uint8 -> boxes, in the order of the nouns; the references are not looked at.

        Raises:
            DataError: an answer that cannot be read, or is not done in time.
        """
        height, width = image.shape[:2]
        found: list[Detection] = []
        for noun, subject in noun_queries(cast, nouns).items():
            boxes = answered_boxes(self.answer(image, noun), width, height)
            boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]
            subjects = [subject] * len(boxes)
            sure = np.ones(len(boxes))
            found += clipped_detections(boxes, sure, subjects, (width, height), self.nms_iou)
        return found

    @torch.inference_mode()
    def answer(self, image: np.ndarray, noun: str) -> str:
        """What the model says where the noun is in a picture (H, W, 3) uint8, as text.

        Raises:
            DataError: a noun that is too long, or an answer that is not done in time.
        """
        inputs = self._processor(text=_TASK + noun, images=image, return_tensors="pt")
        if inputs["input_ids"].shape[1] > self._positions:
            raise DataError(f"Florence-2 on {noun[:60]!r}...: too many words to be asked for")
        tokens = self._network.generate(
            **inputs.to(self.device),
            do_sample=False,
            num_beams=self.num_beams,
            early_stopping=False,
            max_new_tokens=self.max_new_tokens,
        )
        # The first token starts every answer and is not counted.
        if tokens.shape[1] > self.max_new_tokens:
            raise DataError(
                f"Florence-2 on {noun!r}: the answer is not done in {self.max_new_tokens} tokens"
            )
        return str(self._processor.tokenizer.decode(tokens[0], skip_special_tokens=False))

"""Choosing eyes by name, and building only those that the scenes need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from personae.errors import RequestError
from personae.metrics.evidence import Witness
from personae.metrics.eyes import Group, PeopleEyes, ThingsEyes
from personae.vision.cache import TensorCache, cache_folder
from personae.vision.detectors import WORD_DETECTORS, GuidedDetector, ThingEyes, word_detector
from personae.vision.embedders import (
    ClipEmbedder,
    DinoEmbedder,
    Dinov2Embedder,
    DreamSimEmbedder,
    EfficientNetEmbedder,
)
from personae.vision.faces import (
    ArcFaceEmbedder,
    DlibFaceDetector,
    DlibFaceEmbedder,
    FaceEmbedder,
    FaceEyes,
    OnnxArcFace,
)
from personae.vision.protocols import Embedder, Segmenter, ThingDetector
from personae.vision.segmenters import GrabCut, Sam2
from personae.vision.segmenters.sam2 import SAM2
from personae.vision.toons import Examiner, ToonFaceDetector, ToonFaceEmbedder
from personae.vision.weights import require_commercial

__all__ = ["EyesChoice", "build_embedder", "build_witnesses"]


@dataclass(frozen=True, kw_only=True)
class EyesChoice:
    """Which eyes look; a name, or ``name:PATH-OR-HUB-ID`` where weights are brought along.

    ``cache`` keeps what they make of references, by content; None keeps nothing. ``device`` is
    where face embedders compute, as torch names it; detectors stay on the CPU. ``segmenter`` cuts
    things out of their boxes before they are compared (`ThingEyes`); ``none`` leaves them be.
    """

    faces: str = "dlib"
    detector: str = "guided"
    embedder: str = "efficientnet-lite0"
    segmenter: str = "none"
    commercial: bool = False
    device: str = "cpu"
    cache: Path | None = field(default_factory=lambda: cache_folder() / "descriptors")


def build_witnesses(choice: EyesChoice, groups: Iterable[Group]) -> dict[Group, Witness]:
    """Load the eyes for these groups.

    Raises:
        RequestError: an unknown name.
        WeightsError: weights missing, damaged, or not allowed with ``commercial``.
    """
    cache = TensorCache(choice.cache)
    build: Mapping[Group, Callable[[EyesChoice], PeopleEyes | ThingsEyes]] = {
        "person": _people,
        "thing": _things,
    }
    return {group: Witness(build[group](choice), cache) for group in groups}


def _people(choice: EyesChoice) -> PeopleEyes:
    name, path = _split(choice.faces)
    if name in {"toons", "examiner"} and not path:
        return _toon_eyes(name, choice.device)
    embedder: FaceEmbedder
    if name == "dlib":
        embedder = DlibFaceEmbedder(choice.device)
    elif name == "arcface" and path:
        embedder = (
            OnnxArcFace(Path(path))
            if path.endswith(".onnx")
            else ArcFaceEmbedder(Path(path), choice.device)
        )
    else:
        raise RequestError(
            f"--faces {choice.faces!r}: expected dlib, toons, examiner, "
            "arcface:FILE.safetensors or arcface:FILE.onnx"
        )
    _check(embedder, choice)
    return PeopleEyes(FaceEyes(DlibFaceDetector(), embedder))


def _toon_eyes(name: str, device: str) -> PeopleEyes:
    """Eyes for the drawn world; all that ships with the package may be used commercially."""
    if name == "toons":
        return PeopleEyes(FaceEyes(ToonFaceDetector(), ToonFaceEmbedder(device)))
    examiner = Examiner.load(device)
    return PeopleEyes(examiner.eyes, judge=examiner)


def _things(choice: EyesChoice) -> ThingsEyes:
    embedder = build_embedder(choice.embedder)
    _check(embedder, choice)
    name, path = _split(choice.detector)
    detector: ThingDetector
    if name == "guided":
        eyes = embedder if isinstance(embedder, EfficientNetEmbedder) else EfficientNetEmbedder()
        detector = GuidedDetector(eyes, cache=TensorCache(choice.cache))
    elif name in WORD_DETECTORS:
        detector = word_detector(name, path)
    else:
        raise RequestError(
            f"--detector {choice.detector!r}: expected guided, owlv2[:PATH], "
            "grounding-dino[:PATH] or florence-2[:PATH]"
        )
    return ThingsEyes(ThingEyes(detector, embedder, segmenter=_segmenter(choice)))


def _segmenter(choice: EyesChoice) -> Segmenter | None:
    name, path = _split(choice.segmenter)
    if name == "none" and not path:
        return None
    if name == "grabcut" and not path:
        return GrabCut()
    if name == "sam2":
        # XVerseBench's program prompts it with the box itself.
        return Sam2(path or SAM2, margin=0.0)
    raise RequestError(
        f"--segmenter {choice.segmenter!r}: expected none, grabcut or sam2[:FOLDER-OR-HUB-ID]"
    )


_MODELS: Mapping[str, Callable[..., Embedder]] = {
    "dinov2": Dinov2Embedder,
    "dinov2-crop": partial(Dinov2Embedder, center_crop=True),
    "dino": DinoEmbedder,
    "dino-crop": partial(DinoEmbedder, center_crop=True),
    "clip": ClipEmbedder,
}


def build_embedder(text: str) -> Embedder:
    """The embedder of things by name, or ``name:PATH-OR-HUB-ID``.

    Raises:
        RequestError: an unknown name.
        WeightsError: its weights are missing or damaged.
    """
    name, path = _split(text)
    if name == "efficientnet-lite0":
        return EfficientNetEmbedder()
    if name == "dreamsim":
        return DreamSimEmbedder()
    if name in _MODELS:
        return _MODELS[name](path) if path else _MODELS[name]()
    raise RequestError(
        f"--embedder {text!r}: expected efficientnet-lite0, dreamsim, "
        f"or one of {sorted(_MODELS)} with an optional :PATH"
    )


def _check(embedder: Embedder, choice: EyesChoice) -> None:
    if choice.commercial:
        require_commercial(embedder.name, getattr(embedder, "licence", "?"), embedder.commercial)


def _split(text: str) -> tuple[str, str]:
    name, _, path = text.partition(":")
    return name, path

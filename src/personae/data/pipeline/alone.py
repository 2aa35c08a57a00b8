"""Each subject of a drawn picture, found, cut out, and drawn again alone: PSR's references.

Wang et al., PSR (arXiv 2512.01236): a detector crops each subject of a text-to-image picture, and a
single-subject model draws each crop in another place and pose. The natural picture is the target,
the redrawn ones are its references. Their models and checks are not published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from personae.compute.device import choose_device
from personae.data.pipeline.items import Item, Lost, Made
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.pairs import head_crop, turned
from personae.data.pipeline.people import Face, face_eyes, faces_of, look
from personae.data.pipeline.step import Files, kept_or_lost
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora
from personae.errors import RequestError
from personae.generation.drawing import DEFAULT_SIZE
from personae.generation.noise import picture_generator, plain_noise
from personae.generation.references import reference_picture
from personae.subjects.box import Box
from personae.subjects.subject import Reference
from personae.vision.faces import FaceEyes
from personae.vision.segmenters import GrabCut

__all__ = ["Alike", "Located", "Redrawn", "Studio"]

_PLAIN = (210, 215, 220)
# In widths and heights of a face's box: how far head and body reach, and what is face for sure.
_WIDE, _ABOVE, _BELOW, _FACE = 0.95, 1.1, 2.0, 0.42
_PORTRAIT = 1.9  # of a face: what a square of head and shoulders measures


@dataclass(frozen=True, kw_only=True)
class Located:
    """Which face is which subject: as many as were planned, or the picture goes no further.

    Where whoever drew the picture told where each subject is, the nearest faces are theirs; else
    they stand from left to right in the order of the prompt, and the prompt may not say otherwise.
    """

    name: str = "located"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {}

    def build(self) -> None:
        """Nothing."""

    def work(self, state: None, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        made: list[Item] = []
        lost: list[Lost] = []
        for item in items:
            faces, names = faces_of(item), list(item.data["nouns"])
            if len(faces) != len(names):
                reason = "not as many people as the caption says"
                lost.append(Lost(item.id, reason, detail=f"{len(faces)} for {len(names)}"))
                continue
            order = self._order(item, names, faces)
            data = {**item.data, "faces": [item.data["faces"][place] for place in order]}
            made.append(item.child(item.id, self.name, data=data))
        return Made(tuple(made), tuple(lost))

    def _order(self, item: Item, names: Sequence[str], faces: Sequence[Face]) -> list[int]:
        """For each subject the place of its face."""
        if "where" not in item.data:
            return sorted(range(len(faces)), key=lambda place: faces[place].box.center[0])
        told = np.array([Box(*item.data["where"][name]).center for name in names])
        seen = np.array([face.box.center for face in faces])
        rows, columns = linear_sum_assignment(np.linalg.norm(told[:, None] - seen[None], axis=-1))
        return [int(columns[list(rows).index(place)]) for place in range(len(names))]


@dataclass(eq=False)
class Studio:
    """What redrawing works with."""

    backbone: Backbone
    eyes: FaceEyes
    cutter: GrabCut = field(default_factory=GrabCut)


@dataclass(frozen=True, kw_only=True)
class Redrawn:
    """A reference of each subject: its crop, drawn again by a single-subject model.

    Attributes:
        model, adapter: the single-subject model.
        eyes: as ``--faces`` takes them; of several tries the likest one is kept.
        tries: pictures that are drawn for each subject.
        size: (width, height); None: the model's first own one.
        steps, guidance, reference_guidance: None: the model's own.
        words: the prompt, with ``{subject}`` and ``{place}``.
        cut: cut the subject out of its crop first, before plain gray.
        seed: of all noise.
        device: where the model computes.
    """

    model: str = "toons"
    adapter: str | None = None
    eyes: str = "dlib"
    tries: int = 2
    size: tuple[int, int] | None = None
    steps: int | None = None
    guidance: float | None = None
    reference_guidance: float | None = None
    words: str = "{subject} {place}"
    cut: bool = True
    seed: int = 0
    device: str = "auto"
    name: str = "redrawn"

    def __post_init__(self) -> None:
        if "{subject}" not in self.words or self.tries < 1:
            raise RequestError(
                f"redrawn: expected words with {{subject}} and tries 1 or more; got "
                f"{self.words!r}, {self.tries}"
            )

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {key: value for key, value in vars(self).items() if key not in {"name", "device"}}

    def build(self) -> Studio:
        """See `Step`."""
        backbone = load_backbone(self.model, device=choose_device(self.device))
        if not backbone.limits.reference_px:
            raise RequestError(
                f"redrawn.model {self.model!r} takes no references; expected one that does"
            )
        if self.adapter:
            load_lora(backbone, self.adapter)
        return Studio(backbone, face_eyes(self.eyes))

    def work(self, state: Studio, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        made: list[Item] = []
        lost: list[Lost] = []
        for item in items:
            outcome = self._item(state, item, files)
            (made if isinstance(outcome, Item) else lost).append(outcome)  # type: ignore[arg-type]
        return Made(tuple(made), tuple(lost))

    def _item(self, studio: Studio, item: Item, files: Files) -> Item | Lost:
        picture, faces = files.picture(item), faces_of(item)
        paths, people = dict(item.files), []
        for place, name in enumerate(item.data["nouns"]):
            others = [face.box for face in faces if face is not faces[place]]
            crop = self._crop(studio, picture, faces[place].box, others)
            if crop is None:
                return Lost(item.id, "somebody cannot be cropped alone", detail=name)
            best = self._best(studio, item, name, crop, faces[place])
            if best is None:
                return Lost(item.id, "nobody is seen where somebody was drawn again", detail=name)
            redrawn, face, similarity = best
            portrait = head_crop(redrawn, face.box, [])
            if portrait is None:
                return Lost(item.id, "somebody cannot be cropped alone", detail=name)
            paths[f"crop-{name}"] = files.save(f"{item.id}/{name}-crop", crop)
            paths[f"reference-{name}"] = files.save(f"{item.id}/{name}", portrait)
            people.append({"name": name, "similarity": round(similarity, 4), **face.as_json()})
        data = {**item.data, "people": people}
        return item.child(item.id, self.name, files=paths, data=data)

    def _crop(
        self, studio: Studio, picture: np.ndarray, box: Box, others: Sequence[Box]
    ) -> np.ndarray | None:
        if not self.cut:
            return head_crop(picture, box, others)
        mask = studio.cutter.segment(picture, _likely(picture.shape[:2], box, others))
        if not mask.any():
            return None
        return _portrait(np.where(mask[..., None], picture, np.array(_PLAIN, np.uint8)), box)

    def _best(
        self, studio: Studio, item: Item, name: str, crop: np.ndarray, person: Face
    ) -> tuple[np.ndarray, Face, float] | None:
        """The try whose face is the likest to the person, with that face."""
        wanted = torch.from_numpy(person.descriptor)[None]
        found: tuple[np.ndarray, Face, float] | None = None
        for number in range(self.tries):
            picture = self._draw(studio.backbone, item, name, crop, number)
            for face in look(studio.eyes, picture, 1):
                own = torch.from_numpy(face.descriptor)[None]
                similarity = float(studio.eyes.embedder.similarity(wanted, own)[0, 0])
                if found is None or similarity > found[2]:
                    found = picture, face, similarity
        return found

    def _draw(
        self, backbone: Backbone, item: Item, name: str, crop: np.ndarray, number: int
    ) -> np.ndarray:
        limits = backbone.limits
        width, height = self.size or next(iter(limits.sizes), DEFAULT_SIZE)
        subject = limits.subject_words.replace("{index}", "1")
        subject = subject.replace("{noun}", item.data["nouns"][name])
        place = item.data["alone"][name]
        words = self.words.replace("{subject}", subject).replace("{place}", place).strip()
        generator = picture_generator(f"{item.id} {name}", self.seed, number)
        noise = plain_noise((1, *backbone.latent_shape(width, height)), generator)
        square = reference_picture(Reference(crop), limits.reference_px, "object")
        guided = self.reference_guidance
        with torch.no_grad():
            pictures = backbone.draw(
                words,
                (square,),
                width=width,
                height=height,
                latents=noise.to(backbone.device, backbone.dtype),
                steps=self.steps or limits.steps,
                guidance=limits.guidance if self.guidance is None else self.guidance,
                reference_guidance=limits.reference_guidance if guided is None else guided,
            )
        return pictures[0]


def _portrait(plain: np.ndarray, box: Box) -> np.ndarray:
    """Head and shoulders as a square (s, s, 3) uint8, plain where it leaves the picture."""
    side = max(int(_PORTRAIT * max(box.width, box.height)), 16)
    canvas = np.empty((plain.shape[0] + 2 * side, plain.shape[1] + 2 * side, 3), np.uint8)
    canvas[:] = _PLAIN
    canvas[side:-side, side:-side] = plain
    left, top = (int(middle + side - side / 2) for middle in box.center)
    return np.ascontiguousarray(canvas[top : top + side, left : left + side])


def _likely(shape: tuple[int, int], box: Box, others: Sequence[Box]) -> np.ndarray:
    """How likely each place (H, W) is of whose face this is: face, hair and hat, and what hangs on.

    Where another face is nearer, nothing is theirs.
    """
    y, x = (grid + 0.5 for grid in np.mgrid[: shape[0], : shape[1]])

    def far(one: Box) -> np.ndarray:
        middle = one.center
        return np.asarray(np.hypot((x - middle[0]) / one.width, (y - middle[1]) / one.height))

    across = np.abs(x - box.center[0]) / box.width
    down = (y - box.center[1]) / box.height
    figure = (across < _WIDE) & (down > -_ABOVE) & (down < _BELOW)
    likely = np.where(figure, 0.6, 0.0)
    likely[far(box) < _FACE] = 0.97
    for other in others:
        likely[far(other) < far(box)] = 0.0
    return np.asarray(likely, np.float32)


@dataclass(frozen=True, kw_only=True)
class Alike:
    """Keeps pictures whose references show their own people, nobody else, and no copies.

    Attributes:
        eyes: as ``--faces`` takes them.
        same: each reference is at least so similar to its person in the target; 0 asks nothing.
        different: and at most so similar to the others there; 1 asks nothing.
        least_turned, least_bits: and differs from it in one of these; see `Pairs`. 0: nothing.
        least_sharp: of the reference's face.
    """

    eyes: str = "dlib"
    same: float = 0.5
    different: float = 0.5
    least_turned: float = 0.0
    least_bits: int = 0
    least_sharp: float = 0.0
    name: str = "alike"

    def settings(self) -> Mapping[str, Any]:
        """See `Step`."""
        return {key: value for key, value in vars(self).items() if key != "name"}

    def build(self) -> FaceEyes:
        """See `Step`."""
        return face_eyes(self.eyes)

    def work(self, state: FaceEyes, items: Sequence[Item], files: Files) -> Made:
        """See `Step`."""
        return kept_or_lost(items, self.name, lambda item: self._verdict(state, item, files))

    def _verdict(self, eyes: FaceEyes, item: Item, files: Files) -> Lost | None:
        targets = faces_of(item)
        references = [Face.of_json(told) for told in item.data["people"]]
        rows = [torch.from_numpy(np.stack([face.descriptor for face in some]))
                for some in (references, targets)]  # fmt: skip
        similar = eyes.embedder.similarity(rows[0], rows[1])
        own, others = similar.diagonal(), similar - torch.eye(len(targets)) * 2
        if float(own.min()) < self.same:
            return Lost(item.id, "a reference is not its person", detail=f"{float(own.min()):.2f}")
        if float(others.max()) > self.different:
            text = f"{float(others.max()):.2f}"
            return Lost(item.id, "a reference resembles another person too", detail=text)
        dull = min(face.sharpness for face in references)
        if dull < self.least_sharp:
            return Lost(item.id, "a reference is not sharp", detail=f"{dull:.0f}")
        return self._copied(item, targets, references, files)

    def _copied(
        self, item: Item, targets: Sequence[Face], references: Sequence[Face], files: Files
    ) -> Lost | None:
        if not (self.least_turned or self.least_bits):
            return None
        for name, target, reference in zip(item.data["nouns"], targets, references, strict=True):
            turn = turned(target.landmarks, reference.landmarks)
            crops = (files.picture(item, f"{kind}-{name}") for kind in ("crop", "reference"))
            bits = hash_distance(*(perceptual_hash(crop) for crop in crops))
            if turn < self.least_turned and bits < self.least_bits:
                return Lost(item.id, "a reference could be copied", detail=name)
        return None

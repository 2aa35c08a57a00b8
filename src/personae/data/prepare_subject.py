"""One subject prepared: its photos read, cut, checked and written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from personae.compute.runs import make_folder, write_atomic
from personae.data.caption import guessed_noun, plain_caption
from personae.data.contact_sheet import shown
from personae.data.doubts import Doubt, DoubtConfig, appearances, doubts_about, duplicates, unlike
from personae.data.photo_formats import GivenPhoto, GivenSubject
from personae.data.photo_formats.outlines import Outline
from personae.data.photo_formats.written import encoded_mask, image_bytes
from personae.data.prepared import PreparedPhoto, PreparedSubject, bytes_sha256
from personae.data.segment import (
    Cut,
    Cutter,
    EyesForCutting,
    all_show_a_face,
    build_cutter,
    face_detector,
    person_middle,
)
from personae.data.turned import upright_mask
from personae.errors import DataError
from personae.subjects.picture import read_picture
from personae.subjects.subject import Kind
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.protocols import Detection, FaceDetector
from personae.vision.segmenters.grabcut import main_part

__all__ = ["Look", "Workshop", "prepared_subject"]

Look = Image.Image
# Names the way of preparing: to be changed with it, or subjects prepared the old way would be kept.
_METHOD = "together-3"
_UNREAD = "not read"
# Photos teach each other what to cut: docs/numbers.md has the overlap of one, two, three, five.
_ENOUGH_PHOTOS = 3


class Workshop:
    """The eyes of one call, each loaded when it is first needed, and how much they cut."""

    def __init__(self, eyes: EyesForCutting, config: DoubtConfig) -> None:
        self.eyes, self.config, self.num_cut = eyes, config, 0

    @cached_property
    def cutter(self) -> Cutter:
        """What finds and cuts."""
        return build_cutter(self.eyes)

    @cached_property
    def faces(self) -> FaceDetector:
        """What finds the faces of people."""
        return face_detector(self.eyes.faces)

    @cached_property
    def embedder(self) -> EfficientNetEmbedder:
        """What tells whether photos show the same subject."""
        return EfficientNetEmbedder()

    @property
    def name(self) -> str:
        """The eyes that cut, as prepare.json names them."""
        return self.cutter.name


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A photo as it was read: upright pixels, the mask that came with it, the bytes of the file."""

    given: GivenPhoto
    image: np.ndarray
    mask: np.ndarray | None
    sha256: str


def prepared_subject(
    asked: GivenSubject, out: Path, shop: Workshop, before: PreparedSubject | None
) -> tuple[PreparedSubject | None, list[Look], list[str]]:
    """Prepare a subject below ``out``: what it became, thumbnails, and photos that cannot be read.

    ``before`` is what an earlier call made of it, kept where nothing changed since.
    """
    photos, problems = _loaded(asked.photos)
    if not photos:
        return None, [], problems
    noun = asked.noun or guessed_noun(asked.id)
    images = [photo.image for photo in photos]
    key = _key(asked, photos, shop, noun)
    old = before if before is not None and before.key == key and _is_there(before, out) else None
    kind = old.kind if old is not None else _kind(asked, images, shop)
    faces = [shop.faces.detect(image) if kind == "person" else [] for image in images]
    cuts = _kept(old, out, images) if old is not None else _cut(photos, noun, faces, shop)
    masks = [_chosen(cut) for cut in cuts]
    counts = [max(len(found), 1) for found in faces]
    doubts = _doubts(images, cuts, masks, counts, shop)
    written = _written(asked, photos, cuts, masks, out)
    done = [replace(item, doubts=tuple(why)) for item, why in zip(written, doubts, strict=True)]
    subject = PreparedSubject(
        id=asked.id,
        noun=noun,
        kind=kind,
        token=asked.token or "",
        key=key,
        photos=tuple(done),
        warnings=_warnings(asked, noun, done),
    )
    return subject, [shown(i, m) for i, m in zip(images, masks, strict=True)], problems


def _loaded(given: Sequence[GivenPhoto]) -> tuple[list[_Loaded], list[str]]:
    photos, problems = [], []
    for item in given:
        try:
            image = read_picture(item.image)
            mask = None if item.mask is None else _given_mask(item, image.shape[:2])
        except DataError as error:
            problems.append(str(error))
            continue
        content = [item.image.read_bytes(), b"" if mask is None else np.packbits(mask).tobytes()]
        photos.append(_Loaded(item, image, mask, bytes_sha256(*content)))
    return photos, problems


def _given_mask(item: GivenPhoto, shape: tuple[int, int]) -> np.ndarray:
    if isinstance(item.mask, Outline):
        return item.mask.mask(shape)
    assert item.mask is not None
    return upright_mask(item.mask, item.image, shape)


def _key(asked: GivenSubject, photos: Sequence[_Loaded], shop: Workshop, noun: str) -> str:
    """What masks depend on: photos, given masks, eyes, the kind and, for eyes that read, the noun.

    The photos of a subject are looked at together, so one that changes changes the key of all.
    """
    settings = f"{_METHOD} {shop.name} {shop.eyes!r} {asked.kind} {noun}"
    return bytes_sha256(settings.encode(), *(photo.sha256.encode() for photo in photos))


def _is_there(before: PreparedSubject, out: Path) -> bool:
    names = [name for photo in before.photos for name in (photo.image, photo.mask) if name]
    return all((out / name).is_file() for name in names)


def _kind(asked: GivenSubject, images: Sequence[np.ndarray], shop: Workshop) -> Kind:
    told: dict[str | None, Kind] = {"person": "person", "animal": "animal", "object": "object"}
    return told.get(asked.kind) or all_show_a_face(images, shop.faces)


def _cut(
    photos: Sequence[_Loaded], noun: str, faces: Sequence[Sequence[Detection]], shop: Workshop
) -> list[Cut]:
    middles = [
        person_middle(photo.image.shape[:2], max(found, key=lambda face: face.box.area).box)
        if found
        else None
        for photo, found in zip(photos, faces, strict=True)
    ]
    cuts = shop.cutter.cut(
        [photo.image for photo in photos], [photo.mask for photo in photos], noun, middles
    )
    shop.num_cut += sum(cut.by != "given" for cut in cuts)
    return cuts


def _kept(before: PreparedSubject, out: Path, images: Sequence[np.ndarray]) -> list[Cut]:
    """What an earlier call cut, as it lies there now: a mask that was changed since is "edited"."""
    cuts = []
    for photo, image in zip(before.photos, images, strict=True):
        if photo.mask is None:
            unread = next((doubt.words for doubt in photo.doubts if doubt.kind == _UNREAD), None)
            cuts.append(Cut(None, photo.by, photo.num_boxes, unread))
            continue
        path = out / photo.mask
        same = bytes_sha256(path.read_bytes()) == photo.mask_sha256
        mask = upright_mask(path, out / photo.image, image.shape[:2])
        cuts.append(Cut(mask, photo.by if same else "edited", photo.num_boxes if same else 1))
    return cuts


def _chosen(cut: Cut) -> np.ndarray | None:
    """The mask that goes into the cast: what somebody gave as it is, else its main part.

    None where it is empty: there is nothing that a reader of the cast could learn from.
    """
    if cut.mask is None or not cut.mask.any():
        return None
    return cut.mask if cut.by in {"given", "edited"} else main_part(cut.mask)


def _doubts(
    images: Sequence[np.ndarray],
    cuts: Sequence[Cut],
    masks: Sequence[np.ndarray | None],
    num_faces: Sequence[int],
    shop: Workshop,
) -> list[list[Doubt]]:
    config = shop.config
    found = [
        doubts_about(image, cut.mask, cut.num_boxes, faces, config)
        for image, cut, faces in zip(images, cuts, num_faces, strict=True)
    ]
    for index, cut in enumerate(cuts):
        if cut.unread is not None:
            found[index] = [Doubt(_UNREAD, cut.unread)]
    for index, earlier in duplicates(images, config.alike).items():
        found[index].append(Doubt("near duplicate", f"nearly the same photo as {earlier:02d}"))
    for index, mean in unlike(appearances(images, masks, shop.embedder), config).items():
        words = f"unlike the subject's other photos (mean cosine {mean:.2f})"
        found[index].append(Doubt("unlike the others", words))
    return found


def _written(
    asked: GivenSubject,
    photos: Sequence[_Loaded],
    cuts: Sequence[Cut],
    masks: Sequence[np.ndarray | None],
    out: Path,
) -> list[PreparedPhoto]:
    make_folder(out / asked.id)
    done = []
    for index, (photo, cut, mask) in enumerate(zip(photos, cuts, masks, strict=True)):
        suffix, content = image_bytes(photo.given.image)
        image = f"{asked.id}/{index:02d}{suffix}"
        write_atomic(out / image, content)
        encoded = None if mask is None else encoded_mask(mask)
        name = None if encoded is None else f"{asked.id}/{index:02d}.mask.png"
        if name is not None and encoded is not None:
            write_atomic(out / name, encoded)
        done.append(
            PreparedPhoto(
                image=image,
                mask=name,
                original=str(photo.given.image),
                by=cut.by,
                caption=photo.given.caption or plain_caption(asked.id),
                mask_sha256=None if encoded is None else bytes_sha256(encoded),
                num_boxes=cut.num_boxes,
                words=photo.given.words,
            )
        )
    return done


def _warnings(asked: GivenSubject, noun: str, photos: Sequence[PreparedPhoto]) -> tuple[str, ...]:
    found = []
    if asked.noun is None:
        found.append(
            f"descriptive noun is a guess ({noun!r}, from the folder's name); "
            f"say it with --noun '{asked.id}=...'"
        )
    if len(photos) == 1:
        found.append("a single photo; more show what stays itself and what does not")
    if len(photos) < _ENOUGH_PHOTOS and any(photo.by.startswith("guided") for photo in photos):
        found.append(
            f"fewer than {_ENOUGH_PHOTOS} photos to find it in: its masks are less sure; "
            "look at the contact sheet, or add photos"
        )
    return tuple(found)

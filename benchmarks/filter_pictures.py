"""The pictures behind `filter_curves`: copies of pictures, faces made worse, and whose they are."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from personae.data.pipeline.crops import cut_out
from personae.data.pipeline.looks import hash_distance, perceptual_hash
from personae.data.pipeline.people import Face, look
from personae.diffusion.load import load_backbone
from personae.subjects.box import Box
from personae.toons import portrait, scene, toon
from personae.toons.scene import ToonScene
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.embedders.crops import image_tensor
from personae.vision.faces import FaceEyes
from personae.vision.faces.align import similarity_transform

CANVAS = 128
FOLDERS = {
    "human": "benchmarks/xversebench/human",
    "people": "photos/people",
    "subjects": "photos/subjects",
}


def photographs(name: str, longest_px: int = 768) -> list[np.ndarray]:
    """Pictures of a folder of ``PERSONAE_DATA``; none where it is not set."""
    home = Path(os.environ.get("PERSONAE_DATA", "/nonexistent")) / FOLDERS[name]
    found = []
    for path in sorted(home.rglob("*.jpg")):
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((longest_px, longest_px))
        found.append(np.asarray(picture))
    return found


def only(found: Sequence[Face]) -> Face | None:
    """The surest face."""
    return found[0] if found else None


def faces_of(eyes: FaceEyes, drawn: ToonScene) -> dict[str, Face]:
    """The faces that were found, by the name of whose head holds their middle."""
    found: dict[str, Face] = {}
    for face in look(eyes, drawn.image, len(drawn.members)):
        x, y = face.box.center
        for member in drawn.members:
            box = member.face
            if box.left <= x <= box.right and box.top <= y <= box.bottom:
                found.setdefault(member.name, face)
    return found


def around(picture: np.ndarray, box: Box, reach: float = 0.9) -> np.ndarray:
    """The box and its surroundings, grown by ``reach`` of its side each way."""
    grow = reach * max(box.width, box.height)
    wide = Box(box.left - grow, box.top - grow, box.right + grow, box.bottom + grow)
    inside = wide.clipped(picture.shape[1], picture.shape[0])
    assert inside is not None
    left, top, right, bottom = map(int, inside.xyxy)
    return np.ascontiguousarray(picture[top:bottom, left:right])


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """Saved as JPEG, and read again."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def scaled(picture: np.ndarray, factor: float) -> np.ndarray:
    """Larger or smaller."""
    image = Image.fromarray(picture)
    size = (round(image.width * factor), round(image.height * factor))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def brighter(picture: np.ndarray, factor: float) -> np.ndarray:
    """Every value times ``factor``."""
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(picture)).enhance(factor))


def cropped(picture: np.ndarray, part: float) -> np.ndarray:
    """Without ``part`` of width and height, off the middle."""
    height, width = picture.shape[:2]
    top, left = int(part * height * 0.3), int(part * width * 0.7)
    bottom, right = top + int(height * (1 - part)), left + int(width * (1 - part))
    return np.ascontiguousarray(picture[top:bottom, left:right])


def copied_faces(picture: np.ndarray, mask: np.ndarray, box: Box) -> dict[str, np.ndarray]:
    """Copies of a face with its surroundings; one of them cut out, before plain gray."""
    crop = around(picture, box)
    plain = np.where(mask[..., None], picture, np.uint8(210))
    return {
        "the crop": crop,
        "JPEG 30": jpeg(crop, 30),
        "scaled 1.6": scaled(crop, 1.6),
        "brighter 1.2": brighter(crop, 1.2),
        "mirrored": np.ascontiguousarray(crop[:, ::-1]),
        "cut out": around(plain, box),
    }


def middle(found: Sequence[Face], picture: np.ndarray) -> Face | None:
    """The face nearest to the middle of a picture."""
    wanted = np.array(picture.shape[1::-1]) / 2
    return min(
        found, key=lambda face: float(np.linalg.norm(face.box.center - wanted)), default=None
    )


def turned(first: np.ndarray, second: np.ndarray) -> float:
    """What is left of landmarks (5, 2) after the best similarity transform, of their spread."""
    transform = similarity_transform(first[None], second[None])[0]
    fitted = first @ transform[:, :2].T + transform[:, 2]
    spread = ((second - second.mean(0)) ** 2).sum()
    return float(np.sqrt(((fitted - second) ** 2).sum() / spread))


def face_bits(first: np.ndarray, box: Box, second: np.ndarray, other: Box) -> int:
    """In how many bits the hashes of two faces' boxes differ."""
    hashes = (perceptual_hash(cut_out(*one)) for one in ((first, box), (second, other)))
    return hash_distance(*hashes)


def altered(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Copies of a whole picture."""
    return {
        "scaled 0.5": scaled(picture, 0.5),
        "JPEG 30": jpeg(picture, 30),
        "brighter 1.25": brighter(picture, 1.25),
        "5% cropped": cropped(picture, 0.05),
        "10% cropped": cropped(picture, 0.1),
        "mirrored": np.ascontiguousarray(picture[:, ::-1]),
    }


def drawn_views(count: int) -> Iterator[tuple[int, np.ndarray, Mapping[str, np.ndarray]]]:
    """Scenes with their copies, the same toons elsewhere, and others in the same place."""
    by_place: dict[str, list[ToonScene]] = {}
    for seed in range(9000, 9000 + 3 * count):
        other = scene(seed, count=2, split="test")
        by_place.setdefault(other.place, []).append(other)
    for number in range(count):
        drawn = scene(number, count=2, split="test")
        again = scene(20_000 + number, toons=[member.toon for member in drawn.members])
        beside = by_place[drawn.place]
        others = {
            "same toons": again.image,
            "same place": beside[number % len(beside)].image,
        }
        yield number, drawn.image, {**altered(drawn.image), **others}


def photograph_views() -> Iterator[tuple[int, np.ndarray, Mapping[str, np.ndarray]]]:
    """Photographs with their copies, and the next two of the same folder."""
    for name in FOLDERS:
        found = photographs(name)
        for number, picture in enumerate(found):
            others = {f"another of {name}": found[(number + 1) % len(found)]}
            yield number, picture, {**altered(picture), **others}


@torch.no_grad()
def embedded(embedder: EfficientNetEmbedder, shown: Sequence[np.ndarray]) -> torch.Tensor:
    """(B, 1280) of length 1, each picture squeezed into a square."""
    return torch.cat([embedder.embed_scaled(image_tensor(one)[None]) for one in shown])


@dataclass(frozen=True, eq=False)
class Known:
    """A picture of one face, large and sharp; its face there, and the one it is known by."""

    picture: np.ndarray
    box: Box
    face: Face


def known_toon(eyes: FaceEyes, who: int, seed: int) -> Known:
    """A toon in one pose, known by a portrait in another."""
    one = toon(seed)
    own = portrait(one, 1000 + who, 128)
    shown = portrait(one, who, 256, than=own.pose)
    face = only(look(eyes, own.image, 1))
    assert face is not None
    return Known(shown.image, shown.face, face)


def known_people(eyes: FaceEyes) -> list[Known]:
    """The people of the photographs, known by the very same pictures."""
    found = []
    for picture in photographs("human"):
        face = only(look(eyes, picture, 1))
        if face is not None:
            found.append(Known(picture, face.box, face))
    return found


def small(one: Known, side_px: float) -> np.ndarray:
    """The picture made so small that the face's shorter side has so many pixels, on plain gray."""
    factor = side_px / min(one.box.width, one.box.height)
    shrunk = scaled(one.picture, min(factor, 1.0))
    size = [max(CANVAS, side) for side in shrunk.shape[:2]]
    canvas = np.full((*size, 3), 190, np.uint8)
    top, left = ((whole - part) // 2 for whole, part in zip(size, shrunk.shape, strict=False))
    canvas[top : top + shrunk.shape[0], left : left + shrunk.shape[1]] = shrunk
    return canvas


def blurred(one: Known, sigma: float) -> np.ndarray:
    """The picture, its face 48 pixels high or more, blurred by a share of the face's side."""
    side = min(one.box.width, one.box.height)
    picture = Image.fromarray(one.picture).filter(ImageFilter.GaussianBlur(sigma * side))
    return small(Known(np.asarray(picture), one.box, one.face), 64)


def decoder() -> Callable[[np.ndarray], np.ndarray]:
    """Pictures as the toon checkpoint's autoencoder gives them back."""
    backbone = load_backbone("toons")

    @torch.no_grad()
    def decoded(picture: np.ndarray) -> np.ndarray:
        latents = backbone.encode_image(image_tensor(picture)[None])
        made = backbone.decode(latents)[0].clamp(0, 1)
        return (made * 255).round().byte().permute(1, 2, 0).numpy()

    return decoded


def ways() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Pictures as they are, decoded, and blurred."""

    def soft(picture: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.5)))

    return {"as rendered": lambda picture: picture, "decoded": decoder(), "blurred 1.5 px": soft}

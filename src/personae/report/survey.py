"""A survey as one HTML file that needs nothing else: pictures, sheets, and no name of a model."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from personae.compute.runs import make_folder
from personae.errors import DataError, RequestError
from personae.evaluation.survey import Survey
from personae.evaluation.survey_files import KeyPicture
from personae.report.page import content_policy, page_file, safe_json, write_whole
from personae.report.thumbnails import QUALITIES, ThumbnailSize, encode, thumbnails
from personae.subjects.picture import read_picture
from personae.subjects.scene import Scene

__all__ = ["write_survey_page"]

Progress = Callable[[int, int], None]

# More photos of a subject crowd a phone; three show what stays the same.
_MOST_REFERENCES = 3
# A reference is shown small; it gets a third of a picture's bytes.
_REFERENCE_SHARE = 3
_LEAST_BYTES, _MOST_BYTES = 4_000, 120_000
_SIDE = 768
# People judge how natural a picture looks: of small ones more is kept than a report needs.
_QUALITIES = (*QUALITIES, 92)
_STRIP_HEIGHT = 512


@dataclass(frozen=True)
class _Photos:
    """Reference photos that the page holds, each once, and their places in it."""

    files: tuple[Path, ...]

    def places(self, scene: Scene, subject: str) -> list[int]:
        return [self.files.index(path) for path in _shown(scene, subject)]


def write_survey_page(
    survey: Survey, out: Path, *, max_mb: float = 12.0, progress: Progress | None = None
) -> Path:
    """Write survey.html into a folder and return its path.

    Pictures are scaled down until the page has at most ``max_mb`` million bytes. ``progress`` is
    told (pictures done, of how many).

    Raises:
        RequestError: the pictures are too many for that.
        DataError: a picture or a reference cannot be read.
        WorkError: the page cannot be written; an older one is left as it was.
    """
    scenes = list(dict.fromkeys(question.scene for question in survey.key.questions))
    photos = _Photos(_photos(survey, scenes))
    sheets = _sheets(survey, scenes, photos)
    room = round(max_mb * 1e6) - len(sheets) - len(_page("", "", "")) - 1000
    size, small = _sizes(room, len(survey.files), len(photos.files), max_mb)
    pictures = _json(_pictures(survey, size, progress))
    references = _json(_thumbnails(photos.files, small))
    path = make_folder(out) / "survey.html"
    page = _page(sheets, pictures, references)
    if len(page.encode()) > max_mb * 1e6:
        raise _too_many(len(survey.files), max_mb)
    write_whole(path, iter([page]))
    return path


def _page(sheets: str, pictures: str, references: str) -> str:
    script, style = page_file("survey.js"), page_file("survey.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(page_file("survey.html.j2")).render(
        script=Markup(script),
        style=Markup(style),
        policy=content_policy(script, style),
        survey=Markup(sheets),
        pictures=Markup(pictures),
        references=Markup(references),
    )


def _sheets(survey: Survey, scenes: Sequence[str], photos: _Photos) -> str:
    """What is asked, by rater, as JSON: nothing in it says whose a picture is, or what is known."""
    places = {name: place for place, name in enumerate(scenes)}
    asked: list[list[Any]] = [[] for _ in range(survey.key.raters)]
    for question in survey.key.questions:
        asked[question.rater - 1].append([question.id, places[question.scene], *question.shown])
    cast = [_scene(survey.scenes[name], photos) for name in scenes]
    data = {"survey": survey.key.survey, "scenes": cast, "sheets": asked}
    return safe_json(json.dumps(data, separators=(",", ":"), ensure_ascii=False))


def _scene(scene: Scene, photos: _Photos) -> dict[str, Any]:
    subjects = [
        {"noun": subject.noun, "photos": photos.places(scene, name)}
        for name, subject in scene.subjects.items()
    ]
    return {"prompt": _prompt(scene), "subjects": subjects}


def _prompt(scene: Scene) -> list[str | int]:
    """The prompt in parts: words, and the place of a subject where it is named in braces."""
    names = list(scene.subjects)
    pattern = "|".join(re.escape("{" + name + "}") for name in names)
    parts = re.split(f"({pattern})", scene.prompt)
    return [names.index(part[1:-1]) if odd % 2 else part for odd, part in enumerate(parts) if part]


def _photos(survey: Survey, scenes: Iterable[str]) -> tuple[Path, ...]:
    found = [
        path
        for name in scenes
        for subject in survey.scenes[name].subjects
        for path in _shown(survey.scenes[name], subject)
    ]
    return tuple(dict.fromkeys(found))


def _shown(scene: Scene, subject: str) -> list[Path]:
    return [file.image for file in scene.subjects[subject].references[:_MOST_REFERENCES]]


def _sizes(
    room: int, num_pictures: int, num_photos: int, max_mb: float
) -> tuple[ThumbnailSize, ThumbnailSize]:
    """Bytes and side of a picture and of a reference such that all fit; base64 makes 4 of 3."""
    # Beside its bytes each stands in quotes, with a comma, rounded up to four letters.
    shares = num_pictures + num_photos / _REFERENCE_SHARE
    each = round((room * 3 / 4 - 6 * (num_pictures + num_photos)) / shares)
    if each < _LEAST_BYTES:
        raise _too_many(num_pictures, max_mb)
    each = min(each, _MOST_BYTES)
    small = each // _REFERENCE_SHARE
    return (
        ThumbnailSize(_side(each), each, _QUALITIES),
        ThumbnailSize(_side(small) * 3 // 4, small, _QUALITIES),
    )


def _side(max_bytes: int) -> int:
    """Longest side that looks well in so many bytes, at 0.11 bytes a pixel."""
    return min(round(math.sqrt(max_bytes / 0.11)), _SIDE)


def _too_many(count: int, max_mb: float) -> RequestError:
    return RequestError(
        f"{count} pictures do not fit a page of {max_mb:g} MB such that people can judge them; "
        "raise --max-mb, or ask less: fewer --questions or --raters"
    )


def _json(texts: Iterable[str]) -> str:
    return json.dumps(list(texts), separators=(",", ":"))


def _pictures(survey: Survey, size: ThumbnailSize, progress: Progress | None) -> Iterator[str]:
    """In the key's order; those of models are made by several threads."""
    found = _thumbnails([path for path in survey.files if path is not None], size)
    for done, (picture, path) in enumerate(
        zip(survey.key.pictures, survey.files, strict=True), start=1
    ):
        yield _made(picture, survey, size) if path is None else next(found)
        if progress is not None:
            progress(done, len(survey.files))


def _thumbnails(paths: Sequence[Path], size: ThumbnailSize) -> Iterator[str]:
    for path, thumbnail in zip(paths, thumbnails((p, size) for p in paths), strict=True):
        if thumbnail.data is None:
            raise DataError(
                f"{path}: {thumbnail.reason}; mend it, or evaluate again without it, then make "
                "the survey again"
            )
        yield thumbnail.data


def _made(picture: KeyPicture, survey: Survey, size: ThumbnailSize) -> str:
    """A picture for a check: the references of a scene side by side, or plain gray."""
    if picture.scene is None:
        return encode(Image.new("RGB", (_STRIP_HEIGHT, _STRIP_HEIGHT), (128, 128, 128)), size)
    scene = survey.scenes[picture.scene]
    return encode(_strip([_shown(scene, subject)[0] for subject in scene.subjects]), size)


def _strip(paths: Sequence[Path]) -> Image.Image:
    photos = [Image.fromarray(read_picture(path)) for path in paths]
    photos = [
        photo.resize((max(1, round(photo.width * _STRIP_HEIGHT / photo.height)), _STRIP_HEIGHT))
        for photo in photos
    ]
    strip = Image.new("RGB", (sum(photo.width for photo in photos), _STRIP_HEIGHT))
    left = 0
    for photo in photos:
        strip.paste(photo, (left, 0))
        left += photo.width
    return strip

"""prepare.json: what was prepared, by which eyes, and what is doubtful; read again to resume."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from personae.compute.runs import read_json
from personae.data.doubts import Doubt
from personae.errors import DataError
from personae.subjects.subject import KINDS, Kind, ReferenceFile, Subject

__all__ = ["FILE", "PreparedPhoto", "PreparedSubject", "bytes_sha256", "read_prepared"]

FILE = "prepare.json"


def bytes_sha256(*parts: bytes) -> str:
    """SHA-256 in hex of several contents, each with its length, so that no two lists agree."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)} ".encode() + part)
    return digest.hexdigest()


@dataclass(frozen=True)
class PreparedPhoto:
    """One photo of the cast.

    ``image`` and ``mask`` are relative to the cast's folder, ``original`` is where it came from.
    ``by`` names the eyes that cut the mask ("given": it came with the photo; "edited": somebody
    changed it in the cast since), ``mask_sha256`` is of the mask's file as it was written.
    """

    image: str
    mask: str | None
    original: str
    by: str
    caption: str
    mask_sha256: str | None = None
    num_boxes: int = 1
    words: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class PreparedSubject:
    """One subject of the cast; ``key`` names photos, masks and settings it was made from."""

    id: str
    noun: str
    kind: Kind
    token: str
    key: str
    photos: tuple[PreparedPhoto, ...]
    warnings: tuple[str, ...] = ()

    def as_subject(self, folder: Path) -> Subject:
        """For cast.jsonl, in this folder."""
        references = tuple(
            ReferenceFile(
                folder / photo.image,
                None if photo.mask is None else folder / photo.mask,
                photo.caption,
                **photo.words,
            )
            for photo in self.photos
        )
        return Subject(self.id, self.noun, self.kind, references, token=self.token)

    def as_json(self) -> dict[str, Any]:
        """For prepare.json."""
        return asdict(self)


def read_prepared(folder: Path) -> dict[str, PreparedSubject]:
    """The subjects that an earlier call left in a folder; none where there was no call.

    Raises:
        DataError: prepare.json is there and cannot be read.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    data = read_json(path)
    try:
        subjects = [_subject(item) for item in data["subjects"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not as this program writes it ({error!r}); use --overwrite to begin anew"
        ) from error
    return {subject.id: subject for subject in subjects}


def _subject(data: Mapping[str, Any]) -> PreparedSubject:
    if data["kind"] not in KINDS:
        raise KeyError("kind")
    photos: Sequence[Mapping[str, Any]] = data["photos"]
    return PreparedSubject(
        **{
            **data,
            "warnings": tuple(data["warnings"]),
            "photos": tuple(
                PreparedPhoto(
                    **{**photo, "doubts": tuple(Doubt(**item) for item in photo["doubts"])}
                )
                for photo in photos
            ),
        }
    )

"""Preparing a cast: photos in, upright photos with masks, captions and doubts out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from personae.compute.runs import make_folder, write_atomic, write_json
from personae.data.caption import tokens_for
from personae.data.contact_sheet import SheetPhoto, SheetRow, contact_sheet, shown
from personae.data.doubts import DoubtConfig, colliding_nouns
from personae.data.photo_formats import GivenPhotos, read_photos
from personae.data.prepare_subject import Look, Workshop, prepared_subject
from personae.data.prepared import FILE, PreparedPhoto, PreparedSubject, read_prepared
from personae.data.segment import EyesForCutting
from personae.errors import DataError, RequestError
from personae.subjects.manifest import write_cast
from personae.subjects.picture import read_mask, read_picture
from personae.subjects.subject import KINDS

__all__ = ["Preparation", "PreparedCast", "prepare"]

Progress = Callable[[int, int], None]
_CAST, _SHEET, _DOUBTFUL = "cast.jsonl", "contact_sheet.png", "doubtful.jsonl"


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is asked for: where photos lie, where the cast goes, and what is known of subjects.

    ``kinds``, ``nouns`` and ``tokens`` are by subject and beat what lies beside the photos;
    ``only`` names subjects to do again, the others staying as they are; ``overwrite`` begins anew.
    """

    photos: Path
    out: Path
    eyes: EyesForCutting = field(default_factory=EyesForCutting)
    doubts: DoubtConfig = field(default_factory=DoubtConfig)
    kinds: Mapping[str, str] = field(default_factory=dict)
    nouns: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    overwrite: bool = False


@dataclass(frozen=True)
class PreparedCast:
    """What came of it.

    ``problems`` are pictures that could not be read (the rest is there), ``left_out`` files that
    are no photos, ``warnings`` what to think about, ``num_cut`` how many photos were cut now.
    """

    out: Path
    subjects: tuple[PreparedSubject, ...]
    layout: str
    eyes: str
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    num_cut: int = 0

    @property
    def num_photos(self) -> int:
        """Photos in the cast."""
        return sum(len(subject.photos) for subject in self.subjects)

    @property
    def doubtful(self) -> list[tuple[PreparedSubject, PreparedPhoto]]:
        """Photos that somebody should look at."""
        return [(item, photo) for item in self.subjects for photo in item.photos if photo.doubts]

    def as_json(self) -> dict[str, Any]:
        """For prepare.json and --json."""
        return {
            "layout": self.layout,
            "eyes": self.eyes,
            "num_photos": self.num_photos,
            "num_doubtful": len(self.doubtful),
            "warnings": list(self.warnings),
            "problems": list(self.problems),
            "left_out": list(self.left_out),
            "subjects": [subject.as_json() for subject in self.subjects],
        }


def prepare(task: Preparation, progress: Progress = lambda done, total: None) -> PreparedCast:
    """Find, cut out, caption and check every subject of a folder, and write the cast.

    Subjects that were prepared before from the same bytes with the same settings are kept, masks
    that somebody mended in the cast too; a call that was killed goes on with the subject it was at.

    Raises:
        DataError: a bad line in a manifest, or no subject with a readable photo.
        RequestError: a name that is no subject, a token told twice, a foreign folder as ``out``.
    """
    given = read_photos(task.photos)
    _check(task, given)
    earlier = _earlier(task)
    before = {} if task.overwrite else earlier
    tokens = _tokens(task, given, before)
    shop, looks = Workshop(task.eyes, task.doubts), dict[str, list[Look]]()
    subjects: list[PreparedSubject] = []
    problems: list[str] = []
    eyes = shop.name  # loads them: what cannot be loaded is told before anything is written
    make_folder(task.out)
    for number, item in enumerate(given.subjects):
        progress(number, len(given.subjects))
        _keep(task.out, {**earlier, **{done.id: done for done in subjects}})
        old = before.get(item.id)
        if task.only and item.id not in task.only:
            subjects += [old] if old is not None else []
            continue
        asked = replace(
            item,
            noun=task.nouns.get(item.id) or item.noun,
            kind=task.kinds.get(item.id) or item.kind,
            token=tokens[item.id],
        )
        done, looks[item.id], bad = prepared_subject(
            asked, task.out, shop, None if task.only else old
        )
        problems += bad
        if done is None:
            problems.append(f"{item.id}: no photo that can be read; the subject is left out")
        else:
            subjects.append(done)
    progress(len(given.subjects), len(given.subjects))
    if not subjects:
        raise DataError(f"{task.photos}: no photo that can be read; {problems[0]}")
    cast = PreparedCast(
        out=task.out,
        subjects=tuple(subjects),
        layout=given.layout,
        eyes=eyes,
        problems=tuple(problems),
        left_out=given.left_out,
        warnings=_warnings(subjects),
        num_cut=shop.num_cut,
    )
    _write(cast, looks, earlier)
    return cast


def _earlier(task: Preparation) -> dict[str, PreparedSubject]:
    """What an earlier call left; with ``overwrite`` it need not be readable."""
    try:
        return read_prepared(task.out)
    except DataError:
        if task.overwrite:
            return {}
        raise


def _keep(out: Path, subjects: Mapping[str, PreparedSubject]) -> None:
    """Say what is finished so far, for the call that comes after a kill."""
    write_json(out / FILE, {"subjects": [item.as_json() for item in subjects.values()]})


def _check(task: Preparation, given: GivenPhotos) -> None:
    known = [subject.id for subject in given.subjects]
    for flag, names in (
        ("--kind", task.kinds), ("--noun", task.nouns), ("--token", task.tokens),
        ("--only", task.only),
    ):  # fmt: skip
        for name in names:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {known}"
                raise RequestError(f"{flag}: no subject {name!r} in {task.photos}; {hint}")
    for subject in given.subjects:
        kind = task.kinds.get(subject.id) or subject.kind
        if kind is not None and kind not in KINDS:
            raise RequestError(f"{subject.id!r}: kind is one of {KINDS}; got {kind!r}")
    if not task.out.is_dir() or (task.out / FILE).exists():
        return
    if any(task.out.iterdir()):
        raise RequestError(
            f"--out {task.out}: holds files that this command did not write; choose another folder"
        )


def _tokens(
    task: Preparation, given: GivenPhotos, before: Mapping[str, PreparedSubject]
) -> dict[str, str]:
    """A token a subject: asked for, else given, else what it had before, else a free one.

    A token once taught stays: a subject that comes later may not shift the others'.
    """
    told = dict(task.tokens)
    for source in (
        {item.id: item.token for item in given.subjects if item.token},
        {name: item.token for name, item in before.items()},
    ):
        for name, token in source.items():
            if name not in told and token not in told.values():
                told[name] = token
    return tokens_for([subject.id for subject in given.subjects], told)


def _warnings(subjects: Sequence[PreparedSubject]) -> tuple[str, ...]:
    found = [f"{item.id}: {words}" for item in subjects for words in item.warnings]
    shared = colliding_nouns({item.id: item.noun for item in subjects})
    for noun, names in shared.items():
        found.append(
            f"{' and '.join(names)} share the noun {noun!r}: nothing but their tokens tells them "
            "apart; give each a more descriptive one with --noun"
        )
    return tuple(found)


def _write(
    cast: PreparedCast, looks: Mapping[str, list[Look]], before: Mapping[str, PreparedSubject]
) -> None:
    out = cast.out
    write_cast([subject.as_subject(out) for subject in cast.subjects], out / _CAST)
    rows = [_sheet_row(item, looks.get(item.id) or _looks(item, out)) for item in cast.subjects]
    write_atomic(out / _SHEET, contact_sheet(rows))
    lines = [
        json.dumps(
            {
                "subject": subject.id,
                "image": photo.image,
                "original": photo.original,
                "reasons": [doubt.words for doubt in photo.doubts],
            },
            ensure_ascii=False,
        )
        for subject, photo in cast.doubtful
    ]
    write_atomic(out / _DOUBTFUL, "".join(line + "\n" for line in lines))
    write_json(out / FILE, cast.as_json())
    _remove_stale(cast, before)


def _looks(subject: PreparedSubject, out: Path) -> list[Look]:
    """Thumbnails of a subject that was not touched."""
    looks = []
    for photo in subject.photos:
        image = read_picture(out / photo.image)
        mask = None if photo.mask is None else read_mask(out / photo.mask, image.shape[:2])
        looks.append(shown(image, mask))
    return looks


def _sheet_row(subject: PreparedSubject, looks: Sequence[Look]) -> SheetRow:
    title = f"{subject.id}: {subject.token} {subject.noun} ({subject.kind})"
    cells = [
        SheetPhoto(look, _cell_words(photo), bool(photo.doubts))
        for photo, look in zip(subject.photos, looks, strict=True)
    ]
    return SheetRow(title, tuple(cells))


def _cell_words(photo: PreparedPhoto) -> str:
    reasons = "; ".join(doubt.words for doubt in photo.doubts)
    return f"{Path(photo.image).name}  {reasons or photo.by}"


def _remove_stale(cast: PreparedCast, before: Mapping[str, PreparedSubject]) -> None:
    """Files of an earlier call that the cast no longer names; nothing else is touched."""
    named = {name for item in cast.subjects for photo in item.photos for name in _files(photo)}
    for subject in before.values():
        for photo in subject.photos:
            for name in _files(photo):
                if name not in named:
                    (cast.out / name).unlink(missing_ok=True)


def _files(photo: PreparedPhoto) -> list[str]:
    return [photo.image] + ([] if photo.mask is None else [photo.mask])

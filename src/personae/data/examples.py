"""What is trained on: a picture, the words for it, and one reference for each subject in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from personae.errors import DataError, RequestError
from personae.subjects.manifest import json_lines
from personae.subjects.subject import KINDS, Kind

__all__ = [
    "Example",
    "ExampleFile",
    "ExampleSource",
    "ToonExamples",
    "fit_picture",
    "fit_square",
]

_KEYS = ("id", "image", "prompt", "references")
_MORE_KEYS = ("nouns", "kinds", "relation")
# Of whoever made the file; not trained on.
_PASSED_KEYS = ("license", "consent", "sources", "made_by", "task")


@dataclass(frozen=True, eq=False)
class Example:
    """One picture to learn from.

    ``prompt`` holds the final words, as the model gets them; ``image`` is (H, W, 3) uint8; the
    references are (h, w, 3) uint8, in the order of the subjects' numbers in the prompt. ``nouns``
    and ``kinds`` say what each subject is (empty: not known, people), ``relation`` how one lies to
    another: (place of the first, words, place of the second). Rewards ask for these three.
    """

    id: str
    prompt: str
    image: np.ndarray
    references: tuple[np.ndarray, ...]
    nouns: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    relation: tuple[int, str, int] | None = None
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and self.mask.shape != self.image.shape[:2]:
            raise DataError(
                f"example {self.id}: mask {self.mask.shape} does not fit picture "
                f"{self.image.shape[:2]}"
            )
        for name, told in (("nouns", self.nouns), ("kinds", self.kinds)):
            if told and len(told) != len(self.references):
                raise DataError(
                    f"example {self.id}: {name}: expected one for each of "
                    f"{len(self.references)} references; got {list(told)}"
                )
        if self.relation is not None and not _is_relation(self.relation, len(self.references)):
            raise DataError(
                f"example {self.id}: relation: expected two different places from 0 to "
                f"{len(self.references) - 1}; got {self.relation}"
            )
        for name, picture in [("image", self.image), *(("reference", r) for r in self.references)]:
            if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
                raise DataError(
                    f"example {self.id}: {name}: expected (H, W, 3) uint8; "
                    f"got {picture.shape} {picture.dtype}"
                )


class ExampleSource(Protocol):
    """Examples by number; frozen and small, so that it can be sent to another process."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, index: int) -> Example:
        """One of them; always the same for the same number.

        Raises:
            DataError: this one cannot be read; the others may be.
        """
        ...

    def settings(self) -> Mapping[str, Any]:
        """What decides the content, ready for JSON: stored latents are found again by it."""
        ...


@dataclass(frozen=True, kw_only=True)
class ToonExamples:
    """Scenes of the drawn world, by consecutive seeds; made when asked for.

    ``weights`` gives the shares of scenes with one, two, three ... toons (any scale), and
    ``look_alike_share`` the share of scenes whose toons differ in one or two attributes only.
    ``portrait_share`` is the share of examples that are no scenes but one toon redrawn in another
    pose, 64 pixels square: a fifth of the cost of a scene, so a small model learns there first what
    to take from a reference. ``subject_words`` is how the prompt names a subject
    (`Limits.subject_words`).
    """

    count: int
    start: int = 0
    split: Literal["train", "validation", "test"] = "train"
    weights: tuple[float, ...] = (1.0, 1.0, 1.0)
    look_alike_share: float = 0.2
    portrait_share: float = 0.0
    subject_words: str = "{noun} {index}"

    def __post_init__(self) -> None:
        if self.count < 1 or self.start < 0:
            raise RequestError(
                f"toons: expected count 1 or more and start 0 or more; got {self.count}, "
                f"{self.start}"
            )
        if not self.weights or min(self.weights) < 0 or sum(self.weights) <= 0:
            raise RequestError(
                f"toons: weights: expected shares of 0 or more, not all 0; got {self.weights}"
            )
        for name in ("look_alike_share", "portrait_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise RequestError(f"toons: {name}: expected 0 to 1; got {getattr(self, name)}")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        from personae.toons import scene

        seed = self.start + index
        if np.random.default_rng([seed, 0xFACE]).random() < self.portrait_share:
            return self._portrait(seed)
        count, look_alikes = self.choice(seed)
        drawn = scene(seed, count=count, split=self.split, look_alikes=look_alikes)
        names = {
            member.name: self.subject_words.format(noun=member.toon.noun, index=number)
            for number, member in enumerate(drawn.members, start=1)
        }
        places = {member.name: place for place, member in enumerate(drawn.members)}
        said = drawn.relation
        relation = (places[said.first], said.words, places[said.second]) if said else None
        return Example(
            drawn.id,
            drawn.prompt.format(**names),
            drawn.image,
            tuple(member.reference.image for member in drawn.members),
            tuple(member.toon.noun for member in drawn.members),
            relation=relation,
        )

    def _portrait(self, seed: int) -> Example:
        from personae.toons import identities, portrait, toon

        one = toon(identities(self.split, 1, seed)[0])
        reference = portrait(one, 2 * seed)
        redrawn = portrait(one, 2 * seed + 1, than=reference.pose)
        words = self.subject_words.format(noun=one.noun, index=1)
        return Example(
            f"{self.split}-portrait-{seed:06d}",
            words,
            redrawn.image,
            (reference.image,),
            (one.noun,),
        )

    def choice(self, seed: int) -> tuple[int, bool]:
        """How many toons the scene of a seed holds, and whether they look alike."""
        rng = np.random.default_rng([seed, 0x5EED])
        shares = np.asarray(self.weights) / sum(self.weights)
        count = 1 + int(rng.choice(len(shares), p=shares))
        return count, bool(count > 1 and rng.random() < self.look_alike_share)

    def settings(self) -> Mapping[str, Any]:
        """See `ExampleSource`."""
        return {"toons": asdict(self)}


@dataclass(frozen=True)
class _Line:
    id: str
    prompt: str
    image: Path
    references: tuple[Path, ...]
    nouns: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = ()
    relation: tuple[int, str, int] | None = None


class ExampleFile:
    """Pictures listed in examples.jsonl: ``{"id", "image", "prompt", "references": [...]}`` a line.

    For rewards also ``"nouns": [...]``, ``"kinds": ["person", ...]`` and ``"relation": [0, "left
    of", 1]``, places among the references. ``license``, ``consent``, ``sources``, ``made_by``
    and ``task`` may be told too; they say where an example is from, and nothing is trained on them.

    Paths are relative to the file and may not leave its folder. ``sizes`` are the (width, height)
    that pictures are brought to: the nearest in shape, scaled to cover it and cropped at the
    center. References are padded to squares of ``reference_px`` on gray, never stretched; with 0
    they are left out, and with them what is said of them. What is
    wrong with a line stands in ``problems``; the line is left out.
    """

    def __init__(self, path: Path, sizes: tuple[tuple[int, int], ...], reference_px: int) -> None:
        if not sizes:
            raise RequestError(f"{path}: no sizes to bring pictures to; name some in the recipe")
        self.path = path
        self.sizes = sizes
        self.reference_px = reference_px
        self._lines, self.problems = _read_lines(path)
        if not self._lines:
            first = f"; first problem: {self.problems[0]}" if self.problems else ""
            raise DataError(f"{path}: holds no example{first}")

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Example:
        line = self._lines[index]
        image = fit_picture(_open(line.image, line.id), self.sizes)
        if not self.reference_px:
            return Example(line.id, line.prompt, image, ())
        references = (_open(path, line.id) for path in line.references)
        squares = tuple(fit_square(picture, self.reference_px) for picture in references)
        about = (line.nouns, line.kinds, line.relation)
        return Example(line.id, line.prompt, image, squares, *about)

    @cached_property
    def _content(self) -> str:
        """A hash of every line and of the size and time of every file it names."""
        digest = hashlib.sha256()
        for line in self._lines:
            digest.update(f"{line.id}\0{line.prompt}\0".encode())
            for path in (line.image, *line.references):
                facts = path.stat() if path.is_file() else None
                stamp = (facts.st_size, facts.st_mtime_ns) if facts else None
                digest.update(f"{path}\0{stamp}\0".encode())
        return digest.hexdigest()

    def settings(self) -> Mapping[str, Any]:
        """See `ExampleSource`."""
        sizes = [list(size) for size in self.sizes]
        return {"file": self._content, "sizes": sizes, "reference_px": self.reference_px}


def fit_picture(picture: Image.Image, sizes: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The picture at the size nearest in shape: scaled to cover it, cropped at the center.

    >>> fit_picture(Image.new("RGB", (300, 100)), ((128, 128), (192, 64))).shape
    (64, 192, 3)
    """
    shape = np.log(picture.width / picture.height)
    width, height = min(sizes, key=lambda size: abs(np.log(size[0] / size[1]) - shape))
    scale = max(width / picture.width, height / picture.height)
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    scaled = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(scaled.crop((left, top, left + width, top + height)))


def fit_square(picture: Image.Image, side: int) -> np.ndarray:
    """The whole picture inside a square, the rest gray.

    >>> fit_square(Image.new("RGB", (100, 50)), 64)[0, 0].tolist()
    [128, 128, 128]
    """
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    square = Image.new("RGB", (side, side), (128, 128, 128))
    square.paste(
        picture.resize(size, Image.Resampling.LANCZOS),
        ((side - size[0]) // 2, (side - size[1]) // 2),
    )
    return np.asarray(square)


def _open(path: Path, name: str) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"example {name}: {path}: cannot be read as a picture ({error}); mend the file or "
            "remove the line"
        ) from error


def _read_lines(path: Path) -> tuple[list[_Line], tuple[str, ...]]:
    lines: dict[str, _Line] = {}
    problems: list[str] = []
    for number, data in json_lines(path):
        where = f"{path}:{number}"
        try:
            if isinstance(data, DataError):
                raise data
            line = _line(data, path.parent, where)
            if line.id in lines:
                raise DataError(f"{where}: id {line.id!r} was used before; the first one is kept")
            lines[line.id] = line
        except DataError as problem:
            problems.append(str(problem))
    return list(lines.values()), tuple(problems)


def _line(data: Any, folder: Path, where: str) -> _Line:
    if not isinstance(data, dict) or not set(data) <= {*_KEYS, *_MORE_KEYS, *_PASSED_KEYS}:
        raise DataError(
            f"{where}: expected an object with keys {list(_KEYS)}, and perhaps "
            f"{list(_MORE_KEYS)}; got {_keys(data)}"
        )
    missing = [key for key in _KEYS if key not in data]
    if missing:
        raise DataError(f"{where}: key {missing[0]!r} is missing; got {_keys(data)}")
    if not isinstance(data["prompt"], str) or not isinstance(data["references"], list):
        raise DataError(f"{where}: expected a text as prompt and a list of paths as references")
    references = tuple(_path(item, folder, where) for item in data["references"])
    image = _path(data["image"], folder, where)
    return _Line(str(data["id"]), data["prompt"], image, references, **_about(data, where))


def _about(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What rewards ask for, where a line has it."""
    num, told = len(data["references"]), {key: data[key] for key in _MORE_KEYS if key in data}
    for key in ("nouns", "kinds"):
        words = told.get(key, [""] * num)
        is_list = isinstance(words, list) and all(isinstance(word, str) for word in words)
        if not is_list or len(words) != num or (key in told and not all(words)):
            raise DataError(f"{where}: {key}: expected {num} texts, one a reference; got {words!r}")
    if not set(told.get("kinds", ())) <= set(KINDS):
        raise DataError(f"{where}: kinds: expected some of {KINDS}; got {told['kinds']}")
    if "relation" in told and not _is_relation(told["relation"], num):
        raise DataError(
            f'{where}: relation: expected [0, "left of", 1] with places below {num}; '
            f"got {told['relation']!r}"
        )
    return {key: tuple(value) for key, value in told.items()}


def _is_relation(told: Any, num: int) -> bool:
    """Two different places below ``num``, and words between them?"""
    if not isinstance(told, (list, tuple)) or [type(item) for item in told] != [int, str, int]:
        return False
    return told[0] in range(num) and told[2] in range(num) and told[0] != told[2]


def _path(text: Any, folder: Path, where: str) -> Path:
    if not isinstance(text, str) or not text:
        raise DataError(f"{where}: expected a path; got {text!r}")
    path = folder / text
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{where}: {text!r} leaves {folder}; move the file below it")
    return path


def _keys(data: Any) -> str:
    return json.dumps(sorted(data)) if isinstance(data, dict) else type(data).__name__

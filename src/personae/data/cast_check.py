"""What is odd about a cast, said before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from personae.errors import DataError
from personae.subjects.references import load_reference
from personae.subjects.subject import ReferenceFile, Subject

__all__ = ["cast_oddities", "require_tokens"]

_FEW_PHOTOS = 3
_ALMOST_ALL = 0.95
_ALMOST_NONE = 0.01


def require_tokens(subjects: Sequence[Subject], where: str) -> None:
    """Refuse a cast in which two subjects answer to one name.

    Raises:
        DataError: a token is used twice, or two subjects without tokens have one noun.
    """
    names = Counter(subject.token or subject.noun for subject in subjects)
    name, count = names.most_common(1)[0]
    if count > 1:
        same = [s.id for s in subjects if (s.token or s.noun) == name]
        raise DataError(
            f"{where}: subjects {same} would all be called {name!r}; give each a token of its own"
        )


def cast_oddities(
    subjects: Sequence[Subject], pieces: Callable[[str], int] | None = None
) -> Iterator[str]:
    """What may be meant and may be a mistake, in words; nothing here stops a run.

    Args:
        subjects: the cast.
        pieces: into how many pieces the model's tokenizer splits a word; None: not asked.
    """
    nouns = Counter(subject.noun for subject in subjects)
    for noun, count in nouns.items():
        if count > 1:
            same = [subject.id for subject in subjects if subject.noun == noun]
            yield (
                f"{same} share the noun {noun!r}; a descriptive noun for each keeps them apart "
                "better"
            )
    for subject in subjects:
        yield from _oddities(subject, pieces)


def _oddities(subject: Subject, pieces: Callable[[str], int] | None) -> Iterator[str]:
    name, photos = subject.id, len(subject.references)
    if photos < _FEW_PHOTOS:
        yield f"{name}: {photos} photo{'s' * (photos > 1)}; five show more of it than one pose"
    if subject.token is None:
        yield f"{name}: no token; what it learns, every {subject.noun!r} will be"
    elif pieces is not None and (count := pieces(subject.token)) > 1:
        yield (
            f"{name}: the model's tokenizer splits its token {subject.token!r} into {count} "
            "pieces; a word that is one piece is learned faster"
        )
    bare = sum(file.caption is None for file in subject.references)
    if bare:
        yield f"{name}: {bare} of {photos} photos have no caption; data.cast.photo stands in"
    for file in subject.references:
        if file.mask is not None:
            yield from _mask_oddity(name, file)


def _mask_oddity(name: str, file: ReferenceFile) -> Iterator[str]:
    try:
        mask = load_reference(file).mask
    except DataError as problem:
        yield str(problem)
        return
    share = 0.0 if mask is None else float(mask.mean())
    if share > _ALMOST_ALL:
        yield f"{name}: the mask of {file.image.name} covers {100 * share:.0f} in 100 of the photo"
    elif share < _ALMOST_NONE:
        yield f"{name}: the mask of {file.image.name} covers less than 1 in 100 of the photo"

"""Scenes: what is asked for in one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from personae.errors import DataError
from personae.subjects.layout import Layout
from personae.subjects.subject import Kind, Subject

__all__ = ["Claim", "Relation", "Scene"]


@dataclass(frozen=True)
class Claim:
    """Something that the prompt says and a judge can check in the picture.

    ``kind`` is what is asked ("place", "wears", "action", "relation", "count"), ``subject`` whom
    it is about (None: the picture), ``expected`` the answer.
    """

    kind: str
    subject: str | None
    expected: str


@dataclass(frozen=True)
class Relation:
    """Two subjects and how the first one lies to the second, in words: "left of"."""

    first: str
    words: str
    second: str


@dataclass(frozen=True)
class Scene:
    """A prompt, the subjects it names in braces, and where they are to be.

    ``claims`` are what a judge is to check. ``where`` says file and line for messages.
    """

    id: str
    prompt: str
    subjects: Mapping[str, Subject]
    layout: Layout = field(default_factory=dict)
    relation: Relation | None = None
    claims: tuple[Claim, ...] = ()
    where: str = "(in memory)"

    def __post_init__(self) -> None:
        if not self.id or "/" in self.id or self.id in {".", ".."}:
            raise DataError(
                f"{self.where}: scene id {self.id!r} cannot name a picture; "
                "expected a file name without a slash"
            )
        if not self.subjects:
            raise DataError(
                f"{self.where}: scene {self.id!r} has no subjects; give it at least one"
            )
        if self.relation is not None:
            self._check_relation(self.relation)
        for claim in self.claims:
            if claim.subject is not None and claim.subject not in self.subjects:
                raise DataError(
                    f"{self.where}: a claim is about {claim.subject!r}, which is no subject "
                    f"of the scene {list(self.subjects)}"
                )

    def _check_relation(self, relation: Relation) -> None:
        for name in (relation.first, relation.second):
            if name not in self.subjects:
                raise DataError(
                    f"{self.where}: relation names {name!r}, which is no subject "
                    f"of the scene {list(self.subjects)}"
                )
        if relation.first == relation.second:
            raise DataError(f"{self.where}: relation names {relation.first!r} twice")

    @property
    def words(self) -> str:
        """The prompt with each ``{id}`` replaced by that subject's noun.

        >>> from pathlib import Path
        >>> from personae.subjects.subject import ReferenceFile, Subject
        >>> cup = Subject("cup", "blue cup", "object", (ReferenceFile(Path("cup.jpg")),))
        >>> Scene("s", "a {cup} on a table", {"cup": cup}).words
        'a blue cup on a table'
        """
        words = self.prompt
        for name, subject in self.subjects.items():
            words = words.replace("{" + name + "}", subject.noun)
        return words

    def of_kind(self, *kinds: Kind) -> dict[str, Subject]:
        """The subjects of these kinds, in the scene's order."""
        return {name: item for name, item in self.subjects.items() if item.kind in kinds}

"""Examples as rewards are told of them."""

from __future__ import annotations

from collections import OrderedDict

from personae.data.examples import Example, ExampleSource
from personae.subjects.scene import Relation
from personae.subjects.subject import Reference
from personae.training.rewards.asked import Asked

__all__ = ["AskedExamples", "asked_of"]


def asked_of(example: Example) -> Asked:
    """What a picture drawn for this example is to hold; subjects are named "1", "2", ...

    >>> import numpy as np
    >>> photo = np.zeros((64, 64, 3), np.uint8)
    >>> asked = asked_of(Example("a", "a girl", photo, (photo, photo), ("girl", "man")))
    >>> asked.nouns
    {'1': 'girl', '2': 'man'}
    """
    names = [str(place) for place in range(1, len(example.references) + 1)]
    relation = example.relation
    return Asked(
        subjects={
            name: (Reference(image, path=f"{example.id}, reference {name}"),)
            for name, image in zip(names, example.references, strict=True)
        },
        nouns=dict(zip(names, example.nouns, strict=False)),
        kinds=dict(zip(names, example.kinds, strict=False)),
        prompt=example.prompt,
        relation=relation and Relation(names[relation[0]], relation[1], names[relation[2]]),
    )


class AskedExamples:
    """`asked_of` by an example's place in its source; the last ``most_bytes`` of references kept.

    References are read again rather than stored with the latents: descriptors are all that most
    rewards need of them, and those are remembered by the rewards.
    """

    def __init__(self, source: ExampleSource, most_bytes: int = 1 << 30) -> None:
        self._source, self._most, self._held = source, most_bytes, 0
        self._kept: OrderedDict[int, Asked] = OrderedDict()

    def __getitem__(self, number: int) -> Asked:
        if number not in self._kept:
            self._kept[number] = asked_of(self._source[number])
            self._held += _num_bytes(self._kept[number])
            while self._held > self._most and len(self._kept) > 1:
                self._held -= _num_bytes(self._kept.popitem(last=False)[1])
        self._kept.move_to_end(number)
        return self._kept[number]


def _num_bytes(asked: Asked) -> int:
    return sum(one.image.nbytes for held in asked.subjects.values() for one in held)

"""Prompts with subjects in braces, from published prompts that name them by words."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["braced", "subject_ids"]


def subject_ids(nouns: Sequence[str]) -> list[str]:
    """An id for each noun: letters and digits, numbered where a noun comes again.

    >>> subject_ids(["old man", "man", "man"])
    ['old-man', 'man', 'man-2']
    """
    ids: list[str] = []
    for noun in nouns:
        base = re.sub(r"[^a-z0-9]+", "-", noun.lower()).strip("-") or "subject"
        number, name = 1, base
        while name in ids:
            number += 1
            name = f"{base}-{number}"
        ids.append(name)
    return ids


def braced(prompt: str, nouns: Sequence[str], ids: Sequence[str]) -> tuple[str, list[str]]:
    """The prompt with the first free mention of each noun as ``{id}``, and the words it had there.

    Longer nouns choose first, so that "man" does not take the end of "old man"; of equal nouns the
    first subject is the first mention. A noun that is not in the prompt leaves it as it is. With
    the words as nouns, `Scene.words` is the prompt again. Braces of the prompt itself become
    parentheses.

    >>> braced("An old man and a man.", ["man", "old man"], ["man", "old-man"])
    ('An {old-man} and a {man}.', ['man', 'old man'])
    """
    prompt = prompt.translate(str.maketrans("{}", "()"))
    taken: dict[int, tuple[int, int]] = {}
    for index in sorted(range(len(nouns)), key=lambda i: -len(nouns[i])):
        pattern = rf"(?<!\w){re.escape(nouns[index])}(?!\w)"
        for match in re.finditer(pattern, prompt, re.IGNORECASE):
            if all(match.end() <= start or end <= match.start() for start, end in taken.values()):
                taken[index] = match.span()
                break
    words = [
        prompt[slice(*taken[index])] if index in taken else noun for index, noun in enumerate(nouns)
    ]
    for index, (start, end) in sorted(taken.items(), key=lambda item: -item[1][0]):
        prompt = f"{prompt[:start]}{{{ids[index]}}}{prompt[end:]}"
    return prompt, words

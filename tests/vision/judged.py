"""Questions and judges that the tests of judges share."""

from __future__ import annotations

import numpy as np

from personae.vision.judges import Judgement, Question, Shown
from personae.vision.language import Reply


def picture(seed: int = 0, size=(40, 30)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def question(seed: int = 0, kind="mark", **more) -> Question:
    asked = {"criterion": "test", "words": "How many?", "picture": picture(seed), **more}
    return Question(kind, **asked)


REFERENCES = (Shown(picture(1), "a", "grey cat"), Shown(picture(2)))


class Scripted:
    """A model that says, or raises, each of its lines in turn, the last one again and again."""

    name, temperature, max_tokens = "scripted", 0.0, 100

    def __init__(self, *lines) -> None:
        self.lines, self.talks, self.seeds, self.schemas = list(lines), [], [], []

    def reply(self, messages, *, seed=None, schema=None):
        self.talks.append(list(messages))
        self.seeds.append(seed)
        self.schemas.append(schema)
        line = self.lines[min(len(self.talks), len(self.lines)) - 1]
        if isinstance(line, Exception):
            raise line
        return Reply(line, "scripted-1")


class Counting:
    """A judge that marks by a picture's first pixel, and remembers what it was asked."""

    name, num_threads = "counting", 4

    def __init__(self, settings=None) -> None:
        self.settings, self.asked = settings or {}, []

    def judge(self, question, repeat=0):
        self.asked.append((question.digest, repeat))
        return Judgement(float(question.picture[0, 0, 0] % 11), None, f"the {repeat}-th time")

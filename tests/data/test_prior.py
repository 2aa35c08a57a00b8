"""Priors: what is drawn for bare nouns, by which words, once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from personae.data.prior import PRIOR_NEGATIVE, PriorTask, draw_priors
from personae.errors import RequestError
from personae.subjects.picture import read_picture
from tests.generation.fake import LIMITS, FakeBackbone

NOUNS = {"a": "corgi", "b": "russian blue"}


class Alone(FakeBackbone):
    """Draws without references: a gray of the noise."""

    def draw(self, prompt, references, **settings):
        assert not references
        gray = np.zeros((8, 8, 3), np.uint8)
        return super().draw(prompt, [gray], **settings)


def test_each_noun_is_drawn_by_the_words_and_never_again(tmp_path) -> None:
    backbone, task = Alone(), PriorTask(count=3)
    draw_priors(backbone, NOUNS, tmp_path, task)
    told = [(call["prompt"], call["negative"], call["guidance"]) for call in backbone.calls]
    assert len(told) == 6 and {guidance for *_, guidance in told} == {LIMITS.guidance}
    assert {negative for _, negative, _ in told} == {PRIOR_NEGATIVE}
    assert [prompt.startswith("a photo of a corgi, simple") for prompt, *_ in told] == [
        True, True, True, False, False, False,
    ]  # fmt: skip
    first = [read_picture(tmp_path / "a" / f"0{n}.png") for n in range(3)]
    assert not np.array_equal(first[0], first[1])
    assert (tmp_path / "b" / "noun.txt").read_text() == "russian blue\n"
    (tmp_path / "a" / "01.png").unlink()
    draw_priors(backbone, NOUNS, tmp_path, task)
    assert len(backbone.calls) == 7
    assert np.array_equal(read_picture(tmp_path / "a" / "01.png"), first[1])


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_without_guidance_nothing_is_turned_away_from(tmp_path, guidance) -> None:
    backbone = Alone()
    draw_priors(backbone, {"a": "corgi"}, tmp_path, PriorTask(count=1, guidance=guidance))
    assert backbone.calls[0]["negative"] == "" and backbone.calls[0]["guidance"] == guidance


def test_guidance_that_the_network_is_told_serves_no_negative_words(tmp_path) -> None:
    backbone = Alone()
    backbone.limits = replace(LIMITS, guidance_embedded=True)
    draw_priors(backbone, {"a": "corgi"}, tmp_path, PriorTask(count=1, guidance=3.5))
    assert backbone.calls[0]["negative"] == ""


def test_what_cannot_be_a_prior_is_refused() -> None:
    for wrong in ({"count": 0}, {"words": "a photo"}):
        with pytest.raises(RequestError, match=r"priors: expected count 1 or more and words with"):
            PriorTask(**wrong)

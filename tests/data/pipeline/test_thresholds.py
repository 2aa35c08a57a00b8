"""What filters ask by default, by the eyes that look."""

from __future__ import annotations

import pytest

from personae.data.pipeline.alike import Alike
from personae.data.pipeline.pairs import Pairs
from personae.data.pipeline.people import Faces
from personae.data.pipeline.thresholds import THRESHOLDS, thresholds


@pytest.mark.parametrize("eyes", [*THRESHOLDS, "arcface:net.onnx"])
def test_steps_ask_what_was_measured_of_their_eyes(eyes: str) -> None:
    own = thresholds(eyes)
    assert Pairs(eyes=eyes).limits == Alike(eyes=eyes).limits == Faces(eyes=eyes).limits == own
    assert 0 < own.different <= own.same < 1 and 0.5 < own.most_copied < 1


def test_what_somebody_asks_for_goes_over_it_zero_too() -> None:
    asked = Alike(eyes="toons", same=0.0, least_sharp=3.5)
    own = THRESHOLDS["toons"]
    assert (asked.limits.same, asked.limits.least_sharp) == (0.0, 3.5)
    assert asked.limits.different == own.different
    told = Faces(eyes="toons").settings()
    assert (told["least_px"], told["least_sharp"]) == (own.least_px, own.least_sharp)
    assert Pairs(eyes="toons").settings() != Pairs(eyes="toons", same=0.1).settings()
    assert Pairs(eyes="dlib", same=0.1).settings()["same"] == 0.1

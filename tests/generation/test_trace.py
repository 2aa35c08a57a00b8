"""The true classes, tiny: the same picture whatever the batch, and the glimpses on the way."""

from __future__ import annotations

import numpy as np
import pytest

from personae.generation import Drawing, draw, generate, trace
from tests.generation.fake import scenes

SMALL = Drawing(size=(64, 64), steps=3)


def gap(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


@pytest.mark.parametrize(
    ("guidance", "references", "regions"),
    [
        (1.0, 1.0, False),
        (3.0, 1.0, False),
        (1.0, 3.0, False),
        (2.0, 2.0, False),
        (2.0, 2.0, True),
    ],
)
def test_the_last_glimpse_is_the_picture(
    tiny, tmp_path, guidance: float, references: float, regions: bool
) -> None:
    (scene,) = scenes(tmp_path, "s")
    drawing = Drawing(
        size=(64, 64),
        steps=3,
        guidance=guidance,
        reference_guidance=references,
        regions=regions,
        layout="planned",
    )
    glimpses = trace(tiny, scene, 2, drawing)
    times = [glimpse.time for glimpse in glimpses]
    assert len(times) == 4
    assert (times[0], times[-1]) == (1.0, 0.0)
    assert times == sorted(times, reverse=True)
    picture = draw(tiny, scene, 2, drawing)
    assert gap(glimpses[-1].picture, picture) <= 1
    assert gap(glimpses[-1].picture, glimpses[-2].picture) <= 1, (
        "the last step goes to the estimate"
    )
    assert gap(glimpses[0].picture, picture) > 1


def test_the_same_file_whatever_the_batch(tiny, tmp_path) -> None:
    cast = scenes(tmp_path, "s")
    content = []
    for batch in (1, 2, 3):
        out = tmp_path / str(batch)
        generate(cast, tiny, out, SMALL, seeds=3, batch=batch)
        content.append([(out / f"images/s/{seed}.png").read_bytes() for seed in range(3)])
    assert content[0] == content[1] == content[2]
    assert len(set(content[0])) == 3


def test_references_prompt_and_start_reach_the_model(tiny, tmp_path) -> None:
    (scene,) = scenes(tmp_path / "a", "s")
    (three,) = scenes(tmp_path / "b", "s", subjects=("bob", "ann", "cid"))
    first = draw(tiny, scene, 0, SMALL)
    assert np.array_equal(first, draw(tiny, scene, 0, SMALL))
    shifted = Drawing(size=(64, 64), steps=3, init="mean-shift", gamma=1.0)
    for other in (
        draw(tiny, scene, 1, SMALL),
        draw(tiny, three, 0, SMALL),
        draw(tiny, scene, 0, shifted),
    ):
        assert not np.array_equal(first, other)

"""Pictures by regions: what each subject's prompt is, and what a row says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from personae.compute.runs import read_json, read_rows
from personae.errors import RequestError
from personae.generation import Drawing, draw, generate
from personae.generation.regions import regional_prompts
from tests.generation.fake import LIMITS, FakeBackbone, scenes
from tests.generation.test_relation_words import scene

SMALL = {"size": (96, 64), "steps": 2}


@pytest.mark.parametrize(
    ("prompt", "first"),
    [
        ("{a} and {b} in a park", "noun a 1 in a park"),
        ("{a} and {b} floating on a pool.", "noun a 1 floating on a pool"),
        ("{a} is chasing {b} in a park", "noun a 1 in a park"),
        ("A photo of {a} and {b} on a beach, {a} left of {b}, {a} waving, {b} asleep",
         "noun a 1 on a beach, noun a 1 waving"),
        ("{a} hugging {b}", "noun a 1"),
        ("{a} and {b} hugging", "noun a 1"),
        ("{a} and {b} with hats in a park", "noun a 1"),
        ("{a} in a park, {b} in a park", "noun a 1 in a park"),
        ("", "noun a 1"),
    ],
)  # fmt: skip
def test_a_subject_s_prompt_is_its_name_the_place_and_what_is_said_of_it(prompt, first) -> None:
    assert regional_prompts(scene(prompt, "a", "b"), LIMITS)["a"] == first


def test_without_regions_pictures_are_as_before(tiny, tmp_path) -> None:
    (one,) = scenes(tmp_path, "s")
    plain = draw(tiny, one, 0, Drawing(**SMALL))
    assert np.array_equal(draw(tiny, one, 0, Drawing(**SMALL, layout="planned")), plain)
    regional = draw(tiny, one, 0, Drawing(**SMALL, regions=True, layout="halves"))
    assert (regional != plain).any()
    off = draw(tiny, one, 0, Drawing(**SMALL, regions=True, layout="halves", region_weight=0))
    assert np.array_equal(off, plain)


def test_a_batch_of_random_layouts_is_each_picture_s_own(tiny, tmp_path) -> None:
    """Each seed has other boxes; drawn together or alone makes no difference."""
    (one,) = scenes(tmp_path, "s")
    drawing = Drawing(**SMALL, regions=True, layout="random", init="mean-shift")
    generate([one], tiny, tmp_path / "out", drawing, seeds=3, batch=3)
    rows = list(read_rows(tmp_path / "out" / "images.jsonl"))
    assert all(row["error"] is None for row in rows)
    boxes = [row["regions"]["boxes"] for row in rows]
    assert boxes[0] != boxes[1]
    assert [row["init"]["boxes"] for row in rows] == boxes
    assert rows[0]["regions"]["prompts"] == {"ann": "girl 1 in a park", "bob": "girl 2 in a park"}
    from PIL import Image

    with Image.open(tmp_path / "out/images/s/2.png") as stored:
        assert np.array_equal(np.asarray(stored), draw(tiny, one, 2, drawing))


def test_a_folder_begun_before_regions_can_be_gone_on_with(tmp_path) -> None:
    out, one = tmp_path / "out", scenes(tmp_path, "one")
    generate(one, FakeBackbone(), out)
    path = out / "generation.json"
    settings = read_json(path)
    assert settings.pop("regions") is settings.pop("region_weight") is settings.pop("planner")
    path.write_text(__import__("json").dumps(settings))
    assert generate(one, FakeBackbone(), out).num_pictures == 1
    with pytest.raises(RequestError, match="regions"):
        generate(one, FakeBackbone(), out, Drawing(regions=True))
    assert next(read_rows(out / "images.jsonl"))["regions"] is None


def test_a_family_without_regions_is_a_failure_that_says_so(tmp_path) -> None:
    backbone = FakeBackbone()
    backbone.pipeline = object()
    drawing = Drawing(regions=True, layout="planned")
    summary = generate(scenes(tmp_path, "one"), backbone, tmp_path / "out", drawing)
    assert "regional control knows" in summary.failures[0].reason


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(RequestError, match="region_weight"):
        Drawing(region_weight=weight)


def test_relative_sizes_reach_the_regions(tiny, tmp_path) -> None:
    (one,) = scenes(tmp_path, "s")
    one = replace(one, prompt="{ann} left of {bob}")
    drawing = Drawing(**SMALL, regions=True, layout="planned", relative_sizes={"bob": 0.5})
    generate([one], tiny, tmp_path / "out", drawing)
    boxes = next(read_rows(tmp_path / "out" / "images.jsonl"))["regions"]["boxes"]
    heights = {name: box[3] - box[1] for name, box in boxes.items()}
    assert heights["bob"] / heights["ann"] == pytest.approx(0.5, abs=1e-4)

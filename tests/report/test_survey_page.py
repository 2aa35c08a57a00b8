"""The file of a survey: whole, small enough, and silent about whose a picture is."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from personae.errors import DataError, RequestError
from personae.evaluation.survey import make_survey
from personae.evaluation.survey_design import Plan
from personae.report import write_survey_page
from tests.evaluation.people import write_models
from tests.report.test_page import Reader

PLAN = Plan(kinds=("each", "pair"), raters=3, questions=10, judges=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    folders, _ = write_models(folder, models=("modelone", "modeltwo"))
    survey = make_survey(folders, PLAN, folder / "out")
    return survey, write_survey_page(survey, folder / "out")


@pytest.fixture(scope="module")
def page(made):
    return Reader(made[1].read_text(encoding="utf-8"))


def opened(data):
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_nothing_says_whose_a_picture_is(made, page):
    text = made[1].read_text(encoding="utf-8").lower()
    assert "modelone" not in text and "modeltwo" not in text and "images/" not in text
    asked = page.scripts["survey"]
    assert set(page.json("survey")) == {"survey", "scenes", "sheets"}
    assert not [word for word in ("expected", "repeats", "each", "pair", ".png") if word in asked]


def test_a_check_looks_like_any_other_question(page):
    sheets = page.json("survey")["sheets"]
    assert {len(question) for sheet in sheets for question in sheet} == {3, 4}


def test_pictures_are_those_of_the_key(made, page):
    survey, _ = made
    pictures = page.json("pictures")
    assert len(pictures) == len(survey.key.pictures)
    for data, known, path in zip(pictures, survey.key.pictures, survey.files, strict=True):
        image = opened(data)
        assert image.format == "WEBP" and not image.getexif() and not image.info.get("xmp")
        if known.what == "references":
            # Two photos of 32x40, each 512 high.
            assert image.width / image.height == pytest.approx(2 * 410 / 512, rel=0.02)
        else:
            with Image.open(path) as shown:
                assert image.size == shown.size


def test_the_page_asks_what_the_key_says(made, page):
    key, asked = made[0].key, page.json("survey")
    assert asked["survey"] == key.survey
    for rater, sheet in enumerate(asked["sheets"], start=1):
        known = key.sheet(rater)
        assert [question[0] for question in sheet] == [question.id for question in known]
        assert [tuple(question[2:]) for question in sheet] == [q.shown for q in known]
    scene = asked["scenes"][0]
    assert scene["prompt"] == [0, " beside ", 1, ", & <b>"]
    assert [subject["noun"].split()[1] for subject in scene["subjects"]] == ["cat", "dog"]
    references = page.json("references")
    assert {len(subject["photos"]) for subject in scene["subjects"]} == {1}
    assert opened(references[scene["subjects"][0]["photos"][0]]).size == (32, 40)


def test_nothing_is_asked_from_outside(made, page):
    text = made[1].read_text(encoding="utf-8")
    assert "://" not in text
    (policy,) = [a["content"] for _, a in page.tags if "http-equiv" in a]
    assert policy.startswith("default-src 'none'")
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed"}
        assert not attributes.get("src") and not (tag == "script" and "src" in attributes)


def noisy(folder, count):
    folders, _ = write_models(folder, num_scenes=count, seeds=1)
    for path in sorted(folder.glob("*/images/*/0.png")):
        Image.effect_noise((192, 192), 90).convert("RGB").save(path)
    return folders


def test_the_page_keeps_its_size(tmp_path):
    folders = noisy(tmp_path, 4)
    survey = make_survey(folders, PLAN, tmp_path / "out")
    sizes = [
        write_survey_page(survey, tmp_path / "out", max_mb=limit).stat().st_size
        for limit in (0.15, 0.25, 12)
    ]
    assert sizes[0] <= 150_000 and sizes[1] <= 250_000
    assert sizes[0] < sizes[1] < sizes[2] < 12_000_000
    with pytest.raises(RequestError, match=r"do not fit a page of 0\.05 MB.*--max-mb"):
        write_survey_page(survey, tmp_path / "out", max_mb=0.05)
    assert (tmp_path / "out" / "survey.html").stat().st_size == sizes[2]


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    folders, _ = write_models(tmp_path, num_scenes=2, seeds=1)
    plan = Plan(kinds=("pair",), raters=1, questions=2, judges=1)
    (tmp_path / "ours" / "images" / "s1" / "0.png").write_bytes(b"no picture")
    survey = make_survey(folders, plan, tmp_path / "out")
    with pytest.raises(DataError, match=r"s1/0.png: picture could not be read"):
        write_survey_page(survey, tmp_path / "out")
    assert not (tmp_path / "out" / "survey.html").exists()


def test_hostile_words_stay_words(tmp_path):
    folders, _ = write_models(tmp_path, num_scenes=2, seeds=1)
    scenes = tmp_path / "set" / "scenes.jsonl"
    rows = [json.loads(line) for line in scenes.read_text().splitlines()]
    for row in rows:
        row["prompt"] = "</script><script>window.ran=1</script>{a}{b}"
        row["subjects"]["a"]["noun"] = "</script><img src=x onerror=1>"
    scenes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = Plan(kinds=("pair",), raters=1, questions=2, judges=1)
    path = write_survey_page(make_survey(folders, plan, tmp_path / "out"), tmp_path / "out")
    found = Reader(path.read_text(encoding="utf-8"))
    assert [tag for tag, _ in found.tags].count("script") == 4
    assert found.json("survey")["scenes"][0]["prompt"][0].startswith("</script>")

"""Prompts against pictures: rows beside those of the eyes, or a reason why there is none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from personae.cli import main
from personae.compute.runs import RowLog, read_json, read_rows
from personae.errors import RequestError, WeightsError
from personae.evaluation.evaluate import Evaluation, evaluate
from personae.evaluation.measure import Shot
from personae.evaluation.texts import build_text_scorers, score_texts
from personae.metrics.cards import METRICS
from personae.metrics.witnesses import EyesChoice
from personae.subjects.manifest import read_scenes
from personae.subjects.picture import read_picture
from personae.toons import scene, write_scenes
from personae.vision.preference import ClipScorer
from tests.vision.tiny_clip import save_tiny_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def toons(tmp_path: Path) -> Path:
    """Three scenes with their truth as pictures."""
    write_scenes((scene(seed, count=2) for seed in range(3)), tmp_path, truth=True)
    return tmp_path


def task(toons: Path, **changes) -> Evaluation:
    eyes = EyesChoice(faces="toons", cache=None)
    settings = {"scenes": toons / "scenes.jsonl", "images": toons / "truth", "out": toons / "out"}
    return Evaluation(**{**settings, "eyes": eyes, **changes})


def texts_of(out: Path) -> dict[str, dict]:
    return {
        row["scene"]: row for row in read_rows(out / "results.jsonl") if row["metric"] == "clip_t"
    }


def test_clip_t_is_the_cosine_of_picture_and_prompt_by_nouns(toons: Path, clip: Path) -> None:
    evaluate(task(toons, texts=(f"clip:{clip}",)))
    found, scorer = texts_of(toons / "out"), ClipScorer(clip)
    assert len(found) == 3 and len({row["value"] for row in found.values()}) == 3
    for one in read_scenes(toons / "scenes.jsonl").scenes:
        words = one.prompt
        for name, subject in one.subjects.items():
            words = words.replace("{" + name + "}", subject.noun)
        image = read_picture(toons / "truth" / one.id / "0.png")
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
        row = found[one.id]
        assert row["details"] == {"prompt": words} and "{" not in words
        assert row["value"] == pytest.approx(scorer.score(pixels, [words]).item(), abs=1e-6)
        assert row["eyes"] == scorer.name and row["protocol"] == "official"
    (summed,) = [
        item
        for item in read_json(toons / "out" / "summary.json")["metrics"]
        if item["metric"] == "clip_t"
    ]
    assert summed["n"] == 3
    assert summed["mean"] == pytest.approx(np.mean([row["value"] for row in found.values()]))


def test_rows_are_kept_made_again_and_dropped_as_those_of_eyes_are(
    toons: Path, clip: Path, tmp_path: Path
) -> None:
    asked = task(toons, texts=(f"clip:{clip}",))
    evaluate(asked)
    before = (toons / "out" / "results.jsonl").read_bytes()
    evaluate(asked)
    assert (toons / "out" / "results.jsonl").read_bytes() == before
    # Without the model its rows stay, and the eyes have nothing to look at again.
    assert evaluate(task(toons)).num_scored_now == 0
    assert (toons / "out" / "results.jsonl").read_bytes() == before
    first, second, third = texts_of(toons / "out")
    shutil.copy(toons / "truth" / second / "0.png", toons / "truth" / first / "0.png")
    shutil.rmtree(toons / "truth" / third)
    evaluate(asked)
    now = texts_of(toons / "out")
    told = [json.loads(line) for line in before.splitlines()]
    old = {row["scene"]: row for row in told if row["metric"] == "clip_t"}
    assert now[first]["value"] != old[first]["value"] and now[second] == old[second]
    assert now[third]["value"] is None
    assert now[third]["unmeasured"] == "the scene has no picture"
    assert len(texts_of(toons / "out")) == 3


def test_what_cannot_be_read_has_a_reason_and_takes_no_other_with_it(
    toons: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = (one.id for one in read_scenes(toons / "scenes.jsonl").scenes)
    (toons / "truth" / first / "0.png").write_bytes(b"no picture")
    whole = ClipScorer.score

    def failing(self, pictures, prompts):
        asked.append(len(asked))
        if len(asked) == 1:
            raise RuntimeError("a layer is broken")
        return whole(self, pictures, prompts)

    asked: list[int] = []
    monkeypatch.setattr(ClipScorer, "score", failing)
    evaluate(task(toons, texts=(f"clip:{clip}",)))
    found = texts_of(toons / "out")
    assert "0.png" in found[first]["unmeasured"]
    assert found[second]["unmeasured"] == "alignment failed (RuntimeError: a layer is broken)"
    assert sum(row["value"] is not None for row in found.values()) == 1


def test_an_empty_prompt_is_unmeasured(toons: Path, clip: Path, tmp_path: Path) -> None:
    (one, *_) = read_scenes(toons / "scenes.jsonl").scenes
    shot = Shot(replace(one, prompt=" "), 0, toons / "truth" / one.id / "0.png", "x")
    with RowLog(tmp_path / "rows.jsonl") as log:
        assert score_texts(build_text_scorers([f"clip:{clip}"]), [shot], log, lambda _: "1") == 1
    (row,) = read_rows(tmp_path / "rows.jsonl")
    assert (row["value"], row["unmeasured"]) == (None, "the prompt is empty")


def test_names_that_are_none_and_weights_that_are_not_there(tmp_path: Path, clip: Path) -> None:
    for texts in (["blip"], [f"clip:{clip}", f"clip:{clip}"]):
        with pytest.raises(RequestError, match=r"expected each once of clip, imagereward"):
            build_text_scorers(texts)
    with pytest.raises(WeightsError, match="no CLIPModel could be loaded"):
        build_text_scorers([f"clip:{tmp_path}"])


def test_the_command_takes_it_and_every_metric_has_a_card(toons: Path, clip: Path, capsys) -> None:
    asked = ["evaluate", toons / "scenes.jsonl", "--images", toons / "truth", "--out", toons / "o"]
    more = ["--faces", "toons", "--workers", "1", "--text", f"clip:{clip}", "--text-device", "cpu"]
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, asked), *more])
    assert not stopped.value.code
    assert "clip_t" in capsys.readouterr().out and len(texts_of(toons / "o")) == 3
    assert {"clip_t", "image_reward", "pick_score", "hps_v3"} <= METRICS.keys()

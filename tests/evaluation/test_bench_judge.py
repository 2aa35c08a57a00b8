"""A judge through `personae bench`: an endpoint on loopback, a folder; one that dies, one asked
again and again."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from personae.cli import main
from personae.compute.runs import read_json, read_rows, write_json
from personae.evaluation.judge_agreement import agreement_told, judge_agreement
from personae.report.bench_page import write_bench_page
from personae.vision.judges import Asking
from tests.evaluation.suites.folders import photo
from tests.training.rewards.clients import eventually
from tests.vision.fake_endpoint import chat, serving
from tests.vision.tiny_seeing import save_llava

GONE = (401, {}, b'{"error": {"message": "the key was taken back"}}')
COLUMNS = ["--column=prompt=say", "--column=references=refs", "--column=subset=task"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, a cache of its own, and nobody who looks for the other columns."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("personae.cli.bench.judgement_folder", lambda: tmp_path / "kept")

    def nobody_looks(task, progress=None) -> None:
        write_json(task.out / "run.json", {"eyes": {}, "problems": []})
        write_json(task.out / "summary.json", {"environment": {}})
        (task.out / "results.jsonl").touch()

    monkeypatch.setattr("personae.evaluation.bench.evaluate", nobody_looks)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six items of OmniContext with a picture each."""
    items = [
        {"say": f"A cup, number {number}.", "refs": ["cup.png"], "task": "single_object"}
        for number in range(6)
    ]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "items.json").write_text(json.dumps(items))
    photo(tmp_path / "data" / "cup.png")
    for number in range(6):
        photo(tmp_path / "images" / f"{number:04d}" / "0.png", number)
    return tmp_path


def bench(folder: Path, *more: str, status: int = 0) -> dict:
    asked = ["bench", "omnicontext", "--data", folder / "data", "--images", folder / "images"]
    with pytest.raises(SystemExit) as left:
        main([*map(str, asked), "--out", str(folder / "out"), *COLUMNS, *more, "--json"])
    assert (left.value.code or 0) == status
    return read_json(folder / "out" / "bench.json")


def judged(folder: Path) -> list[dict]:
    return list(read_rows(folder / "out" / "results.jsonl"))


def overall(data: dict, protocol: str = "strict") -> dict:
    (cell,) = [
        line["cells"]["Overall"]
        for line in data["lines"]
        if (line["subset"], line["protocol"]) == ("single_object", protocol)
    ]
    return cell


def marks(handler) -> None:
    """4 to 8, a function of the seed: of the question and of the repeat."""
    handler.answer(200, {}, chat(json.dumps({"reasoning": "", "score": seeded(handler)})))


def seeded(handler) -> int:
    return 4 + handler.asked["seed"] % 5


def test_an_endpoint_marks_every_picture_and_its_repeats_are_told(folder: Path) -> None:
    with serving(marks) as endpoint:
        data = bench(folder, "--judge", endpoint.url, "--judge-model", "vl-7b")
        assert len(endpoint.asked) == 6 * 2 * 3
        again = bench(folder, "--judge", endpoint.url, "--judge-model", "vl-7b")
        assert len(endpoint.asked) == 6 * 2 * 3 and again["lines"] == data["lines"]
    rows = judged(folder)
    assert Counter(row["metric"] for row in rows) == {
        "omnicontext_overall": 6,
        "strict_omnicontext_overall": 6,
    }
    by_hand: dict[str, list[float]] = {"official": [], "strict": []}
    pairs = []
    for row in rows:
        if row["metric"] == "omnicontext_overall":
            told = row["details"]["repeats"]["mark"]
            assert set(told) == {"PF", "SC"} and all(len(each) == 3 for each in told.values())
            by_hand["official"].append((told["PF"][2] * told["SC"][2]) ** 0.5)
            by_hand["strict"].append((sum(told["PF"]) / 3 * sum(told["SC"]) / 3) ** 0.5)
            pairs += [
                (each[i], each[j]) for each in told.values() for i in range(3) for j in range(i)
            ]
    for protocol, values in by_hand.items():
        cell = overall(data, protocol)
        assert (cell["mean"], cell["n"]) == (pytest.approx(np.mean(values), abs=1e-5), 6)
    (item,) = data["judge_agreement"].values()
    assert item["num_questions"] == 12
    assert item["exact"] == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert item["difference"] == pytest.approx(sum(abs(a - b) for a, b in pairs) / len(pairs))
    page = write_bench_page(folder / "out").read_text()
    assert "Does the judge agree with itself?" in page
    assert f"{100 * item['exact']:.0f} of 100 pairs of answers" in page


def test_more_repeats_keep_the_third_officially_and_ask_only_for_what_is_new(folder: Path) -> None:
    with serving(marks) as endpoint:
        judge = ("--judge", endpoint.url, "--judge-model", "vl-7b")
        before = overall(bench(folder, *judge), "official")
        data = bench(folder, *judge, "--judge-repeats", "5")
        assert len(endpoint.asked) == 6 * 2 * 5
    assert overall(data, "official") == before
    (row, *_) = [row for row in judged(folder) if row["details"]]
    assert [len(each) for each in row["details"]["repeats"]["mark"].values()] == [5, 5]
    assert len(judged(folder)) == 12


def test_a_judge_that_dies_in_the_middle_is_gone_on_with(folder: Path) -> None:
    judge = ("--judge-model", "vl-7b")
    later = itertools.count()

    def dying(handler) -> None:
        """By what is asked, not by how much: who asks first may be heard last."""
        text = json.dumps(handler.asked)
        is_early = "number 0." in text or "number 1." in text
        if is_early or next(later) < 2:
            marks(handler)
        else:
            handler.answer(*GONE)

    with serving(dying) as endpoint:
        address = endpoint.url
        data = bench(folder, "--judge", address, *judge, status=1)
        # Who is still on the way would ask the next endpoint, which has the same address.
        eventually(lambda: all(one.name != "judge" for one in threading.enumerate()))
    judging = data["account"]["judging"]
    there = [row for row in judged(folder) if row["metric"] == "omnicontext_overall"]
    assert len(there) == 2 and all(row["value"] is not None for row in there)
    assert overall(data)["n"] == len(there) and overall(data)["n_missing"] == 6 - len(there)
    assert judging["num_not_asked"] == 6 - len(there) and "taken back" in judging["stopped"]
    assert judging["without_value"] == [f"{n:04d}, seed 0" for n in range(len(there), 6)]
    assert any("without the judge's value: 000" in text for text in data["account"]["told"])
    assert "taken back" in write_bench_page(folder / "out").read_text()
    port = int(address.rsplit(":", 1)[1].split("/")[0])
    with serving(marks, port=port) as endpoint:
        data = bench(folder, "--judge", endpoint.url, *judge)
        # What was answered on the way to the end was kept: it is not paid for twice.
        assert 0 < len(endpoint.asked) <= 36 - 3 * 2 * len(there)
    rows = judged(folder)
    keys = [(row["scene"], row["metric"]) for row in rows]
    assert len(keys) == len(set(keys)) == 12
    assert rows[: len(there) * 2] == [
        row for row in rows if row["scene"] in {r["scene"] for r in there}
    ]
    assert data["account"]["told"] == [] and overall(data)["n"] == 6


def test_an_answer_that_cannot_be_read_is_missing_with_its_picture_named(folder: Path) -> None:
    def shy(handler) -> None:
        text = json.dumps(handler.asked)
        if "number 2" in text:
            handler.answer(200, {}, chat("I would rather not say."))
        else:
            marks(handler)

    with serving(shy) as endpoint:
        data = bench(folder, "--judge", endpoint.url, "--judge-model", "vl-7b", status=1)
    assert (overall(data)["n"], overall(data)["n_missing"]) == (5, 1)
    assert data["account"]["judging"]["without_value"] == ["0002, seed 0"]
    assert any("0002, seed 0" in text for text in data["account"]["told"])
    (item,) = data["judge_agreement"].values()
    assert (item["num_questions"], item["num_alone"], item["num_missing"]) == (10, 2, 6)


@pytest.mark.slow
def test_a_folder_of_a_model_that_says_nothing_useful_gives_reasons_and_no_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = partial(Asking, max_tokens=4, tries=1)
    monkeypatch.setattr("personae.metrics.judges.Asking", short)
    save_llava(folder / "llava")
    data = bench(
        folder, "--judge", f"folder:{folder / 'llava'}", "--subset=single_object", status=1
    )
    assert (overall(data)["mean"], overall(data)["n_missing"]) == (None, 6)
    assert all("no answer that can be used" in row["unmeasured"] for row in judged(folder))


def test_agreement_in_words() -> None:
    def kept(kind, *repeats):
        told = {"repeats": {kind: {str(n): list(each) for n, each in enumerate(repeats)}}}
        return {"metric": "semantic_alignment", "eyes": "me", "details": told}

    rows = [kept("mark", (8, 6), (7, 7)), kept("mark", (5, None))]
    found = judge_agreement([*rows, {**rows[0], "eyes": "other"}], "me")
    assert agreement_told(found) == [
        "semantic_alignment (mark): 50 of 100 pairs of answers to the same question are the same, "
        "1.00 marks apart on average (2 questions; 1 questions have fewer than two answers, 1 "
        "answers are missing)"
    ]
    (told,) = agreement_told(judge_agreement([kept("yes_no", (1, 1, 0))], "me"))
    assert "33 of 100" in told and "marks apart" not in told
    assert agreement_told(judge_agreement([kept("mark", (5, None))], "me")) == [
        "semantic_alignment (mark): no question was answered twice"
    ]
    assert judge_agreement([{**rows[0], "details": None}], "me") == {}


def test_an_address_given_twice_is_refused(folder: Path, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(
            [
                *["bench", "omnicontext", "--data", str(folder), "--images", str(folder)],
                *["--out", str(folder / "o"), "--judge", "http://a/v1", "--judge-url", "http://b"],
            ]
        )
    assert left.value.code == 2 and "give the address once" in capsys.readouterr().err

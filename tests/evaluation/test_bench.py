"""ToonBench from end to end: the truth as pictures, resumed, with a judge that dies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from personae.cli import main
from personae.compute.runs import read_json, read_rows
from personae.errors import RequestError
from personae.evaluation.bench import Bench, load_suite, run_bench
from personae.evaluation.suites.suite import SuiteOptions
from personae.evaluation.suites.toonbench import TOONBENCH, toonbench_scenes
from personae.evaluation.suites.xversebench import XVERSEBENCH
from personae.metrics.witnesses import EyesChoice
from personae.report.bench_page import write_bench_page
from personae.vision.judges import Judgement
from tests.evaluation.suites.folders import xverse_folder

OPTIONS = SuiteOptions(size="1")


class Judge:
    """Marks every picture 8, until it breaks."""

    name, num_threads, settings = "steady", 1, {}

    def __init__(self, breaks_after: int = 1000) -> None:
        self.left, self.num_asked = breaks_after, 0

    def judge(self, question, repeat=0):
        if self.left == 0:
            raise RequestError("the key was taken back")
        self.left, self.num_asked = self.left - 1, self.num_asked + 1
        return Judgement(8.0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """ToonBench of a scene a subset, with its truth as pictures: the judge died, and came back."""
    out = tmp_path_factory.mktemp("bench")
    load_suite(TOONBENCH, None, out, OPTIONS)
    dead = run_bench(task(out, judge=Judge(breaks_after=3)))
    shutil.copy(dead.path, out / "dead.json")
    shutil.copy(write_bench_page(out), out / "dead.html")
    shutil.copy(out / "results.jsonl", out / "dead.jsonl")
    judge = Judge()
    assert not run_bench(task(out, judge=judge)).account.failed
    assert judge.num_asked == 4
    return out


def task(out: Path, **changes) -> Bench:
    settings = {"suite": TOONBENCH, "out": out, "model": "truth", "options": OPTIONS}
    eyes = EyesChoice(faces="examiner", cache=None)
    return Bench(**{**settings, "images": out / "data" / "truth", "eyes": eyes, **changes})


def by_subset(data) -> dict:
    return {(line["subset"], line["protocol"]): line["cells"] for line in data["lines"]}


def test_a_judge_that_dies_leaves_the_eyes_columns_and_is_told_of(finished: Path) -> None:
    data = read_json(finished / "dead.json")
    cells = by_subset(data)
    assert cells["overall", "strict"]["ID"]["n"] == 2 * 5 + 3 + 4
    assert cells["overall", "strict"]["ID"]["mean"] > 0.8
    assert cells["overall", "strict"]["SA"]["mean"] is None
    assert sum(cells[subset, "strict"]["SA"]["n"] for subset in TOONBENCH.card.sizes) == 3
    judging = data["account"]["judging"]
    assert judging["stopped"] == "the key was taken back" and judging["num_not_asked"] == 4
    assert any("4 of 7 pictures were not judged" in text for text in data["account"]["told"])


def test_the_same_command_goes_on_and_counts_nothing_twice(finished: Path) -> None:
    before = list(read_rows(finished / "dead.jsonl"))
    rows = list(read_rows(finished / "results.jsonl"))
    assert rows[: len(before)] == before and len(rows) == len(before) + 4
    keys = [tuple(r[k] for k in ("scene", "seed", "metric", "subject", "protocol")) for r in rows]
    assert len(keys) == len(set(keys))
    data = read_json(finished / "bench.json")
    assert data["account"]["told"] == []
    sa = by_subset(data)["overall", "strict"]["SA"]
    assert (sa["mean"], sa["n"], sa["n_missing"]) == (pytest.approx(0.8), 7, 0)
    summed = {item["metric"]: item for item in read_json(finished / "summary.json")["metrics"]}
    assert summed["strict_semantic_alignment"]["n"] == 7


def test_pictures_that_are_gone_are_missing_and_no_number(finished: Path, tmp_path: Path) -> None:
    images = tmp_path / "some"
    shutil.copytree(finished / "data" / "truth", images)
    shutil.rmtree(images / "position-000")
    (images / "three-000" / "0.png").write_bytes(b"torn")
    fresh = task(tmp_path / "out", data=finished / "data", images=images, num_seeds=2)
    result = run_bench(fresh)
    cells = by_subset(result.data)
    assert cells["position", "strict"]["ID"]["mean"] is None
    assert cells["position", "strict"]["ID"]["n_missing"] == 2 * 2
    assert cells["attribute", "strict"]["ID"]["n_missing"] == 2
    assert cells["overall", "strict"]["ID"]["reason"] == "unmeasured in position, three"
    account = result.account
    assert (account.num_pictures, account.num_there) == (14, 6)
    assert account.without_picture == ("position-000",)
    assert any("not a picture" in reason for reason in account.unmeasured)


def test_a_folder_belongs_to_one_model_and_size(finished: Path) -> None:
    with pytest.raises(RequestError, match="another --out"):
        run_bench(task(finished, model="other"))
    with pytest.raises(RequestError, match="another size"):
        run_bench(task(finished, options=SuiteOptions(size="2")))
    with pytest.raises(RequestError, match="--size"):
        run_bench(task(finished, options=SuiteOptions(size="huge")))
    with pytest.raises(RequestError, match="not both"):
        run_bench(task(finished, images=None))


def test_the_page_says_it_all(finished: Path) -> None:
    page = (finished / "dead.html").read_text()
    for part in ("ToonBench: truth", "the key was taken back", "overall", "Where official and"):
        assert part in page
    assert "<script" not in page


def test_scenes_are_a_function_of_the_size_and_look_as_their_subset_says() -> None:
    one = [(subset, drawn.id, drawn.prompt) for subset, drawn in toonbench_scenes(1)]
    two = [(subset, drawn.id, drawn.prompt) for subset, drawn in toonbench_scenes(2)]
    assert one == two[::2] and len(two) == 14
    for subset, drawn in toonbench_scenes(2):
        kinds = {claim.kind for claim in drawn.claims}
        assert {"count", "place"} <= kinds
        assert ("wears" in kinds) == (subset in {"attribute", "complex"})
        assert ("action" in kinds) == (subset in {"action", "complex"})
        assert (drawn.relation is not None) == ("relation" in kinds)
        assert ("relation" in kinds) == (subset in {"position", "complex", "three", "four"})
    assert sorted({len(drawn.members) for _, drawn in toonbench_scenes(2)}) == [2, 3, 4, 5]


def test_check_names_every_missing_file(tmp_path: Path, capsys) -> None:
    folder = xverse_folder(tmp_path / "data", things=False)
    with pytest.raises(SystemExit) as left:
        main(["bench", "xversebench", "--data", str(folder), "--check", "--json"])
    assert left.value.code == 1
    said = json.loads(capsys.readouterr().out)
    assert said["missing"] == {str(folder / "object" / "27_mug.jpg"): ["single-001", "multi-000"]}
    assert said["whole"] == 2 and said["scenes"] == {"single": 2, "multi": 2}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nobench"], "expected one of"),
        (["xversebench", "--check"], "--data: where is XVerseBench"),
        (["xversebench", "--check", "--data", "nowhere"], "no such folder"),
        (["toonbench", "--images", "x"], "--out names"),
        (["toonbench", "--out", "x"], "--images DIR or --model"),
        (["toonbench", "--out", "x", "--images", "x", "--protocol", "loose"], "--protocol"),
        (["toonbench", "--out", "x", "--column", "prompt", "--images", "x"], "OURS=THEIRS"),
    ],
)
def test_wrong_requests_say_what_is_wrong(arguments, told, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["bench", *arguments])
    assert left.value.code == 2 and told in " ".join(capsys.readouterr().err.split())


def test_a_scene_without_its_photos_is_counted_and_the_rest_runs(tmp_path: Path) -> None:
    folder = xverse_folder(tmp_path / "data", things=False)
    loaded = load_suite(XVERSEBENCH, folder, None, SuiteOptions())
    images = tmp_path / "images"
    for scene in loaded.scenes:
        shutil.copytree(folder / "human", images / scene.id)
    result = run_bench(
        Bench(
            suite=XVERSEBENCH,
            out=tmp_path / "out",
            model="photos",
            data=folder,
            images=images,
            eyes=EyesChoice(cache=None),
            num_seeds=2,
        )
    )
    cells = by_subset(result.data)
    # These photos are noise without a face: nobody can be known, and nothing is a number.
    assert cells["multi", "strict"]["ID-Sim"]["n"] == 0
    assert cells["multi", "strict"]["ID-Sim"]["n_missing"] == 6
    assert "no face in reference" in cells["multi", "strict"]["ID-Sim"]["reason"]
    assert "no such file" in cells["multi", "official"]["IP-Sim"]["reason"]
    assert list(result.account.missing_files.values()) == [2]
    assert not result.account.failed

"""A training run's page: what is in it, and that it is written whatever the folder lacks."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from personae.cli import main
from personae.errors import DataError, RequestError
from personae.report import is_training_run, write_training_report
from personae.report.curves import Line, curve_chart, smoothed, ticks
from personae.training.history import read_history
from tests.report.chromium import Browser, find_browser

RECIPE = """base = "toons"
seed = 0

[data.toons]
count = 64

[lora]
rank = 32

[training]
steps = 60

[optimizer]
clip = 1.0

[rewards.weights]
sir = 0.5
presence = 0.25

[rerefl]
window = [1, 8]
"""
HOSTILE = '</style><script>window.ran=1</script> & "it\'s"'


def rows(count: int = 60):
    """A run of so many steps that looks at other identities every 20, best at 40."""
    for step in range(1, count + 1):
        yield {
            "step": step,
            "loss": 1 / step,
            "loss_by_time": [None, 0.5, float("nan"), 1 / step],
            "grad_norm": 100.0 if step == 7 else 2.0 + step % 2,
            "reward": None if step == 3 else step / 100,
            "sir": step / 50,
            "presence": 0.5,
            "examiner_presence": 0.25,
            "odd_number": 3.0,
            "lr": 1e-3,
            "examples_per_second": 4.0,
            "seconds": 2.0 * step,
        }
        if step % 20 == 0:
            third = {20: 0.1, 40: 0.3}.get(step, 0.2)
            look = {"reward": 0.2, "features": third, "examiner_presence": 0.3, "seconds": 9.0}
            told = {f"validation.{name}": value for name, value in look.items()}
            yield {"step": step, **told, "best_step": min(step, 40)}
    yield {"step": 41, "skipped": "loss of e7"}
    yield {"step": count, "loss": 0.1, "unmeasured": 5, "notes": ["e3: no face", HOSTILE]}


def write(folder: Path, told=None, recipe: str = RECIPE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.resolved.toml").write_text(recipe)
    lines = [json.dumps(row) + "\n" for row in (rows() if told is None else told)]
    (folder / "log.jsonl").write_text("".join(lines))
    return folder


class Reader(HTMLParser):
    """Tags, text, and the labels of the drawings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._quiet = "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._quiet = tag == "style"

    def handle_endtag(self, tag):
        self._quiet = False

    def handle_data(self, data):
        self.text += "" if self._quiet else " ".join(data.split()) + " "

    @property
    def labels(self) -> list[str]:
        return [tag.get("aria-label") or "" for name, tag in self.tags if name == "svg"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("runs") / "small")
    samples = folder / "samples"
    samples.mkdir()
    for step, color in ((100, "red"), (20, "green"), (40, "blue")):
        Image.new("RGB", (300, 200), color).save(samples / f"step-{step:08d}.png")
    (samples / "step-00000060.png").write_bytes(b"no picture")
    (samples / "step-last.png").write_bytes(b"nobody's")
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Reader:
    out = write_training_report(run)
    assert out == run / "report.html"
    return Reader(out.read_text(encoding="utf-8"))


def test_what_was_trained_is_said(page: Reader) -> None:
    assert "Trained: an adapter of rank 32 for toons, by ReReFL" in page.text
    assert "rewarded for sir x 0.5, presence x 0.25" in page.text
    assert "60 of 60" in page.text
    assert "2 min of training" in page.text
    for text in ("[rerefl]", "window", "[1, 8]", "toons.count", "64"):
        assert text in page.text


def test_every_number_of_the_log_has_a_curve(page: Reader) -> None:
    def label(name: str) -> str:
        (found,) = [label for label in page.labels if label.startswith(f"{name}: ")]
        return found

    assert label("loss").endswith("1 at step 1 to 0.1 at step 60")
    assert "while training 0.01 at step 1 to 0.6 at step 60" in label("reward")
    assert "on other identities 0.2 at step 20 to 0.2 at step 60" in label("reward")
    assert "while training 0.02 at step 1" in label("sir")
    assert "on other identities 0.1 at step 20 to 0.2 at step 60" in label("features")
    assert "on other identities 0.3" in label("examiner_presence")
    assert label("seconds a step") == "seconds a step: 2 at step 2 to 2 at step 60"
    assert "while training 3 at step 1" in label("odd_number")
    by_time = label("loss by time")
    assert "more picture 0.5" in by_time
    assert " noise 1 at step 1" in by_time
    assert "more noise" not in by_time  # not one number
    assert "grad_norm" in " ".join(page.labels)


def test_the_examiner_and_the_third_measure_are_marked(page: Reader) -> None:
    assert page.text.count("never used for training or choice") == 2
    assert "the third measure: chooses the best step" in page.text
    order = [page.text.index(word) for word in ("What is trained for", "The examiner", "Loss and")]
    assert order == sorted(order)
    assert "best: step 40" in page.text
    assert "first look, step 20 best step, 40 last look, step 60" in page.text


def test_what_went_wrong_is_told(page: Reader) -> None:
    assert "step 41 : loss of e7" in page.text
    assert "step 60 : e3: no face" in page.text
    assert "1 steps skipped" in page.text
    assert "5 pictures unmeasured" in page.text
    assert "1 above, up to 100" in page.text  # the spike of grad_norm


def test_sheets_stand_in_order_and_a_broken_one_says_so(page: Reader) -> None:
    shown = [tag["alt"] for name, tag in page.tags if name == "img"]
    assert shown == [f"Sample sheet of step {step}" for step in (20, 40, 100)]
    assert "step-00000060.png: picture could not be read" in page.text
    assert re.search(r"step 40 best", page.text)


def test_the_page_needs_nothing_from_outside(run: Path, page: Reader) -> None:
    for name, tag in page.tags:
        assert name != "script", "the page needs none"
        for key in ("src", "href"):
            if key in tag:
                assert re.match(r"data:|#", tag[key] or ""), tag
        assert "style" not in tag
    content = (run / "report.html").read_text()
    (policy,) = [tag["content"] for _, tag in page.tags if "http-equiv" in tag]
    assert str(policy).startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"https?://|url\(|@import", content)
    assert "<script>window.ran" not in content
    assert "window.ran=1" in page.text
    assert str(run.parent) not in content


@pytest.mark.parametrize("torn", ['{"step": 61, "lo', "{", "\x00"])
def test_a_torn_last_line_is_a_note(tmp_path: Path, torn: str) -> None:
    folder = write(tmp_path / "run")
    with (folder / "log.jsonl").open("a") as stream:
        stream.write(torn)
    told = Reader(write_training_report(folder).read_text()).text
    assert "log.jsonl: the last line is cut off" in told
    assert "60 of 60" in told


@pytest.mark.parametrize("bad", ["no json", "[1]", '{"loss": 1}', '{"step": "1"}'])
def test_a_broken_line_within_the_log_is_named(tmp_path: Path, bad: str) -> None:
    folder = write(tmp_path / "run")
    text = (folder / "log.jsonl").read_text()
    (folder / "log.jsonl").write_text(f"{text.splitlines()[0]}\n\n{bad}\n{text}")
    with pytest.raises(DataError, match=r"log.jsonl:3: expected a row"):
        write_training_report(folder)


@pytest.mark.parametrize(
    "told",
    [
        [],
        [{"step": 3}],
        [{"step": 1, "loss": float("nan"), "loss_by_time": None, "reward": None, "seconds": None}],
        [{"step": 1, "loss": 0.5, "notes": None, "lr": True}],
        [{"step": 5, "validation.features": 0.5, "best_step": 5}],
        [{"step": 5, "skipped": "loss of e1"}],
    ],
)
def test_a_run_that_has_hardly_begun(tmp_path: Path, told: list) -> None:
    folder = write(tmp_path / "run", told, 'base = "toons"\n[training]\nsteps = 9\n')
    text = Reader(write_training_report(folder, tmp_path / "a" / "page.html").read_text()).text
    assert "all weights of toons, by flow matching" in text
    assert "This run has no sample sheets" in text


def test_a_single_reward_that_is_the_sum_has_one_chart(tmp_path: Path) -> None:
    told = [{"step": step, "loss": 1.0, "reward": step, "sir": step} for step in (1, 2)]
    recipe = 'base = "toons"\n[rewards.weights]\nsir = 1.0\n[rerefl]\n'
    page = Reader(write_training_report(write(tmp_path / "run", told, recipe)).read_text())
    assert [label.partition(":")[0] for label in page.labels] == ["reward", "loss"]
    assert "reward: sir" in page.text


def test_what_is_no_training_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    assert is_training_run(folder)
    (folder / "log.jsonl").unlink()
    assert not is_training_run(folder)
    with pytest.raises(RequestError, match="expected a training run"):
        write_training_report(folder)


def test_the_command_writes_either_report(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def ask(*arguments: object) -> int:
        with pytest.raises(SystemExit) as done:
            main(["report", *map(str, arguments)])
        return int(done.value.code or 0)

    folder = write(tmp_path / "run")
    assert ask(folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(folder / "report.html")}
    assert ask(folder, "--against", folder) == 2
    assert "--against" in capsys.readouterr().err
    (folder / "results.jsonl").write_text("")
    assert ask(folder, "--out", tmp_path / "results.html") == 0
    assert "Summary" in (tmp_path / "results.html").read_text()


def test_history_reads_what_the_page_needs(run: Path) -> None:
    log = read_history(run / "log.jsonl")
    assert log.best_step == 40
    assert log.seconds_per_step() == 2.0
    assert log.validation_at(40)["features"] == 0.3
    assert log.validation_at(41) == log.validation_at(None) == {}
    assert 3 not in dict(log.series("reward"))
    assert read_history(run / "none.jsonl").rows == ()


def test_a_long_line_is_thinned_and_its_spike_does_not_flatten_it() -> None:
    points = [(step, 1.0 + step % 3) for step in range(10_000)]
    svg = curve_chart([Line("norm", [*points, (10_000, 1e6)])], (0, 10_000), "norm")
    assert len(svg) < 40_000
    assert "1 above, up to 1e+06" in svg
    assert ">4<" in svg
    assert ">1e+06<" not in svg
    assert len(smoothed(points)) == len(points)


def test_a_flat_line_and_no_line() -> None:
    assert ticks(2.0, 2.0) == [1.8, 1.9, 2.0, 2.1, 2.2]
    assert ticks(0.0, 0.0)[0] < 0 < ticks(0.0, 0.0)[-1]
    assert "no number" in curve_chart([Line("a", [])], (0, 1), "a")


@pytest.mark.browser
def test_a_browser_shows_it_and_says_nothing(run: Path, page: Reader, tmp_path: Path) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no chromium on PATH")
    with Browser(program, tmp_path / "profile") as browser:
        for width, dark in ((390, True), (1280, False)):
            browser.open((run / "report.html").as_uri(), width=width, dark=dark)
            assert browser.js("document.documentElement.scrollWidth") <= width
            loaded = "[...document.images].every((image) => image.naturalWidth > 0)"
            assert browser.js(loaded)
            assert browser.js("window.ran") is None
            assert browser.problems() == []
            browser.screenshot(tmp_path / f"{width}.png", whole=True)

"""The whole file: what is in it, in which order, and that nothing in it can run."""

import json
import re
from html.parser import HTMLParser

import pytest

from personae.errors import WorkError
from personae.report import write_report
from tests.report.runs import CASES, write_run

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> & {ann}'


class Reader(HTMLParser):
    """Every element, and the text of the scripts by id."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.outside, self._at = [], {}, [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append((tag, named))
        self._at = named.get("id", "program") if tag == "script" else None

    def handle_data(self, data):
        if self._at is not None:
            self.scripts[self._at] = self.scripts.get(self._at, "") + data

    def handle_endtag(self, tag):
        self._at = None

    def json(self, name):
        return json.loads(self.scripts[name])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    out = write_report(write_run(tmp_path_factory.mktemp("run")))
    return Reader(out.read_text(encoding="utf-8"))


def test_default_place_and_no_rest(tmp_path):
    run = write_run(tmp_path / "run", cases=("good",))
    before = {path.name for path in run.iterdir()}
    assert write_report(run) == run / "report.html"
    assert {path.name for path in run.iterdir()} - before == {"report.html"}


def test_worst_first_and_unmeasured_last(page):
    index, scenes = page.json("index"), page.json("scenes")
    order = [scenes[place]["id"] for place in index["scene"]]
    assert order[:4] == ["absent", "twice", "stranger", "good"]
    assert set(order[4:]) == {"lost", "unmeasured"}
    main = index["columns"][index["main"]]
    assert main == [0.35, 0.6, 0.7, 0.8, None, None]


def test_every_picture_tells_all(page):
    entries = page.json("block-0")["entries"]
    assert len(entries) == len(CASES)
    side = entries[0]["sides"][0]
    assert side["said"] == [["absent", "bob: absent"]]
    assert side["groups"][0]["similarity"] == [[0.7], [0.15]]
    assert side["href"] == "images/absent/0.png"
    assert side["data"]
    assert entries[3]["sides"][0]["said"] == [["whole", "every subject there, once"]]
    lost = [entry["sides"][0] for entry in entries if entry["sides"][0]["file"] is None]
    assert [side["why"] for side in lost] == ["picture not found"]


def test_references_are_held_once(page):
    refs = page.json("block-0")["refs"]
    assert len(refs) == 3
    assert all(ref["data"] for ref in refs.values())


def test_one_file_without_outside_resources(page):
    sources = [named[key] for _, named in page.tags for key in ("src", "href") if key in named]
    assert all(source.startswith(("data:", "#")) for source in sources), sources
    assert "url(" not in page.scripts["program"]
    policy = next(named["content"] for tag, named in page.tags if named.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-")


def test_a_missing_picture_a_removed_reference(tmp_path):
    run = write_run(tmp_path, cases=("good",))
    (run / "images" / "good" / "0.png").unlink()
    (run / "refs" / "ann.jpg").unlink()
    block = Reader(write_report(run).read_text()).json("block-0")
    assert block["entries"][0]["sides"][0]["href"] is None
    assert block["entries"][0]["sides"][0]["why"] == "picture not found"
    assert sum(ref["data"] is None for ref in block["refs"].values()) == 1


def test_links_lead_from_the_page_to_the_pictures(tmp_path):
    run = write_run(tmp_path / "a run", cases=("good",))
    out = write_report(run, tmp_path / "pages" / "x.html")
    (entry,) = Reader(out.read_text()).json("block-0")["entries"]
    assert entry["sides"][0]["href"] == "../a%20run/images/good/0.png"


def test_hostile_text_stays_text(tmp_path):
    run = write_run(tmp_path, cases=("good",), prompt=HOSTILE)
    facts = json.loads((run / "run.json").read_text())
    facts["separability"][0]["reason"] = HOSTILE
    facts["environment"] = {HOSTILE: HOSTILE}
    (run / "run.json").write_text(json.dumps(facts))
    rows = (run / "results.jsonl").read_text().replace("disk-eyes", json.dumps(HOSTILE)[1:-1])
    (run / "results.jsonl").write_text(rows)
    text = write_report(run).read_text()
    page = Reader(text)
    assert page.json("scenes")[0]["prompt"] == HOSTILE
    assert [tag for tag, _ in page.tags].count("script") == 4
    assert not any(name.startswith("on") for _, named in page.tags for name in named)
    assert "alert(1)</script>" not in text


def test_two_runs_side_by_side(tmp_path):
    cases = ("good", "absent", "twice")
    new = write_run(tmp_path / "new", cases=cases, lift=0.1)
    old = write_run(tmp_path / "old", cases=cases[:2])
    text = write_report(new, against=old).read_text()
    page = Reader(text)
    index, entries = page.json("index"), page.json("block-0")["entries"]
    assert index["names"] == ["new", "old"]
    assert [len(entry["sides"]) for entry in entries] == [2, 1, 2]
    main = index["main"]
    assert index["twin"][main] == [0.35, None, 0.8]
    assert index["columns"][main] == pytest.approx([0.45, 0.7, 0.9])
    assert index["twinFlags"] == [1, -1, 16]
    row = re.search(r"strict_matching_reward.*?</tr>", text, re.DOTALL).group(0)
    assert "+0.100" in row
    assert "better" in row


def test_no_summary_is_said(tmp_path):
    run = write_run(tmp_path, cases=("good",))
    (run / "summary.json").unlink()
    assert "summary.json was not found" in write_report(run).read_text()


def test_an_empty_run_is_a_page_too(tmp_path):
    (tmp_path / "results.jsonl").write_text("")
    page = Reader(write_report(tmp_path).read_text())
    assert page.json("index")["scene"] == []
    assert "program" in page.scripts


def test_what_cannot_be_written_leaves_the_old_page(tmp_path, monkeypatch):
    run = write_run(tmp_path, cases=("good",))
    (run / "report.html").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(WorkError, match="No space left"):
        write_report(run)
    assert (run / "report.html").read_text() == "old"
    assert not list(run.glob(".*part"))


def test_progress_counts_pictures(tmp_path):
    seen = []
    run = write_run(tmp_path, cases=("good", "twice"))
    write_report(run, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 2)]

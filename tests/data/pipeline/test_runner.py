"""Pipelines: pure steps over shards, resumed after a kill, nothing lost and nothing twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from personae.compute.runs import read_json
from personae.compute.workers import Processes
from personae.data.pipeline.items import Item, Lost, Made, item_name, read_items, safe_path
from personae.data.pipeline.runner import run_pipeline
from personae.data.pipeline.step import Files, Licensed, kept_or_lost
from personae.errors import DataError, RequestError, WorkError


@dataclass(frozen=True)
class Painted:
    """A picture for each item, as gray as its number; multiples of ``fail`` fail."""

    fail: int = 0
    level: int = 1
    name: str = "painted"

    def settings(self):
        return {"level": self.level, "fail": self.fail}

    def build(self):
        return None

    def work(self, state, items: Sequence[Item], files: Files) -> Made:
        made = []
        for item in items:
            number = item.data["n"]
            if self.fail and number % self.fail == 0:
                raise RuntimeError(f"the model fell over at {number}")
            gray = np.full((16, 16, 3), number * self.level % 256, np.uint8)
            path = files.save(item.id, gray)
            made.append(item.child(item.id, self.name, files={**item.files, "image": path}))
        return Made(tuple(made))


@dataclass(frozen=True)
class Halved:
    """Two of each even item, odd ones are dropped; it reads what the step before painted."""

    name: str = "halved"

    def settings(self):
        return {}

    def build(self):
        return None

    def work(self, state, items, files):
        made, lost = [], []
        for item in items:
            level = int(files.picture(item)[0, 0, 0])
            if level % 2:
                lost.append(Lost(item.id, "odd", detail=str(level)))
            else:
                twins = (f"{item.id}-{side}" for side in "ab")
                made += [item.child(name, self.name, data={"n": level}) for name in twins]
        return Made(tuple(made), tuple(lost))


@dataclass(frozen=True)
class Once:
    """Drops what has the number of an earlier item, wherever that is."""

    name: str = "once"

    def settings(self):
        return {}

    def decide(self, items):
        seen, lost = set(), {}
        for item in items:
            if item.data["n"] % 7 in seen:
                lost[item.id] = Lost(item.id, "again")
            seen.add(item.data["n"] % 7)
        return lost


class Undecided(Once):
    """Must not be asked."""

    def decide(self, items):
        raise AssertionError("asked again")


def source(count: int = 20, **more) -> list[Item]:
    return [
        Item(id=f"i{n}", group=f"g{n // 2}", data={"n": n}, license="cc0", consent="given", **more)
        for n in range(count)
    ]


def lines(out: Path) -> dict[str, str]:
    """All that a run leaves but its times."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name not in {"account.json", "done.json"}:
            found[path.relative_to(out).as_posix()] = path.read_bytes()
    return found


def test_items_go_through_with_their_license_their_sources_and_their_files(tmp_path: Path) -> None:
    account = run_pipeline(source(), [Painted(), Halved()], tmp_path, shard_items=5)
    items = list(account.items())
    assert [item.id for item in items][:4] == ["i0-a", "i0-b", "i2-a", "i2-b"] and len(items) == 20
    assert items[3].sources == ("painted:i2", "halved:i2")
    assert {(item.license, item.consent) for item in items} == {("cc0", "given")}
    painted, halved = account.steps
    assert (painted.num_in, painted.num_out, painted.num_shards) == (20, 20, 4)
    assert (halved.num_in, halved.num_out, halved.dropped) == (20, 20, {"odd": 10})
    assert items[0].files["image"] == "01-painted/shard-000000/files/i0.png"
    # Groups are never split: with two in a group and five wanted, six to a shard.
    assert [len(shard.items()) for shard in account.shards] == [6, 6, 6, 2]
    lost = (tmp_path / "02-halved/shard-000000/lost.jsonl").read_text().splitlines()
    assert json.loads(lost[0]) == {"id": "i1", "reason": "odd", "failed": False, "detail": "1"}
    told = read_json(tmp_path / "account.json")
    assert [one["name"] for one in told] == ["painted", "halved"] and told[0]["seconds"] > 0


def test_a_second_run_makes_nothing_and_a_change_only_what_follows_it(tmp_path: Path) -> None:
    steps = [Painted(), Halved()]
    run_pipeline(source(), steps, tmp_path, shard_items=5)
    before = lines(tmp_path)
    again = run_pipeline(source(), steps, tmp_path, shard_items=5)
    assert [step.num_made for step in again.steps] == [0, 0] and lines(tmp_path) == before
    assert again.steps[1].dropped == {"odd": 10}, "the account is of the whole, not of this run"
    more = run_pipeline(source(24), steps, tmp_path, shard_items=5)
    assert [step.num_made for step in more.steps] == [1, 1], "only the last shard grew"
    other = run_pipeline(source(24), [Painted(level=2), Halved()], tmp_path, shard_items=5)
    assert [step.num_made for step in other.steps] == [4, 4]
    fewer = run_pipeline(source(4), steps, tmp_path, shard_items=5)
    assert len(list(fewer.items())) == 4 and len(list(tmp_path.glob("0?-*/shard-*"))) == 3


def test_an_accident_is_told_of_its_group_and_stops_no_other(tmp_path: Path) -> None:
    account = run_pipeline(source(), [Painted(fail=8), Halved()], tmp_path, shard_items=5)
    painted = account.steps[0]
    # 0, 8 and 16 fail, and with each the other one of its group of two.
    assert painted.failed == {"the step failed (RuntimeError)": 6} and painted.num_out == 14
    lost = (tmp_path / "01-painted/shard-000001/lost.jsonl").read_text().splitlines()
    assert json.loads(lost[0])["detail"] == "the model fell over at 8"
    assert painted.num_in == painted.num_out + sum(painted.failed.values())


def test_a_step_that_is_silent_about_an_item_is_told(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Forgetful(Painted):
        def work(self, state, items, files):
            return super().work(state, items[1:], files)

    account = run_pipeline(source(), [Forgetful()], tmp_path)
    assert account.steps[0].failed == {"the step said nothing of it": 10}


def test_damaged_shards_are_made_again_and_others_are_not(tmp_path: Path) -> None:
    steps = [Painted(), Halved()]
    run_pipeline(source(), steps, tmp_path, shard_items=5)
    before = lines(tmp_path)
    (tmp_path / "01-painted/shard-000000/files/i1.png").write_bytes(b"cut")
    (tmp_path / "01-painted/shard-000001/done.json").write_text('{"digest": ')
    with (tmp_path / "02-halved/shard-000002/items.jsonl").open("a") as file:
        file.write("{}\n")
    shutil.rmtree(tmp_path / "02-halved/shard-000003")
    (tmp_path / "01-painted/.shard-000009.part").mkdir()
    account = run_pipeline(source(), steps, tmp_path, shard_items=5)
    assert [step.num_made for step in account.steps] == [2, 2]
    assert lines(tmp_path) == before and not list(tmp_path.rglob(".*.part"))


def test_several_processes_make_the_same_files(tmp_path: Path) -> None:
    steps = [Painted(fail=6), Halved()]
    run_pipeline(source(), steps, tmp_path / "one", shard_items=5)
    run_pipeline(source(), steps, tmp_path / "two", shard_items=5, workers=Processes(2))
    assert lines(tmp_path / "one") == lines(tmp_path / "two")


KILLED = """
import os, signal, sys
from pathlib import Path
from personae.data.pipeline.runner import run_pipeline
from tests.data.pipeline.test_runner import Halved, Painted, source

class Deadly(Painted):
    def work(self, state, items, files):
        made = super().work(state, items, files)
        if items[0].id == "i12":
            os.kill(os.getpid(), signal.SIGKILL)
        return made

run_pipeline(source(), [Deadly(), Halved()], Path(sys.argv[1]), shard_items=5)
"""


def test_killed_in_the_middle_it_goes_on_where_it_was(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    told = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"},
        check=False,
    )
    assert told.returncode == -signal.SIGKILL
    assert sorted(p.name for p in (tmp_path / "killed/01-painted").iterdir()) == [
        ".shard-000002.part", "shard-000000", "shard-000001", "shards.json",
    ]  # fmt: skip
    account = run_pipeline(source(), [Painted(), Halved()], tmp_path / "killed", shard_items=5)
    assert [step.num_made for step in account.steps] == [2, 4]
    run_pipeline(source(), [Painted(), Halved()], tmp_path / "whole", shard_items=5)
    assert lines(tmp_path / "killed") == lines(tmp_path / "whole")


def test_a_step_that_sees_everything_decides_across_shards(tmp_path: Path) -> None:
    account = run_pipeline(source(), [Once(), Painted()], tmp_path, shard_items=5)
    assert [item.id for item in account.items()] == [f"i{n}" for n in range(7)]
    assert account.steps[0].dropped == {"again": 13}
    # What was decided stands: with the very same items nothing is decided again.
    again = run_pipeline(source(), [Undecided(), Painted()], tmp_path, shard_items=5)
    assert [step.num_made for step in again.steps] == [0, 0]
    # One more at the end changes no earlier decision, and so no earlier shard.
    more = run_pipeline(source(21), [Once(), Painted()], tmp_path, shard_items=5)
    assert [step.num_made for step in more.steps] == [1, 1]


def test_what_has_no_license_goes_no_further(tmp_path: Path) -> None:
    items = source(6)
    items[1], items[2] = replace(items[1], license=None), replace(items[2], license="mine")
    told = run_pipeline(items, [Licensed(("cc0", "cc-by"))], tmp_path).steps[0]
    assert told.dropped == {
        "no license is told": 1,
        "its license is not one of those required": 1,
    }
    assert run_pipeline(items, [Licensed()], tmp_path).steps[0].num_out == 5


def test_requests_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="steps of different names"):
        run_pipeline(source(), [Painted(), Painted(level=2)], tmp_path)
    with pytest.raises(DataError, match="two items of one id came in"):
        run_pipeline([*source(2), *source(2)], [Painted()], tmp_path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(WorkError, match="cannot make this folder"):
        run_pipeline(source(), [Painted()], blocked / "out")


def test_names_and_paths_of_all_kinds(tmp_path: Path) -> None:
    names = ["plain-1_.x", "a clip", "Ærø/ß", "..", "", "a" * 300, "a_clip"]
    made = [item_name(name) for name in names]
    assert len(set(made)) == len(made) and made[0] == names[0]
    assert all("/" not in name and name not in {"", ".", ".."} for name in made)
    assert max(map(len, made)) < 100
    for bad in ("/etc/passwd", "../up.png", "a/../../b", "C:/x.png", "a\\b", ""):
        with pytest.raises(DataError, match="expected a path below the folder"):
            safe_path(bad)
    item = Item(id="x", files={"image": "../../etc/passwd"})
    with pytest.raises(DataError, match="leaves it"):
        Files(tmp_path, "01", tmp_path).path(item, "image")
    with pytest.raises(DataError, match=r"x: no file 'mask'; it has \['image'\]"):
        Files(tmp_path, "01", tmp_path).path(item, "mask")


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": "a"}\n\n{"id": "b", "data": [1]}\n')
    with pytest.raises(DataError, match=r"items.jsonl:3: data: expected an object"):
        read_items(path)
    for line in ("{", "[1]", '{"id": 3}', '{"id": "a", "what": 1}'):
        path.write_text(line + "\n")
        with pytest.raises(DataError, match=r"items.jsonl:1: "):
            read_items(path)


def test_filters_keep_or_lose(tmp_path: Path) -> None:
    made = kept_or_lost(source(3), "f", lambda i: Lost(i.id, "no") if i.id == "i1" else None)
    assert [item.id for item in made.items] == ["i0", "i2"] and made.lost == (Lost("i1", "no"),)
    assert made.items[0].sources == ("f:i0",)

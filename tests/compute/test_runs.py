"""Files that are whole or not there, and a log that survives being torn anywhere."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from personae.compute.runs import RowLog, read_json, read_rows, write_atomic, write_json
from personae.errors import DataError, WorkError


def block(name: str, count: int = 3) -> list[dict[str, object]]:
    return [{"scene": name, "row": number} for number in range(count)]


def filled(path: Path) -> Path:
    with RowLog(path) as log:
        for name in ("a", "b", "c"):
            log.append(name, f"stamp-{name}", block(name))
    return path


def test_rows_come_back(tmp_path: Path) -> None:
    path = filled(tmp_path / "results.jsonl")
    assert [row["scene"] for row in read_rows(path)] == [*"aaabbbccc"]
    with RowLog(path) as log:
        assert log.done == {"a": "stamp-a", "b": "stamp-b", "c": "stamp-c"}


@pytest.mark.parametrize("which", ["results.jsonl", ".results.journal.jsonl"])
def test_a_log_torn_at_any_byte_goes_on_without_a_lost_or_doubled_row(
    which: str, tmp_path: Path
) -> None:
    path = filled(tmp_path / "results.jsonl")
    whole = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for cut in range(len(whole[which])):
        for name, content in whole.items():
            (tmp_path / name).write_bytes(content[:cut] if name == which else content)
        with RowLog(path) as log:
            for name in ("a", "b", "c"):
                if name not in log.done:
                    log.append(name, f"stamp-{name}", block(name))
        assert path.read_bytes() == whole["results.jsonl"], cut


def test_a_damaged_block_ends_the_log_there(tmp_path: Path) -> None:
    path = filled(tmp_path / "results.jsonl")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with RowLog(path) as log:
        assert list(log.done) == ["a"]


def test_dropping_takes_out_only_what_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "results.jsonl")
    with RowLog(path) as log:
        log.drop(["b"])
        log.append("b", "new", block("b", 1))
    assert [row["scene"] for row in read_rows(path)] == [*"aaacccb"]
    with RowLog(path) as log:
        assert log.done == {"a": "stamp-a", "c": "stamp-c", "b": "new"}


def test_rows_without_a_journal_are_not_thrown_away(tmp_path: Path) -> None:
    path = filled(tmp_path / "results.jsonl")
    (tmp_path / ".results.journal.jsonl").unlink()
    with pytest.raises(DataError, match=r"journal .* is gone"):
        RowLog(path)
    assert len(list(read_rows(path))) == 9


FULL = """
import resource, sys
from pathlib import Path
from personae.compute.runs import RowLog
from personae.errors import WorkError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with RowLog(Path(sys.argv[1])) as log:
    try:
        for number in range(100):
            log.append(str(number), "s", [{"scene": str(number), "text": "x" * 90}])
    except WorkError as error:
        print(number, error)
"""


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the same error, half-way in a block."""
    path = tmp_path / "results.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    )
    count, message = done.stdout.split(" ", 1)
    assert "the disk is full" in message
    assert "run the same command again" in message
    assert [row["scene"] for row in read_rows(path)] == [str(n) for n in range(int(count))]
    with RowLog(path) as log:
        assert len(log.done) == int(count) > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_two_threads_that_write_one_file_do_not_meet(tmp_path: Path) -> None:
    path, begun, go_on = tmp_path / "answer", threading.Event(), threading.Event()
    failed: list[Exception] = []

    def slowly():
        yield "slow, "
        begun.set()
        assert go_on.wait(10)
        yield "but whole"

    def write() -> None:
        try:
            write_atomic(path, slowly())
        except WorkError as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    assert begun.wait(10)
    write_atomic(path, "fast")
    assert path.read_text() == "fast"
    go_on.set()
    thread.join(10)
    assert not failed
    assert path.read_text() == "slow, but whole"
    assert [one.name for one in tmp_path.iterdir()] == ["answer"]


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"old": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(WorkError, match="disk is full"):
            write_atomic(path, "x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_json(path) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_nan_never_reaches_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"value": float("nan")})


def test_a_bad_row_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({"a": 1}) + "\n{torn\n")
    with pytest.raises(DataError, match=r"results.jsonl:2: not a row"):
        list(read_rows(path))


def test_a_missing_run_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is this the folder of a run"):
        read_json(tmp_path / "run.json")

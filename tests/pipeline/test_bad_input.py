"""The table of bad input: each gives a row with a reason or an error that says what to do.

Whatever is wrong with one line, one reference or one picture, everything else is scored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.cli import main
from personae.compute.runs import read_rows
from tests.conftest import SceneFolder

CAT = ("animal", ["cat.png"])


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(item) for item in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def base(folder: SceneFolder, demo) -> SceneFolder:
    """A scene that is in order, with its picture, to be kept whatever else happens."""
    cat = Image.fromarray(demo["references"]["cat"]).resize((150, 100))
    folder.photo("cat.png", np.asarray(cat))
    folder.scene("fine", {"cat": CAT})
    picture = Image.new("RGB", (220, 160), (30, 60, 120))
    picture.paste(cat.resize((120, 80)), (50, 40))
    folder.picture("fine.png", np.asarray(picture))
    return folder


def picture_bytes(content: bytes) -> Callable[[SceneFolder], None]:
    def spoil(folder: SceneFolder) -> None:
        folder.scene("bad", {"cat": CAT})
        (folder.images / "bad.png").write_bytes(content)

    return spoil


def half_a_picture(folder: SceneFolder) -> None:
    whole = (folder.images / "fine.png").read_bytes()
    picture_bytes(whole[: len(whole) // 2])(folder)


def one_pixel(folder: SceneFolder) -> None:
    folder.scene("bad", {"cat": CAT})
    folder.picture("bad.png", np.zeros((1, 1, 3), np.uint8))


def no_picture(folder: SceneFolder) -> None:
    folder.scene("bad", {"cat": CAT})


def faceless(folder: SceneFolder) -> None:
    folder.scene("bad", {"ann": ("person", ["cat.png"])})
    folder.picture("bad.png", np.full((200, 200, 3), 127, np.uint8))


def missing_reference(folder: SceneFolder) -> None:
    folder.scene("bad", {"dog": ("animal", ["dog.png"])})
    folder.picture("bad.png", np.full((200, 200, 3), 127, np.uint8))


def wrong_mask(folder: SceneFolder) -> None:
    folder.photo("m.png", np.full((36, 20), 255, np.uint8))
    reference = [{"image": "cat.png", "mask": "m.png"}]
    folder.scene("bad", {"cat": ("animal", reference)})
    folder.picture("bad.png", np.full((200, 200, 3), 127, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (picture_bytes(b""), r"bad\.png: the file is empty"),
        (picture_bytes(b"hello"), r"bad\.png: not a picture"),
        (half_a_picture, r"bad\.png: truncated or damaged"),
        (one_pixel, r"bad\.png: 1x1 is too small"),
        (no_picture, "the scene has no picture"),
        (faceless, r"no face in reference .*cat\.png"),
        (missing_reference, r"dog\.png: no such file"),
        (wrong_mask, r"m\.png: mask is 20x36, its photo 150x100"),
    ],
    ids=["zero-byte", "text", "truncated", "1-pixel", "none", "faceless", "missing", "mask"],
)
def test_a_bad_picture_or_reference_gives_rows_with_the_reason(
    spoil, says: str, base: SceneFolder
) -> None:
    spoil(base)
    assert (
        run("evaluate", base.scenes, "--images", base.images, "--out", base.out, "--workers", 1)
        == 0
    )
    rows = list(read_rows(base.out / "results.jsonl"))
    bad = [row for row in rows if row["scene"] == "bad"]
    assert bad
    assert all(row["value"] is None for row in bad)
    assert all(re.search(says, row["unmeasured"]) for row in bad), bad[0]["unmeasured"]
    fine = [row for row in rows if row["scene"] == "fine" and row["metric"] == "presence"]
    assert [row["value"] for row in fine] == [1.0]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "torn", ', r"scenes\.jsonl:7: not JSON"),
        ('{"id": "fine", "prompt": "x", "subjects": {}}', r"scenes\.jsonl:7: .*no subjects"),
        (None, r"scenes\.jsonl:7: id 'fine' was used before"),
        (
            '{"id": "e", "prompt": "x", "subjects": {"a": {"noun": "a", "kind": "object", '
            '"references": ["/etc/hostname"]}}}',
            r"scenes\.jsonl:7: .*leaves .*--root",
        ),
    ],
    ids=["torn", "empty", "duplicate", "escape"],
)
def test_a_bad_line_seven_is_named_and_the_rest_is_scored(
    line, says: str, base: SceneFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(5):
        base.line("")
    base.line(line or base.lines[0])
    assert (
        run("evaluate", base.scenes, "--images", base.images, "--out", base.out, "--workers", 1)
        == 1
    )
    assert re.search(says, capsys.readouterr().err.replace("\n", " "))
    rows = list(read_rows(base.out / "results.jsonl"))
    assert {row["scene"] for row in rows} == {"fine"}


def test_a_noun_that_is_never_there_is_absent_and_counts(base: SceneFolder) -> None:
    base.scene("empty", {"cat": CAT})
    base.picture("empty.png", np.full((200, 200, 3), (30, 60, 120), np.uint8))
    assert (
        run("evaluate", base.scenes, "--images", base.images, "--out", base.out, "--workers", 1)
        == 0
    )
    rows = {
        row["metric"]: row
        for row in read_rows(base.out / "results.jsonl")
        if row["scene"] == "empty"
    }
    assert rows["presence"]["value"] == 0.0
    assert rows["presence"]["details"]["absent"]
    assert rows["strict_matching_reward"]["value"] == 0.0
    summary = json.loads((base.out / "summary.json").read_text())["metrics"]
    (presence,) = (item for item in summary if item["metric"] == "presence")
    assert (presence["n"], presence["n_absent"], presence["mean"]) == (2, 1, 0.5)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["evaluate", "none.jsonl", "--images", ".", "--out", "o"], 1, "none.jsonl: no such file"),
        (["score", "none.png", "--ref", "a=cat.png", "--kind", "object"], 1, "none.png: no such"),
        (["score", "cat.png", "--ref", "cat.png"], 2, "expected NAME=VALUE"),
        (["score", "cat.png", "--ref", "a=cat.png", "--kind", "ghost"], 2, "expected one of"),
        (["score", "cat.png", "--ref", "a=cat.png", "--kind", "b=object"], 2, "'b' has no --ref"),
        (["score", "cat.png", "--ref", "a=none.png", "--kind", "object"], 1, "none.png: no such"),
        (["score", "cat.png", "--ref", "a=cat.png", "--protocol", "kind"], 2, "expected one of"),
        (
            ["score", "cat.png", "--ref", "a=cat.png", "--kind", "object", "--embedder", "eye"],
            2,
            "--embedder 'eye'",
        ),
        (
            ["score", "cat.png", "--ref", "a=cat.png", "--kind", "person", "--faces", "arcface"],
            2,
            "--faces 'arcface'",
        ),
        (["compare", "nowhere", "nowhere2"], 1, "results.jsonl: cannot be read"),
        (["compare", "a", "b", "--fail-if", "presence"], 2, "expected METRIC<NUMBER"),
        (["report", "nowhere"], 1, "nowhere"),
        (["doctor", "--cast", "nowhere.jsonl"], 1, "nowhere.jsonl: no such file"),
        (["score"], 2, "Missing argument"),
        (["sing"], 2, "No such command"),
    ],
)
def test_a_wrong_request_says_what_to_do(
    arguments, status: int, says: str, base: SceneFolder, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(base.path)
    assert run(*arguments) == status
    captured = capsys.readouterr()
    assert says in captured.err.replace("\n", " ")
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_folder_that_cannot_be_made_is_told(base: SceneFolder, capsys) -> None:
    (base.path / "file").touch()
    out = base.path / "file" / "out"
    assert run("evaluate", base.scenes, "--images", base.images, "--out", out, "--workers", 1) == 1
    assert "cannot make this folder" in capsys.readouterr().err


def test_json_is_all_that_is_printed(base: SceneFolder, capsys) -> None:
    picture: Path = base.images / "fine.png"
    status = run(
        "score", picture, "--ref", f"cat={base.path / 'cat.png'}", "--kind", "animal", "--json"
    )
    assert status == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["metric"] for row in rows} >= {"presence", "strict_matching_reward"}

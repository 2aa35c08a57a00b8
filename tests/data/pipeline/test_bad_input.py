"""What comes in bad, or was left half: told, counted, made again, and no other is harmed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.data.pair import PairTask, make_pairs
from personae.data.pipeline.clips import Frames, read_clips
from personae.data.pipeline.duplicates import Unlike
from personae.data.pipeline.items import Item
from personae.data.pipeline.pairs import Pairs
from personae.data.pipeline.people import Faces
from personae.data.pipeline.runner import run_pipeline
from personae.errors import DataError
from tests.data.pipeline.test_runner import Halved, Painted, lines, source


def alone(count: int) -> list[Item]:
    """Each item a group of its own."""
    return [Item(id=f"i{n}", data={"n": n}) for n in range(count)]


def lost(out: Path) -> list[dict]:
    texts = [path.read_text() for path in sorted(out.glob("*/*/lost.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


STEPS = ("00-source", "01-painted", "02-halved")
FILES = [(step, file) for step in STEPS for file in ("items.jsonl", "lost.jsonl", "done.json")]
FILES.remove(("00-source", "lost.jsonl"))  # nothing is lost there


@pytest.mark.parametrize(("step", "file"), FILES)
def test_manifests_cut_in_the_middle_are_written_again(
    step: str, file: str, tmp_path: Path
) -> None:
    steps = [Painted(fail=7), Halved()]
    run_pipeline(source(), steps, tmp_path, shard_items=5)
    before = lines(tmp_path)
    path = tmp_path / step / "shard-000001" / file
    content = path.read_bytes()
    assert content
    path.write_bytes(content[: len(content) // 2])
    account = run_pipeline(source(), steps, tmp_path, shard_items=5)
    assert lines(tmp_path) == before
    made = [int(step == folder) for folder in STEPS[1:]]
    assert [one.num_made for one in account.steps] == made, "one shard, and none that follows it"


def test_what_a_kill_left_half_is_no_hindrance(tmp_path: Path) -> None:
    half = tmp_path / "01-painted/.shard-000001.part"
    (half / "files").mkdir(parents=True)
    (half / "files/i7.png").write_bytes(b"half a pic")
    (half / "items.jsonl").write_text('{"id": "i7", "fi')
    (tmp_path / "01-painted/shard-000002").mkdir()
    run_pipeline(source(), [Painted()], tmp_path, shard_items=5)
    run_pipeline(source(), [Painted()], tmp_path.with_name("fresh"), shard_items=5)
    assert lines(tmp_path) == lines(tmp_path.with_name("fresh"))


def test_one_in_a_hundred_fails_and_the_others_are_what_they_were(tmp_path: Path) -> None:
    account = run_pipeline(alone(300), [Painted(fail=100)], tmp_path / "bad", shard_items=50)
    assert account.steps[0].failed == {"the step failed (RuntimeError)": 3}
    assert account.steps[0].num_out == 297
    assert [one["id"] for one in lost(tmp_path / "bad")] == ["i0", "i100", "i200"]
    run_pipeline(alone(300), [Painted()], tmp_path / "good", shard_items=50)
    bad, good = lines(tmp_path / "bad"), lines(tmp_path / "good")
    pictures = {name for name in good if name.endswith(".png")}
    gone = {name for name in pictures if Path(name).stem in {"i0", "i100", "i200"}}
    assert len(pictures) == 300 and len(gone) == 3
    assert all(bad[name] == good[name] for name in pictures - gone)


def test_a_clip_without_people_is_counted_and_others_go_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("wall", "sky"):
        clip = tmp_path / "clips/walk" / name
        clip.mkdir(parents=True)
        spots = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(spots).resize((64, 64)).save(clip / "a.png")
    eyes = {"faces": Faces(eyes="toons"), "pairs": Pairs(eyes="toons")}
    account = make_pairs(PairTask(clips=tmp_path / "clips", out=tmp_path / "out", **eyes))
    frames, _, faces, pairs = account.steps
    assert frames.num_out == 2 and faces.dropped == {"fewer than 1 people": 2}
    assert pairs.num_in == 0 and (tmp_path / "out/examples.jsonl").read_text() == ""
    assert not (tmp_path / "out/contact_sheet.png").exists()


def test_a_thousand_copies_take_no_longer_than_a_thousand_others() -> None:
    """Every copy is compared with the one that stays, and with no other."""
    rng = np.random.default_rng(0)
    copies = [Item(id=f"c{n}", data={"hash": "0f" * 8}) for n in range(4000)]
    others = [
        Item(id=f"o{n}", data={"hash": f"{int(rng.integers(1 << 62)):016x}"}) for n in range(4000)
    ]
    spent = []
    for items in (copies, others):
        start = time.process_time()
        gone = Unlike().decide(items)
        spent.append(time.process_time() - start)
        assert len(gone) == (3999 if items is copies else 0)
    assert spent[0] < spent[1] + 0.05


def test_names_with_spaces_and_of_every_script(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for album in ("Sommer am See", "été 2024", "写真", "a:b"):
        for clip in ("der erste Tag", "第二天"):
            folder = tmp_path / "my clips" / album / clip
            folder.mkdir(parents=True)
            picture = rng.integers(0, 255, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(picture).save(folder / "ein Bild ü.png")
    account = run_pipeline(read_clips(tmp_path / "my clips"), [Frames()], tmp_path / "my out")
    items = list(account.items())
    assert len(items) == 8 and not account.steps[0].failed
    assert len({item.id for item in items}) == 8 and len({item.group for item in items}) == 4
    assert all((tmp_path / "my out" / item.files["image"]).is_file() for item in items)


@pytest.mark.parametrize("path", ["../../secret.png", "a/../../secret.png", "\\\\host\\x.png"])
def test_a_path_that_leaves_the_folder_fails_its_item_alone(path: str, tmp_path: Path) -> None:
    """Such as in a manifest that somebody else made."""
    Image.new("RGB", (16, 16), "white").save(tmp_path / "secret.png")
    good = tmp_path / "good.png"
    Image.new("RGB", (16, 16)).save(good)
    items = [Item(id="bad", files={"image": path}), Item(id="good", files={"image": str(good)})]
    account = run_pipeline(items, [Halved()], tmp_path / "out")
    assert account.steps[0].failed == {"the step failed (DataError)": 1}
    assert "expected a path below the folder" in lost(tmp_path / "out")[0]["detail"]
    assert [item.id for item in account.items()] == ["good-a", "good-b"]


def test_an_absolute_path_is_what_came_in_and_may_be_gone(tmp_path: Path) -> None:
    items = [Item(id="gone", files={"image": str(tmp_path / "gone.png")})]
    account = run_pipeline(items, [Halved()], tmp_path / "out")
    assert account.steps[0].failed == {"the step failed (DataError)": 1}
    assert "no such file" in lost(tmp_path / "out")[0]["detail"]


def test_two_items_of_one_id_are_found_wherever_they_are(tmp_path: Path) -> None:
    far = [*alone(40), Item(id="i3", data={"n": 1})]
    with pytest.raises(DataError, match="i3: two items of one id came in"):
        run_pipeline(far, [Painted()], tmp_path, shard_items=5)
    near = [*alone(3), Item(id="i2", data={"n": 1})]
    with pytest.raises(DataError, match="i2: two items of one id came in"):
        run_pipeline(near, [Painted()], tmp_path, shard_items=5)

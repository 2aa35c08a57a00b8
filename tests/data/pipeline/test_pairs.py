"""From clips to pairs: frames, faces, and other pictures of the same people."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.compute.workers import Processes
from personae.data.examples import ExampleFile
from personae.data.pair import PairTask, make_pairs
from personae.data.pipeline.clips import Frames, read_clips
from personae.data.pipeline.copied import copied
from personae.data.pipeline.crops import box_within, head_crop, head_region
from personae.data.pipeline.items import read_items
from personae.data.pipeline.looks import hash_distance, perceptual_hash, sharpness
from personae.data.pipeline.pairs import Pairs
from personae.data.pipeline.people import Faces
from personae.data.pipeline.runner import run_pipeline
from personae.errors import DataError, RequestError
from personae.subjects.box import Box
from personae.subjects.manifest import read_cast
from personae.subjects.picture import read_picture
from personae.toons import portrait, scene, write_clips

EYES = {"faces": Faces(eyes="toons"), "pairs": Pairs(eyes="toons")}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two albums of four toons each, four clips of three frames."""
    return write_clips(tmp_path_factory.mktemp("clips"), albums=2, frames=3)


@pytest.fixture(scope="module")
def paired(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("paired")
    make_pairs(PairTask(clips=clips, out=out, **EYES, subject_words="{noun}{index}"))
    return out


def truth_of(clips: Path, frame: str) -> list[int]:
    """Whose seeds are in a frame, from left to right."""
    album, clip, name = frame.split("/")
    told = json.loads((clips / album / "truth.json").read_text())
    return told[f"{clip}/{int(name):03d}.png"]


def test_every_reference_is_the_same_toon_from_another_clip(clips: Path, paired: Path) -> None:
    """By the truth of the drawn albums, not by the eyes that recalled them."""
    alone = total = 0
    for path in (paired / "04-pairs").glob("*/items.jsonl"):
        for item in read_items(path):
            left = [one["box"][0] for one in item.data["people"]]
            for place, person in zip(np.argsort(left), truth_of(clips, item.id), strict=True):
                told = item.data["people"][place]
                assert min(told["similarity"]) >= Pairs(eyes="toons").limits.same
                for origin in told["from"]:
                    assert origin.split("/")[0] == item.id.split("/")[0]
                    assert origin.split("/")[1] != item.id.split("/")[1]
                    there = truth_of(clips, origin)
                    assert person in there
                    total, alone = total + 1, alone + (there == [person])
    assert total > 20 and alone > 5


def test_references_could_not_be_copied(paired: Path) -> None:
    """By the crops that were written, not by what was noted of them."""
    most, compared = Pairs(eyes="toons").limits.most_copied, 0
    for path in (paired / "04-pairs").glob("*/items.jsonl"):
        for item in read_items(path):
            target = read_picture(paired / item.files["image"])
            for number, one in enumerate(item.data["people"]):
                assert max(one["copied"]) < most
                for place, boxes in enumerate(one["shown"]):
                    crop = read_picture(paired / item.files[f"reference-{number}-{place}"])
                    again = [copied(target, Box(*one["box"]), crop, Box(*box)) for box in boxes]
                    assert min(abs(value - one["copied"][place]) for value in again) < 0.15
                    compared += 1
    assert compared > 20


def test_a_clip_that_was_saved_again_gives_no_reference(clips: Path, tmp_path: Path) -> None:
    """Frames of one clip, and the same ones brighter, smaller and saved as JPEG."""
    home = tmp_path / "clips/one"
    shutil.copytree(clips / "album-000" / "clip-00", home / "first")
    (home / "again").mkdir()
    for path in sorted((home / "first").glob("*.png")):
        picture = Image.fromarray((read_picture(path) * 0.9).astype(np.uint8))
        picture.resize((144, 144)).save(home / "again" / f"{path.stem}.jpg", quality=60)
    task = PairTask(clips=tmp_path / "clips", out=tmp_path / "out", **EYES, unlike=None)
    account = make_pairs(task)
    assert account.steps[-1].num_out == 0
    assert account.steps[-1].dropped["a person whose other pictures are copies"] >= 1
    kept = make_pairs(replace(task, out=tmp_path / "no", pairs=Pairs(eyes="toons", most_copied=2)))
    assert kept.steps[-1].num_out >= 1, "only that rule dropped them"


def test_examples_can_be_trained_on_and_carry_license_and_consent(paired: Path) -> None:
    examples = ExampleFile(paired / "examples.jsonl", ((128, 128), (192, 128)), 64)
    assert not examples.problems and len(examples) >= 6
    first = examples[0]
    assert first.kinds == ("person",) * len(first.references) and "person1" in first.prompt
    lines = [json.loads(line) for line in (paired / "examples.jsonl").read_text().splitlines()]
    assert {(line["license"], line["consent"]) for line in lines} == {("CC0-1.0", "drawn")}
    assert all(line["sources"][0].startswith("pairs:album-") for line in lines)
    cast = read_cast(paired / "cast.jsonl")
    assert not cast.problems
    files = [file for subject in cast.subjects for file in subject.references]
    assert {(file.license, file.consent, file.source) for file in files} == {
        ("CC0-1.0", "drawn", "personae.toons")
    }
    with Image.open(paired / "contact_sheet.png") as sheet:
        assert sheet.width > 1000


@pytest.mark.slow
def test_two_processes_find_the_same(clips: Path, paired: Path, tmp_path: Path) -> None:
    task = PairTask(
        clips=clips, out=tmp_path, **EYES, subject_words="{noun}{index}", workers=Processes(2)
    )
    make_pairs(task)
    names = ("examples.jsonl", "cast.jsonl", "contact_sheet.png")
    for name in names:
        assert (tmp_path / name).read_bytes() == (paired / name).read_bytes()


def test_no_other_clip_no_pair(clips: Path, tmp_path: Path) -> None:
    shutil.copytree(clips / "album-000" / "clip-00", tmp_path / "clips/one/clip")
    account = make_pairs(PairTask(clips=tmp_path / "clips", out=tmp_path / "out", **EYES))
    assert account.steps[-1].num_out == 0
    assert set(account.steps[-1].dropped) <= {
        "not 2 to 5 people",
        "a person without another picture",
    }
    assert (tmp_path / "out/examples.jsonl").read_text() == ""


def test_somebody_without_another_picture_may_stay_if_asked_for(tmp_path: Path) -> None:
    drawn = scene(3, count=3)
    album = tmp_path / "clips" / "album"
    pictures = {"group": [drawn.image]}
    for member in drawn.members[:2]:
        pictures[member.name] = [portrait(member.toon, 5, 128, than=member.pose).image]
    for clip, images in pictures.items():
        (album / clip).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(album / clip / f"{number}.png")

    def made(strangers: int) -> tuple:
        task = PairTask(
            clips=tmp_path / "clips",
            out=tmp_path / str(strangers),
            faces=Faces(eyes="toons"),
            pairs=Pairs(eyes="toons", strangers=strangers),
        )
        account = make_pairs(task)
        return account.steps[-1].dropped, list(account.items())

    dropped, items = made(0)
    assert dropped["a person without another picture"] == 1 and not items
    _, items = made(1)
    (item,) = items
    assert item.data["strangers"] == 1 and len(item.data["people"]) == 2
    told = {one["from"][0].split("/")[1]: one["box"] for one in item.data["people"]}
    for member in drawn.members[:2]:
        x, y = member.face.center
        left, top, right, bottom = told[member.name]
        assert left < x < right and top < y < bottom
    (line,) = (tmp_path / "1" / "examples.jsonl").read_text().splitlines()
    assert len(json.loads(line)["references"]) == 2


def test_references_are_cut_out_if_asked_for(clips: Path, tmp_path: Path) -> None:
    eyes = {"faces": Faces(eyes="toons"), "pairs": Pairs(eyes="toons", cut=True)}
    account = make_pairs(PairTask(clips=clips, out=tmp_path, **eyes))
    plain, inside = [], 0
    for item in account.items():
        for person, one in enumerate(item.data["people"]):
            picture = read_picture(tmp_path / item.files[f"reference-{person}-0"])
            plain.append((picture == np.array((210, 215, 220))).all(-1).mean())
            (box,) = one["shown"][0]
            middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
            inside += bool(np.abs(middle / picture.shape[0] - 0.5).max() < 0.1)
    assert len(plain) > 8 and np.mean(plain) > 0.3 and inside == len(plain)


def test_bad_clips_are_told_and_lose_no_other(clips: Path, tmp_path: Path) -> None:
    home = tmp_path / "clips"
    shutil.copytree(clips / "album-000", home / "a lbum")
    (home / "a lbum" / "torn.mp4").write_bytes(b"no video at all")
    empty = home / "a lbum" / "damaged"
    empty.mkdir()
    (empty / "1.jpg").write_bytes(b"no picture")
    (home / "a lbum" / "clip-00" / "000.png").write_bytes(b"no picture either")
    account = run_pipeline(read_clips(home), [Frames()], tmp_path / "out", shard_items=1)
    frames = account.steps[0]
    assert frames.num_in == 6 and frames.failed == {"the clip cannot be read": 2}
    texts = [path.read_text() for path in (tmp_path / "out").rglob("lost.jsonl")]
    lost = [json.loads(line) for text in texts for line in text.splitlines()]
    assert sorted(one["id"].split("/")[1] for one in lost) == ["damaged", "torn.mp4"]
    assert frames.num_out == 11, "of a clip with one bad picture the others are taken"


def test_a_thousand_copies_are_one_frame(tmp_path: Path) -> None:
    clip = tmp_path / "clips/album/still"
    clip.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8).repeat(16, 0)
    Image.fromarray(picture.repeat(16, 1)).save(clip / "0.png")
    for number in range(1, 40):
        shutil.copy(clip / "0.png", clip / f"{number}.png")
    account = run_pipeline(read_clips(tmp_path / "clips"), [Frames()], tmp_path / "out")
    assert account.steps[0].num_out == 1


def test_videos_are_read_frame_by_second(tmp_path: Path) -> None:
    import cv2

    home = tmp_path / "clips" / "album"
    home.mkdir(parents=True)
    writer = cv2.VideoWriter(str(home / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    rng = np.random.default_rng(1)
    for _ in range(30):
        writer.write(rng.integers(0, 255, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1))
    writer.release()
    out = tmp_path / "out"
    account = run_pipeline(read_clips(tmp_path / "clips"), [Frames(every_s=1.0)], out)
    items = list(account.items())
    assert len(items) == 3
    assert read_picture(out / items[0].files["image"]).shape == (48, 64, 3)


def test_where_no_clips_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_clips(tmp_path / "none")
    (tmp_path / "empty/album").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no clip in it; expected ALBUM/CLIP/\*.jpg"):
        read_clips(tmp_path / "empty")
    clip = tmp_path / "one" / "clip"
    clip.mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(clip / "a.png")
    assert [item.id for item in read_clips(tmp_path / "one")] == ["one/clip"]
    (tmp_path / "one" / "album.json").write_text('{"license": 3}')
    with pytest.raises(DataError, match=r"album.json: expected an object of texts"):
        read_clips(tmp_path / "one")
    with pytest.raises(RequestError, match="expected the same eyes"):
        PairTask(clips=tmp_path, out=tmp_path, faces=Faces(eyes="toons"))


def test_hashes_of_what_looks_alike_are_near() -> None:
    rng = np.random.default_rng(0)
    pictures = [
        rng.integers(0, 255, (6, 6, 3), np.uint8).repeat(20, 0).repeat(20, 1) for _ in range(20)
    ]
    apart = [
        hash_distance(perceptual_hash(a), perceptual_hash(b))
        for k, a in enumerate(pictures)
        for b in pictures[:k]
    ]
    assert 24 < np.mean(apart) < 40 and min(apart) > 12
    for picture in pictures:
        noisy = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        small = np.asarray(Image.fromarray(noisy).resize((77, 80)))
        brighter = (picture * 0.7 + 40).astype(np.uint8)
        for other in (noisy, small, brighter):
            assert hash_distance(perceptual_hash(picture), perceptual_hash(other)) <= 10


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (12, 15), np.uint8)
    image = np.stack([gray] * 3, -1)
    seen = np.asarray(Image.fromarray(image).convert("L"), float)
    slow = [
        seen[y - 1, x] + seen[y + 1, x] + seen[y, x - 1] + seen[y, x + 1] - 4 * seen[y, x]
        for y in range(1, 11)
        for x in range(1, 14)
    ]
    assert sharpness(image) == pytest.approx(np.var(slow))
    assert sharpness(np.asarray(Image.fromarray(image).resize((60, 48)))) < sharpness(image) / 4


def test_a_crop_holds_one_head() -> None:
    picture = np.arange(200 * 300 * 3, dtype=np.uint32).reshape(200, 300, 3).astype(np.uint8)
    alone = head_crop(picture, Box(100, 60, 140, 100), [])
    assert alone is not None and alone.shape == (104, 104, 3)
    beside = head_crop(picture, Box(100, 60, 140, 100), [Box(150, 60, 190, 100)])
    assert beside is not None and beside.shape == (80, 80, 3)
    assert head_crop(picture, Box(100, 60, 140, 100), [Box(105, 62, 135, 98)]) is None
    corner = head_crop(picture, Box(0, 0, 40, 40), [])
    assert corner is not None and np.array_equal(corner, picture[:104, :104])
    assert head_crop(picture[:12, :12], Box(2, 2, 6, 6), []) is None
    region = head_region((200, 300), Box(100, 60, 140, 100), [])
    assert region is not None and np.array_equal(
        alone, picture[int(region.top) : int(region.bottom), int(region.left) : int(region.right)]
    )
    assert box_within(Box(100, 60, 140, 100), region) == [
        100 - region.left,
        60 - region.top,
        140 - region.left,
        100 - region.top,
    ]
    assert box_within(Box(0, 0, 5, 5), Box(10, 10, 20, 20)) is None

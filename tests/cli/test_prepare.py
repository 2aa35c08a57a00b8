"""``personae prepare`` and ``personae export`` as a user types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae import toons
from personae.cli import main
from personae.data import prepare as preparing
from personae.errors import DataError
from personae.subjects.manifest import read_cast
from personae.subjects.mask import mask_iou
from personae.subjects.picture import read_mask, read_picture
from personae.vision.detectors import by_words
from tests.data.photo_sets import picture, small_cast, thing

BIG = (160, 140)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(item) for item in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two subjects with masks beside their photos: nothing has to be cut."""
    small_cast(tmp_path / "photos")
    return tmp_path / "photos"


@pytest.fixture
def cast(tmp_path: Path) -> Path:
    return tmp_path / "cast"


def prepare(photos: Path, cast: Path, *more: object) -> int:
    """Everything is an object here unless said: no face is looked for."""
    kinds = [
        f"--kind={path.name}=object"
        for path in sorted(photos.iterdir())
        if path.is_dir()
        and any(path.glob("*.*g"))
        and not any(str(item).startswith(f"--kind={path.name}=") for item in more)
    ]
    return run("prepare", photos, "--out", cast, *kinds, *more)


def words(text: str) -> str:
    return " ".join(text.split())


def save(path: Path, pixels: np.ndarray, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def subjects(cast: Path) -> dict:
    return {
        item["id"]: item for item in json.loads((cast / "prepare.json").read_text())["subjects"]
    }


def reasons(cast: Path) -> dict[str, set[str]]:
    """Photo's file -> kinds of doubt."""
    return {
        photo["image"]: {doubt["kind"] for doubt in photo["doubts"]}
        for item in subjects(cast).values()
        for photo in item["photos"]
    }


def test_given_masks_make_a_cast_that_reads_back(photos: Path, cast: Path, capsys) -> None:
    assert prepare(photos, cast, "--noun=robot=white robot toy", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_photos"] == 4
    assert told["num_cut"] == 0
    manifest = read_cast(cast / "cast.jsonl")
    assert manifest.problems == ()
    can, robot = manifest.subjects
    assert (can.id, can.token, can.noun) == ("grüne Kanne", "olis", "grüne Kanne")
    assert (robot.id, robot.token, robot.noun) == ("robot", "hta", "white robot toy")
    for subject in manifest.subjects:
        for file in subject.references:
            assert file.caption == f"a photo of {{{subject.id}}}"
            original = photos / file.image.relative_to(cast.resolve())
            image = read_picture(file.image)
            assert np.array_equal(image, read_picture(original))
            assert np.array_equal(
                read_mask(file.mask, image.shape[:2]),
                read_mask(original.with_suffix(".mask.png"), image.shape[:2]),
            )
    assert {"cast.jsonl", "contact_sheet.png", "prepare.json", "doubtful.jsonl"} <= {
        path.name for path in cast.iterdir()
    }
    warned = [text for text in told["warnings"] if "descriptive noun is a guess" in text]
    assert len(warned) == 1
    assert warned[0].startswith("grüne Kanne")


def test_photos_without_masks_are_cut_and_kept_when_nothing_changed(
    tmp_path: Path, cast: Path, capsys
) -> None:
    truths = {}
    for number in range(3):
        image, truths[number] = thing(number, BIG)
        save(tmp_path / "photos" / "ball" / f"p{number}.png", image)
    assert prepare(tmp_path / "photos", cast, "--noun=ball=speckled ball", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_cut"] == 3
    for number, truth in truths.items():
        mask = cast / "ball" / f"{number:02d}.mask.png"
        assert mask_iou(read_mask(mask, truth.shape), truth) > 0.7
    before = (cast / "cast.jsonl").read_bytes()
    mended = np.zeros((140, 160), dtype=bool)
    mended[30:110, 30:130] = True
    save(cast / "ball" / "01.mask.png", mended)

    assert prepare(tmp_path / "photos", cast, "--noun=ball=speckled ball", "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_cut"] == 0
    assert (cast / "cast.jsonl").read_bytes() == before
    assert np.array_equal(read_mask(cast / "ball" / "01.mask.png", (140, 160)), mended)
    assert [item["by"] for item in subjects(cast)["ball"]["photos"]][1] == "edited"

    assert prepare(tmp_path / "photos", cast, "--noun=ball=speckled ball", "--only=ball") == 0
    assert not np.array_equal(read_mask(cast / "ball" / "01.mask.png", (140, 160)), mended)


def test_a_killed_call_goes_on_with_the_subject_it_was_at(
    photos: Path, cast: Path, monkeypatch, capsys
) -> None:
    for mask in photos.rglob("*.mask.png"):
        mask.unlink()
    calls, real = [], preparing.prepared_subject

    def dies(asked, *rest):
        calls.append(asked.id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(asked, *rest)

    monkeypatch.setattr(preparing, "prepared_subject", dies)
    assert prepare(photos, cast) in {1, 130}
    assert not (cast / "cast.jsonl").exists()
    monkeypatch.setattr(preparing, "prepared_subject", real)
    capsys.readouterr()
    assert prepare(photos, cast, "--json") == 0
    assert json.loads(capsys.readouterr().out)["num_cut"] == 2, "the second subject's alone"
    assert len(read_cast(cast / "cast.jsonl").subjects) == 2


def test_overwrite_leaves_no_file_of_the_cast_before(photos: Path, cast: Path) -> None:
    assert prepare(photos, cast) == 0
    (photos / "robot" / "01.png").unlink()
    assert prepare(photos, cast, "--overwrite") == 0
    assert sorted(path.name for path in (cast / "robot").iterdir()) == ["00.mask.png", "00.png"]
    (cast / "prepare.json").write_text("{")
    assert prepare(photos, cast) == 1
    assert prepare(photos, cast, "--overwrite") == 0


def test_an_edited_mask_stays_edited(photos: Path, cast: Path) -> None:
    assert prepare(photos, cast) == 0
    mended = np.zeros((40, 48), dtype=bool)
    mended[5:30, 10:40] = True
    save(cast / "robot" / "00.mask.png", mended)
    for _ in range(2):
        assert prepare(photos, cast) == 0
        assert subjects(cast)["robot"]["photos"][0]["by"] == "edited"
        assert np.array_equal(read_mask(cast / "robot" / "00.mask.png", (40, 48)), mended)
    assert prepare(photos, cast, "--overwrite") == 0
    assert subjects(cast)["robot"]["photos"][0]["by"] == "given"


def test_only_one_subject_is_done_again_and_tokens_stay(photos: Path, cast: Path) -> None:
    assert prepare(photos, cast) == 0
    save(photos / "aaa" / "0.png", thing(5)[0])
    save(photos / "aaa" / "0.mask.png", thing(5)[1])
    (photos / "robot" / "01.png").unlink()
    assert prepare(photos, cast, "--only=aaa") == 0
    assert {name: item["token"] for name, item in subjects(cast).items()} == {
        "aaa": "ult",
        "grüne Kanne": "olis",
        "robot": "hta",
    }
    assert len(subjects(cast)["robot"]["photos"]) == 2
    assert prepare(photos, cast) == 0
    assert len(subjects(cast)["robot"]["photos"]) == 1
    assert not (cast / "robot" / "01.png").exists(), "no file that the cast does not name"
    assert not (cast / "robot" / "01.mask.png").exists()


def test_eleven_subjects_have_eleven_tokens(tmp_path: Path, cast: Path) -> None:
    for number in range(11):
        image, mask = thing(number)
        save(tmp_path / "photos" / f"thing {number:02d}" / "a.png", image)
        save(tmp_path / "photos" / f"thing {number:02d}" / "a.mask.png", mask)
    assert prepare(tmp_path / "photos", cast) == 0
    manifest = read_cast(cast / "cast.jsonl")
    assert [item.id for item in manifest.subjects] == [f"thing {n:02d}" for n in range(11)]
    assert len({item.token for item in manifest.subjects}) == 11


def test_a_single_photo_and_a_shared_noun_are_warned_of(tmp_path: Path, cast: Path, capsys) -> None:
    for name, seed in (("ann", 1), ("bea", 2)):
        image, mask = thing(seed)
        save(tmp_path / "photos" / name / "1.png", image)
        save(tmp_path / "photos" / name / "1.mask.png", mask)
        (tmp_path / "photos" / name / "noun.txt").write_text("a doll\n")
    assert prepare(tmp_path / "photos", cast) == 0
    told = words(capsys.readouterr().err)
    assert "ann: a single photo" in told
    assert "ann and bea share the noun 'a doll'" in told
    assert "guess" not in told


def test_a_single_photo_without_a_mask_is_cut_and_not_trusted(
    tmp_path: Path, cast: Path, capsys
) -> None:
    image, truth = thing(2, BIG)
    save(tmp_path / "photos" / "ball" / "1.png", image)
    assert prepare(tmp_path / "photos", cast) == 0
    assert mask_iou(read_mask(cast / "ball" / "00.mask.png", truth.shape), truth) > 0.7
    assert "masks are less sure" in words(capsys.readouterr().err)


def test_doubtful_photos_are_kept_and_listed_with_their_reasons(
    tmp_path: Path, cast: Path, capsys
) -> None:
    folder = tmp_path / "photos" / "ball"
    masks = {
        "a_good": thing(1, (256, 256))[1],
        "b_all": np.ones((256, 256), dtype=bool),
        "c_none": np.zeros((256, 256), dtype=bool),
        "d_two": np.kron([[1, 0, 1], [0, 0, 0], [0, 0, 0]], np.ones((85, 85))).astype(bool),
    }
    masks["d_two"] = np.pad(masks["d_two"], ((20, 0), (0, 1)))[:256]
    for number, (name, mask) in enumerate(masks.items()):
        save(folder / f"{name}.png", thing(number, (256, 256))[0])
        save(folder / f"{name}.mask.png", mask)
    save(folder / "e_copy.jpg", thing(0, (256, 256))[0], quality=95)
    save(folder / "e_copy.mask.png", thing(0, (256, 256))[1])
    assert prepare(tmp_path / "photos", cast) == 0
    found = reasons(cast)
    assert "mask everything" in found["ball/01.png"]
    assert "no subject" in found["ball/02.png"]
    assert "two candidates" in found["ball/03.png"]
    assert "near duplicate" in found["ball/04.jpg"]
    assert not found["ball/00.png"] & {"two candidates", "near duplicate", "no subject"}
    listed = [json.loads(x) for x in (cast / "doubtful.jsonl").read_text().splitlines()]
    assert {item["image"] for item in listed} == {name for name, why in found.items() if why}
    assert "the mask covers 100% of the photo" in words(capsys.readouterr().err)
    references = read_cast(cast / "cast.jsonl").subjects[0].references
    assert len(references) == 5
    assert references[2].mask is None
    sheet = np.asarray(Image.open(cast / "contact_sheet.png"))
    assert (sheet == (205, 25, 25)).all(axis=2).any(), "doubtful ones are framed in red"


def test_what_a_detector_could_not_say_is_told_and_stays(
    tmp_path: Path, cast: Path, capsys, monkeypatch
) -> None:
    """Not "no subject was found": nobody knows. A later call says so again."""
    save(tmp_path / "photos" / "mug" / "00.png", thing(2, BIG)[0])

    class Garbling:
        name = "garbling"

        def __init__(self, *_: object, **__: object) -> None: ...

        def detect(self, *_: object) -> list[object]:
            raise DataError("the answer cannot be read: x<loc_1>")

    monkeypatch.setitem(by_words._CLASSES, "florence-2", Garbling)
    for _ in range(2):
        how = ("--detector=florence-2", "--segmenter=grabcut")
        prepare(tmp_path / "photos", cast, *how)
        told = words("".join(capsys.readouterr()))
        assert "x<loc_1>" in told and "no subject was found" not in told


def test_broken_and_foreign_files_are_told_and_nothing_else_is_lost(
    photos: Path, cast: Path, capsys
) -> None:
    (photos / "robot" / "02.png").write_bytes(b"no picture at all")
    (photos / "robot" / "03.jpg").write_bytes(b"")
    (photos / "robot" / "notes.txt").write_text("x")
    (photos / "robot" / ".hidden").write_text("x")
    (photos / "empty").mkdir()
    save(photos / "broken" / "1.png", picture(1))
    (photos / "broken" / "1.png").write_bytes((photos / "broken" / "1.png").read_bytes()[:200])
    assert prepare(photos, cast) == 1
    told = words(capsys.readouterr().err)
    for name, why in (
        ("02.png", "not a picture"), ("03.jpg", "empty"), ("notes.txt", "not a photo"),
        ("empty", "no photo in it"), ("broken", "the subject is left out"),
    ):  # fmt: skip
        assert re.search(f"{re.escape(name)}.{{0,80}}{why}", told), name
    assert "hidden" not in told
    assert {item.id: len(item.references) for item in read_cast(cast / "cast.jsonl").subjects} == {
        "grüne Kanne": 2,
        "robot": 2,
    }


@pytest.mark.parametrize("stored_mask", [False, True])
def test_a_turned_photo_comes_out_upright_and_its_mask_with_it(
    tmp_path: Path, cast: Path, stored_mask: bool
) -> None:
    image, mask = thing(4, (160, 100))
    exif = Image.Exif()
    exif[274] = 6
    lying = np.rot90(image), np.rot90(mask)
    save(tmp_path / "photos" / "ball" / "1.png", lying[0], exif=exif)
    save(tmp_path / "photos" / "ball" / "1.mask.png", lying[1] if stored_mask else mask)
    assert prepare(tmp_path / "photos", cast) == 0
    assert np.array_equal(read_picture(cast / "ball" / "00.png"), image)
    assert np.array_equal(read_mask(cast / "ball" / "00.mask.png", mask.shape), mask)


def test_a_bad_line_of_a_manifest_is_named_and_nothing_is_written(
    photos: Path, cast: Path, capsys
) -> None:
    lines = ['{"id": {"a": "olis can"}}', '{"id": "a", "file_name": "robot/00.png"}', "{"]
    (photos / "metadata.jsonl").write_text("\n".join(lines))
    assert run("prepare", photos, "--out", cast) == 1
    assert "metadata.jsonl:3: not JSON" in words(capsys.readouterr().err)
    assert not cast.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--noun=robto=x"], "did you mean 'robot'?"),
        (["--noun=robot"], "expected NAME=VALUE"),
        (["--kind=robot=toy"], "kind is one of"),
        (["--only=x"], "no subject 'x'"),
        (["--token=robot=abc", "--token=grüne Kanne=abc"], "'abc' is told for"),
        (["--detector=yolo"], "--detector 'yolo'"),
        (["--segmenter=scissors"], "--segmenter 'scissors'"),
    ],
)
def test_wrong_requests_are_refused_with_what_to_do(
    photos: Path, cast: Path, capsys, flags: list[str], said: str
) -> None:
    assert prepare(photos, cast, *flags) == 2
    assert said in words(capsys.readouterr().err)
    assert not (cast / "cast.jsonl").exists()


def test_a_folder_with_other_files_is_not_written_into(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    assert prepare(photos, tmp_path / "home") == 2
    assert prepare(photos, tmp_path / "home", "--overwrite") == 2
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter.txt"]


def test_toons_are_people_with_one_face_each(tmp_path: Path, cast: Path) -> None:
    for number, one in enumerate(map(toons.toon, toons.identities("test", 2))):
        for seed in range(2):
            drawn = toons.portrait(one, seed=seed, side=192)
            save(tmp_path / "photos" / f"toon{number}" / f"{seed}.png", drawn.image)
    assert run("prepare", tmp_path / "photos", "--out", cast, "--faces=toons") == 0
    people = read_cast(cast / "cast.jsonl").subjects
    assert [person.kind for person in people] == ["person", "person"]
    overlaps = []
    for number, one in enumerate(map(toons.toon, toons.identities("test", 2))):
        truth = toons.portrait(one, seed=0, side=192).mask
        mask = cast / f"toon{number}" / "00.mask.png"
        overlaps.append(mask_iou(read_mask(mask, truth.shape), truth))
    assert max(overlaps) > 0.9
    assert all("two candidates" not in why for why in reasons(cast).values())


@pytest.mark.parametrize("layout", ["mudi", "imagefolder", "coco", "masks"])
def test_a_cast_goes_out_and_comes_back_the_same(
    photos: Path, cast: Path, tmp_path: Path, layout: str, capsys
) -> None:
    nouns = ["--noun=robot=white robot toy", "--noun=grüne Kanne=green can"]
    assert prepare(photos, cast, *nouns) == 0
    out = tmp_path / "out"
    assert run("export", cast, "--format", layout, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))["num_photos"] == 4
    again = tmp_path / "again"
    kinds = ["--kind=robot=object", "--kind=grüne Kanne=object"]
    assert run("prepare", out, "--out", again, *kinds) == 0
    first, second = (read_cast(folder / "cast.jsonl").subjects for folder in (cast, again))
    assert [(a.id, a.noun, a.token) for a in first] == [(b.id, b.noun, b.token) for b in second]
    for old, new in zip(first, second, strict=True):
        assert [item.caption for item in old.references] == [i.caption for i in new.references]
        for file, copy in zip(old.references, new.references, strict=True):
            assert file.image.read_bytes() == copy.image.read_bytes()
            assert file.mask.read_bytes() == copy.mask.read_bytes()


def test_a_cast_with_a_bad_line_is_not_exported(photos: Path, cast: Path, tmp_path, capsys) -> None:
    assert prepare(photos, cast) == 0
    with (cast / "cast.jsonl").open("a") as stream:
        stream.write("{}\n")
    assert run("export", cast, "--format", "mudi", "--out", tmp_path / "out") == 1
    assert "cast.jsonl:3" in words(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()

"""What `personae bench SUITE --check` says of folders that are half there."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from personae.cli import main
from personae.evaluation.suites.suite import SuiteOptions, damaged_files, spelled_as_on_disk
from personae.evaluation.suites.xversebench import XVERSEBENCH
from tests.evaluation.suites.folders import item, photo, tree, xverse_folder


def check(suite: str, folder: Path, capsys, *more: str, status: int = 1) -> dict:
    with pytest.raises(SystemExit) as left:
        main(["bench", suite, "--data", str(folder), "--check", "--json", *more])
    assert (left.value.code or 0) == status
    return json.loads(capsys.readouterr().out)


def test_a_photo_that_is_half_there_is_named(tmp_path: Path, capsys) -> None:
    folder = xverse_folder(tmp_path / "data")
    assert check("xversebench", folder, capsys, status=0)["damaged"] == {}
    torn = folder / "human" / "05_man.jpg"
    torn.write_bytes(torn.read_bytes()[:400])
    (folder / "human" / "16_old man.jpg").write_bytes(b"")
    told: list[tuple[int, int]] = []
    loaded = XVERSEBENCH.load(folder, SuiteOptions())
    assert set(damaged_files(loaded, lambda *each: told.append(each))) == {
        torn,
        folder / "human" / "16_old man.jpg",
    }
    assert told == [(1, 3), (2, 3), (3, 3)]
    said = check("xversebench", folder, capsys)
    assert set(said["damaged"]) == {str(torn), str(folder / "human" / "16_old man.jpg")}
    assert all(path in reason for path, reason in said["damaged"].items())
    assert not said["missing"]
    with pytest.raises(SystemExit):
        main(["bench", "xversebench", "--data", str(folder), "--check"])
    told_lines = " ".join(capsys.readouterr().err.split())
    assert "2 cannot be read" in told_lines and "damaged: " in told_lines


def test_a_damaged_list_leaves_the_other_one(tmp_path: Path, capsys) -> None:
    folder = xverse_folder(tmp_path / "data")
    path = folder / "XVerseBench_single.json"
    path.write_text(path.read_text()[:100])
    said = check("xversebench", folder, capsys)
    assert said["scenes"] == {"multi": 2}
    (problem,) = said["problems"]
    assert str(path) in problem and "the 90 scenes are left out" in problem.replace("its", "the")
    path.write_text('{"0": {}}')
    (problem,) = check("xversebench", folder, capsys)["problems"]
    assert "expected a list of items; got dict" in problem


def test_prompts_without_questions_are_told_of(tmp_path: Path, capsys) -> None:
    folder = xverse_folder(tmp_path / "data")
    trees = [tree("a man in a park")]
    (folder / "XVerseBench_single_DSG.json").write_text(json.dumps(trees))
    (problem,) = check("xversebench", folder, capsys)["problems"]
    assert problem.startswith("XVerseBench_single_DSG.json: no questions for 1 prompts")
    assert "single-001" in problem


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_and_spaces_in_names_are_found_in_either_spelling(form, tmp_path: Path) -> None:
    folder = xverse_folder(tmp_path / "da ta é")
    name = "99_café crème 猫.jpg"
    photo(folder / "object" / unicodedata.normalize(form, name), 9)
    entry = item(7, "a cup of coffee", (f"object/{unicodedata.normalize('NFC', name)}", "cup"))
    (folder / "XVerseBench_multi.json").write_text(json.dumps([entry], ensure_ascii=False), "utf-8")
    loaded = XVERSEBENCH.load(folder, SuiteOptions())
    (scene,) = [scene for scene in loaded.scenes if scene.id == "multi-007"]
    ((subject,),) = [[*scene.subjects.values()]]
    assert subject.references[0].image.is_file()
    gone = folder / "object" / "100_thé.jpg"
    assert spelled_as_on_disk(gone) == gone


def test_psrbench_with_one_damaged_subset(tmp_path: Path, capsys) -> None:
    record = {
        "instruction": "The cat and the mug.",
        "input_path": ["animals/cat.png", "subjects/mug.png"],
        "category1": "cat",
        "category2": "mug",
    }
    (tmp_path / "action.json").write_text(json.dumps([record]))
    (tmp_path / "three.json").write_text("[{")
    photo(tmp_path / "animals" / "cat.png")
    said = check("psrbench", tmp_path, capsys)
    assert said["missing"] == {str(tmp_path / "subjects" / "mug.png"): ["action-000"]}
    assert any(
        "three.json" in text and "50 items are left out" in text for text in said["problems"]
    )


def test_mapped_suites_name_what_is_missing_too(tmp_path: Path, capsys) -> None:
    record = {"say": "A cup.", "refs": ["im ages/cup é.png", "b.png"], "task": "multi_object"}
    (tmp_path / "items.json").write_text(json.dumps([record]), "utf-8")
    photo(tmp_path / "im ages" / unicodedata.normalize("NFD", "cup é.png"))
    columns = ["--column=prompt=say", "--column=references=refs", "--column=subset=task"]
    said = check("omnicontext", tmp_path, capsys, *columns)
    assert list(said["missing"]) == [str(tmp_path / "b.png")] and said["unverified"]
    with pytest.raises(SystemExit) as left:
        main(["bench", "omnicontext", "--data", str(tmp_path), "--check"])
    assert left.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "--column prompt=THEIRS --column references=THEIRS --column subset=THEIRS" in told
    assert "items.json has ['refs', 'say', 'task']" in told


def test_a_bad_line_costs_its_item_alone_and_the_others_keep_their_places(
    tmp_path: Path, capsys
) -> None:
    good = json.dumps({"say": "A dog.", "refs": ["dog.png"]})
    (tmp_path / "items.jsonl").write_text(f"{good}\n{{bad\n[]\n{good}\n")
    columns = ["--column=prompt=say", "--column=references=refs"]
    said = check("dreambench", tmp_path, capsys, *columns)
    assert said["missing"] == {str(tmp_path / "dog.png"): ["0000", "0003"]}
    first, second = said["problems"]
    assert "items.jsonl:2: not JSON" in first and "items.jsonl:3" in second
    told = [{"instruction": "A cat.", "input_path": ["cat.png"], "category1": "cat"}, 7]
    (tmp_path / "psr").mkdir()
    (tmp_path / "psr" / "action.json").write_text(json.dumps(told))
    said = check("psrbench", tmp_path / "psr", capsys)
    assert said["scenes"]["action"] == 1
    assert any("item 1: expected an object; got int" in text for text in said["problems"])

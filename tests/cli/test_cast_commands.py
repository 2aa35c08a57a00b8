"""``personae export --seg-mix``, ``prior``, ``select`` and ``train --dry-run`` of a cast."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.cli import main
from personae.data.cast_examples import read_whole_cast
from tests.data.cast import toon_cast
from tests.diffusion.tiny import save_tiny_klein


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(item) for item in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toon_cast(tmp_path_factory.mktemp("cast"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_klein(tmp_path_factory.mktemp("tiny") / "klein")


def test_mixes_go_out_with_captions_and_masks(
    cast: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mixes"
    asked = ("export", cast.parent, "--seg-mix", 3, "--size", "96x64", "--out", out, "--json")
    assert run(*asked) == 0
    assert json.loads(capsys.readouterr().out)["mixes"] == 3
    lines = [json.loads(text) for text in (out / "metadata.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and all("simple background" in line["text"] for line in lines)
    with Image.open(out / lines[2]["file_name"]) as picture:
        assert picture.size == (96, 64)
    assert all((out / name).is_file() for line in lines for name in line["masks"].values())


def test_a_recipe_says_how_they_are_mixed(cast: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'base = "toons"\n[data.cast]\nfile = "elsewhere.jsonl"\n[data.cast.seg_mix]\n'
        'backgrounds = ["black"]\ntemplate = "{subjects}, {background}"\n'
    )
    out = tmp_path / "mixes"
    asked = ("export", cast, "--seg-mix", 2, "--recipe", recipe, "--size", "64x64", "--out", out)
    assert run(*asked) == 0
    line = json.loads((out / "metadata.jsonl").read_text().splitlines()[0])
    assert line["text"].endswith(", black")
    pixels = np.asarray(Image.open(out / line["file_name"]))
    masks = [np.asarray(Image.open(out / name)) > 0 for name in line["masks"].values()]
    assert (pixels[~np.logical_or.reduce(masks)] == 0).all()


def test_what_export_does_not_understand(
    cast: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", cast, "--out", tmp_path / "x") == 2
    assert "either --format or --seg-mix" in capsys.readouterr().err
    assert run("export", cast, "--seg-mix", 0, "--out", tmp_path / "x") == 2
    bad = cast.parent / "torn.jsonl"
    bad.write_text(cast.read_text() + "{\n")
    assert run("export", bad, "--seg-mix", 1, "--out", tmp_path / "x") == 1
    assert "torn.jsonl:3" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_priors_are_drawn_cut_out_and_resumed(
    cast: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "prior"
    asked = ("prior", cast, "--model", tiny, "--out", out, "--count", 2, "--size", "64x64")
    assert run(*asked, "--steps", 1, "--device", "cpu", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["num_photos"] == 4
    wanted = {subject.id: subject.noun for subject in read_whole_cast(cast)}
    assert told["cast"] == str(out / "cast" / "cast.jsonl")
    made = read_whole_cast(out / "cast" / "cast.jsonl")
    assert {subject.id: subject.noun for subject in made} == wanted
    assert all(file.mask is not None for subject in made for file in subject.references)
    first = out / "photos" / "a" / "00.png"
    before = (first.stat().st_mtime_ns, first.read_bytes())
    (out / "photos" / "a" / "01.png").unlink()
    assert run(*asked, "--steps", 1, "--device", "cpu") == 0
    assert (first.stat().st_mtime_ns, first.read_bytes()) == before
    assert (out / "photos" / "a" / "01.png").is_file()


def test_a_prior_without_a_place_for_the_noun(
    cast: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("prior", cast, "--model", tiny, "--out", tmp_path, "--prompt", "a photo")
    assert run(*asked) == 2
    assert "{noun}" in capsys.readouterr().err


def recipe_file(cast: Path, tiny: Path, folder: Path, more: str = "") -> Path:
    path = folder / "r.toml"
    path.write_text(
        f'base = "{tiny}"\ndevice = "cpu"\n[data]\nsizes = [[64, 64]]\nworkers = 1\n'
        f'[data.cast]\nfile = "{cast}"\n{more}\n[lora]\nrank = 2\n[training]\nsteps = 2\n'
        "batch_size = 2\n"
    )
    return path


def test_a_dry_run_of_a_cast_says_what_is_odd(
    cast: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_file(cast, tiny, tmp_path)
    assert run("train", recipe, "--dry-run", "--out", tmp_path / "run", "--json") == 0
    told = capsys.readouterr().out
    assert "photos and mixes of 2 subjects" in told and "a: 2 photos; five show more" in told


def test_a_dry_run_names_the_bad_line_of_a_cast(
    cast: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = cast.parent / "worse.jsonl"
    bad.write_text(cast.read_text() + '{"id": "c", "noun": "girl", "kind": "person"}\n')
    recipe = recipe_file(bad, tiny, tmp_path)
    assert run("train", recipe, "--dry-run", "--out", tmp_path / "run", "--json") == 2
    assert "worse.jsonl:3" in capsys.readouterr().out


def test_one_round_of_iterative_training(cast: Path, tiny: Path, tmp_path: Path) -> None:
    """Train, draw, evaluate, select, train again: the commands of the recipe's head."""
    recipe = recipe_file(cast, tiny, tmp_path)
    assert run("train", recipe, "--out", tmp_path / "run") == 0
    scenes = cast.parent / "scenes.jsonl"
    subjects = {
        name: {
            "noun": "girl",
            "kind": "person",
            "token": token,
            "references": [f"{name}/00.png"],
        }
        for name, token in (("a", "olis"), ("b", "hta"))
    }
    lines = [
        {"id": f"s{n}", "prompt": "{a} and {b} in a park", "subjects": subjects} for n in range(2)
    ]
    scenes.write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn = tmp_path / "drawn"
    asked = ("generate", scenes, "--model", tiny, "--adapter", tmp_path / "run" / "adapter")
    asked += ("--no-context", "--init", "mean-shift", "--gamma", 1, "--layout", "planned")
    assert run(*asked, "--size", "64x64", "--steps", 2, "--seeds", 2, "--out", drawn) == 0
    row = json.loads((drawn / "images.jsonl").read_text().splitlines()[0])
    assert row["prompt"] == "olis girl and hta girl in a park" and not row["in_context"]
    results = drawn / "results"
    looked = ("evaluate", scenes, "--images", drawn / "images", "--out", results)
    assert run(*looked, "--faces", "toons") == 0
    assert run("select", drawn, "--results", results, "--top", 0.5) == 0
    again = tmp_path / "again.toml"
    again.write_text(
        f'base = "{tiny}"\ndevice = "cpu"\n[data]\nfile = "{drawn / "examples.jsonl"}"\n'
        f'sizes = [[64, 64]]\nworkers = 1\n[lora]\nrank = 2\nunder = "{tmp_path}/run/adapter"\n'
        "[objective]\nkl_weight = 0.5\n[training]\nsteps = 2\nbatch_size = 2\n"
    )
    assert run("train", again, "--out", tmp_path / "again") == 0
    assert (tmp_path / "again" / "together" / "pytorch_lora_weights.safetensors").is_file()

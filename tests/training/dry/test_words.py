"""Tokens that cannot be learned, since the base knows them: told before a run refuses them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from personae.errors import RequestError
from personae.training.dry_run import dry_run
from personae.training.finetune import finetune
from personae.training.recipe import read_recipe
from personae.training.words_check import check_words
from tests.data.cast import toon_cast
from tests.diffusion.families import save_tiny
from tests.diffusion.tiny import save_tiny_klein
from tests.training.dry.test_tokens import write_recipe
from tests.training.dry.told import wheres

ALONE = "[tokens]\n"


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toon_cast(tmp_path_factory.mktemp("cast"), count=3)


def renamed(cast: Path, *tokens: str) -> Path:
    """The same subjects with these tokens."""
    lines = [json.loads(line) for line in cast.read_text().splitlines()]
    for line, token in zip(lines, tokens, strict=True):
        line["token"] = token
    path = cast.parent / "renamed.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("kind", ["klein", "sdxl", "flux1"])
def test_a_known_word_is_a_mistake(cast: Path, tmp_path: Path, kind: str) -> None:
    base = tmp_path / "base"
    _ = save_tiny_klein(base) if kind == "klein" else save_tiny(base, kind)
    path = write_recipe(tmp_path, base, renamed(cast, "girl", "olis", "man"), ALONE)
    run = dry_run(path, tmp_path / "run")
    assert wheres(run) == ["tokens", "tokens"]
    for token, item in zip(("girl", "man"), run.mistakes, strict=True):
        assert f"got token '{token}' (the tokenizer knows this word already" in str(item)
        assert item.do == f"take one that it does not know, such as '{token}_1'"
    assert dry_run(path, tmp_path / "run", [f"data.cast.file={cast}"]).mistakes == ()
    path.write_text(path.read_text().replace(ALONE, "[lora]\nrank = 2\n"))
    assert dry_run(path, tmp_path / "run").mistakes == (), "nobody makes words of them"


@pytest.mark.usefixtures("with_weights")
def test_a_run_would_refuse_it(tiny: Path, cast: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, tiny, renamed(cast, "girl", "olis", "man"), ALONE)
    with pytest.raises(RequestError, match="'girl': the tokenizer knows this word already"):
        finetune(read_recipe(path), tmp_path / "run")


def test_the_shipped_base_is_asked(cast: Path, tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "toons", renamed(cast, "girl", "olis", "hta"), ALONE)
    (item,) = dry_run(path, tmp_path / "run").mistakes
    assert "token 'girl'" in item.came


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (shutil.rmtree, "no tokenizer.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot be read"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be read"),
    ],
)
@pytest.mark.parametrize("kind", ["sdxl", "flux1"])
def test_a_tokenizer_that_cannot_be_asked(
    cast: Path, tmp_path: Path, kind: str, harm: Callable[[Path], object], words: str
) -> None:
    base = save_tiny(tmp_path / "base", kind)
    harm(base / "tokenizer_2")
    path = write_recipe(tmp_path, base, renamed(cast, "girl", "olis", "man"), ALONE)
    run = dry_run(path, tmp_path / "run")
    assert run.mistakes == ()
    (item,) = run.unchecked
    assert item.what == f"whether {base} knows the cast's tokens already"
    assert words in item.why and "tokenizer_2" in item.why


def test_a_hub_base_that_was_never_fetched(
    cast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personae.training.words_check.hub_folder", lambda *_: None)
    name = "stabilityai/stable-diffusion-xl-base-1.0"
    recipe = read_recipe(write_recipe(tmp_path, name, cast, ALONE))
    (item,) = check_words(recipe)
    assert str(item) == (
        f"whether {name} knows the cast's tokens already: its tokenizer is not on this machine; "
        "the run looks before it begins"
    )

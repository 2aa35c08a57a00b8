"""What a card says of use is so: its Python loads what was trained, its command draws."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from personae.cli import main
from personae.config import build_config
from personae.data.cast_examples import read_whole_cast
from personae.diffusion.backbone import Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora, lora_parameters
from personae.diffusion.tokens import load_tokens
from personae.training.card import card
from personae.training.card_use import Trained
from personae.training.finetune import finetune
from personae.training.recipe import Recipe
from tests.data.cast import toon_cast
from tests.diffusion.families import save_tiny
from tests.diffusion.test_sdxl_schedule import save_sd
from tests.training.test_card import head_of

REFERENCES = ("reference picture a subject", "one reference each", "given as a reference")
Run = Callable[..., Path]


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toon_cast(tmp_path_factory.mktemp("cast"))


@pytest.fixture(scope="module")
def names(cast: Path) -> list[str]:
    return [subject.name for subject in read_whole_cast(cast)]


@pytest.fixture
def run(tiny: Path, cast: Path, tmp_path: Path) -> Run:
    """One step of a recipe with a cast, and the folder of what it saved."""

    def trained(
        name: str = "run", base: Path = tiny, told: dict[str, Any] | None = None, **sections: Any
    ) -> Path:
        held = {"file": str(cast), "count": 4, **(told or {})}
        data = {"cast": held, "sizes": [[64, 64]], "workers": 1}
        training = {"steps": 1, "batch_size": 2, "log_every": 1}
        given = {"base": str(base), "device": "cpu", "data": data, "training": training}
        optimizer = {"lr": 0.1, "warm_up": 0}
        recipe = build_config(Recipe, {**given, "optimizer": optimizer, **sections})
        saved = finetune(recipe, tmp_path / name).saved
        assert saved is not None
        return saved

    return trained


def text_of(folder: Path) -> str:
    """A card, which names no folder of this machine."""
    text = (folder / "README.md").read_text()
    assert str(folder.parent.parent) not in text
    assert not re.search(r"[\"'`\s:=](/[a-z]+){2,}", text)
    return text


def by_heart(text: str, names: list[str]) -> None:
    assert head_of(text)["pipeline_tag"] == "text-to-image"
    assert "2 subjects that it knows by name; no reference picture is needed" in text
    assert "".join(f'- "{name}"\n' for name in names) in text
    assert f'such as "{names[0]} left of {names[1]}"' in text
    assert "--no-context --init mean-shift --gamma 1 --layout planned --out drawn`" in text
    for words in REFERENCES:
        assert words not in text


def loaded(text: str, folder: Path, base: Path) -> Any:
    """What the card's Python makes, with its placeholders filled in."""
    code = text.partition("```python\n")[2].partition("```")[0]
    code = re.sub(r"THE FOLDER (\w+) BESIDE THIS ONE", rf"{folder.parent}/\1", code)
    code = code.replace("THIS FOLDER", str(folder)).replace(f'"{base.name}"', f'"{base}"')
    made: dict[str, Any] = {}
    exec(code.replace("bfloat16", "float32"), made)
    return made["pipeline"]


def command(text: str, folder: Path, base: Path) -> list[str]:
    said = text.partition("With Personae: `")[2].partition("`")[0]
    said = re.sub(r"THE FOLDER (\w+) BESIDE THIS ONE", rf"{folder.parent}/\1", said)
    words = shlex.split(said.replace("THIS FOLDER", str(folder)))
    assert words[0] == "personae"
    return [str(base) if word == base.name else word for word in words[1:]]


def draw(arguments: list[str], cast: Path, tmp_path: Path) -> dict[str, Any]:
    """The card's command, on a scene of both subjects."""
    keys = ("noun", "kind", "token", "references")
    lines = [json.loads(line) for line in cast.read_text().splitlines()]
    for line in lines:
        line["references"] = [str(cast.parent / one["image"]) for one in line["references"]]
    subjects = {line["id"]: {key: line[key] for key in keys} for line in lines}
    scene = {"id": "s", "prompt": "{a} left of {b}", "subjects": subjects}
    scenes, out = tmp_path / "scenes.jsonl", tmp_path / "drawn"
    scenes.write_text(json.dumps(scene) + "\n")
    given = {"SCENES.jsonl": str(scenes), "drawn": str(out)}
    small = ["--size", "64x64", "--steps", "1", "--root", "/", "--json"]
    with pytest.raises(SystemExit) as ended:
        main([*(given.get(word, word) for word in arguments), *small])
    assert not ended.value.code
    drawn: dict[str, Any] = json.loads((out / "images.jsonl").read_text().splitlines()[0])
    return drawn


def test_an_adapter_that_knows_a_cast_by_heart(
    run: Run, tiny: Path, cast: Path, names: list[str], tmp_path: Path
) -> None:
    folder = run(lora={"rank": 2})
    text = text_of(folder)
    by_heart(text, names)
    assert "on 4 examples made of the photographs of a cast, mixed by seg_mix" in text
    assert '`personae generate SCENES.jsonl --model klein --adapter "THIS FOLDER"' in text
    assert loaded(text, folder, tiny).get_active_adapters()
    assert names[0] in draw(command(text, folder, tiny), cast, tmp_path)["prompt"]


def test_names_are_those_that_were_learned(run: Run) -> None:
    told = {"descriptive": False, "plain_noun": "toon", "mix": "none"}
    text = text_of(run(lora={"rank": 2}, told=told))
    assert '- "olis toon"\n- "hta toon"\n' in text
    assert "photographs of a cast, 2 a step" in text


def test_with_references_in_context_it_is_as_before(run: Run, names: list[str]) -> None:
    text = text_of(run(lora={"rank": 2}, told={"in_context": True}))
    assert head_of(text)["pipeline_tag"] == "image-to-image"
    for words in REFERENCES:
        assert words in text
    assert f'such as "{names[0]} 1 left of {names[1]} 2"' in text
    assert "--no-context" not in text and "mean-shift" not in text


def test_all_weights_that_know_a_cast(run: Run, tiny: Path, names: list[str]) -> None:
    folder = run()
    text = text_of(folder)
    by_heart(text, names)
    assert 'personae generate SCENES.jsonl --model "THIS FOLDER" --no-context' in text
    assert loaded(text, folder, tiny).transformer is not None


def said_by(backbone: Backbone, names: list[str]) -> torch.Tensor:
    return backbone.encode_prompt([f"{names[0]} left of {names[1]}"])


def test_tokens_alone(run: Run, tiny: Path, cast: Path, names: list[str], tmp_path: Path) -> None:
    folder = run(tokens={"alone": True})
    text = text_of(folder)
    by_heart(text, names)
    head = head_of(text)
    assert head["base_model_relation"] == "adapter" and "textual_inversion" in head["tags"]
    assert "These are the embeddings of new words; the model is as it was." in text
    assert "# Learned tokens for klein" in text
    assert "load_textual_inversion" not in text, "its pipeline has no such method"
    assert '--model klein --tokens "THIS FOLDER" --no-context' in text
    trained, plain = load_backbone(tiny), load_backbone(tiny)
    load_tokens(trained, folder)
    pipeline, wanted = loaded(text, folder, tiny), said_by(trained, names)
    plain.pipeline.tokenizer, plain.text_encoder = pipeline.tokenizer, pipeline.text_encoder
    plain.pipeline.text_encoder = pipeline.text_encoder
    assert torch.equal(said_by(plain, names), wanted)
    assert not torch.equal(wanted, said_by(load_backbone(tiny), names))
    assert names[0] in draw(command(text, folder, tiny), cast, tmp_path)["prompt"]


def test_tokens_that_diffusers_reads_by_itself(run: Run, names: list[str], tmp_path: Path) -> None:
    base = save_sd(tmp_path / "sd")
    folder = run(base=base, tokens={"alone": True})
    text = text_of(folder)
    by_heart(text, names)
    assert "personae.diffusion" not in text.partition("## Recipe")[0]
    trained = load_backbone(base)
    load_tokens(trained, folder)
    wanted = said_by(trained, names)
    assert not torch.equal(wanted, said_by(load_backbone(base), names))
    words = f"{names[0]} left of {names[1]}"
    with torch.no_grad():
        theirs = loaded(text, folder, base).encode_prompt(words, "cpu", 1, False)[0]
    torch.testing.assert_close(theirs, wanted)


def test_tokens_for_two_text_encoders_are_loaded_by_personae(
    run: Run, names: list[str], tmp_path: Path
) -> None:
    """Diffusers would take a new word for the end of the text."""
    base = save_tiny(tmp_path / "sdxl", "sdxl")
    text = text_of(run(base=base, tokens={"alone": True}))
    assert "load_textual_inversion" not in text
    assert 'load_tokens(backbone, "THIS FOLDER")' in text


@pytest.mark.parametrize("kind", ["klein", "sd"])
def test_tokens_beside_an_adapter(
    run: Run, tiny: Path, cast: Path, names: list[str], tmp_path: Path, kind: str
) -> None:
    base = tiny if kind == "klein" else save_sd(tmp_path / "sd")
    folder = run(base=base, lora={"rank": 2}, tokens={"alone": False})
    text = text_of(folder)
    by_heart(text, names)
    assert f"# LoRA of rank 2 and learned tokens for {base.name}" in text
    assert '--adapter "THIS FOLDER" --tokens "THE FOLDER tokens BESIDE THIS ONE"' in text
    assert "ComfyUI" not in text, "it would not know the words"
    assert ("load_textual_inversion" in text) is (kind == "sd")
    pipeline = loaded(text, folder, base)
    assert pipeline.get_active_adapters()
    assert len(pipeline.tokenizer(" olis", add_special_tokens=False)["input_ids"]) == 1
    beside = folder.parent / "tokens"
    side = text_of(beside)
    by_heart(side, names)
    assert f"# Learned tokens for {base.name}" in side
    assert "learned together with the adapter in the folder `adapter`" in side
    assert {"textual_inversion"} == {"textual_inversion", "lora"} & set(head_of(side)["tags"])
    assert '--adapter "THE FOLDER adapter BESIDE THIS ONE" --tokens "THIS FOLDER"' in side
    assert len(side) < len(text), "a short one"
    assert same_weights(loaded(side, beside, base), pipeline)
    if kind == "klein":
        assert command(side, beside, base) == command(text, folder, base)
        assert names[0] in draw(command(text, folder, base), cast, tmp_path)["prompt"]


def same_weights(one: Any, other: Any) -> bool:
    """Of everything that is trained, and with the same words."""
    words = "olis hta girl"
    assert one.tokenizer(words)["input_ids"] == other.tokenizer(words)["input_ids"]
    parts = [
        (getattr(one, name).state_dict(), getattr(other, name).state_dict())
        for name in ("transformer", "unet", "text_encoder")
        if hasattr(one, name)
    ]
    learned = [
        [
            row
            for held in getattr(made.text_encoder, "personae_tokens", [])
            for row in held.rows.items()
        ]
        for made in (one, other)
    ]
    parts += [(dict(learned[0]), dict(learned[1]))]
    return all(torch.equal(v, theirs[k]) for ours, theirs in parts for k, v in ours.items())


def test_an_adapter_on_top_of_another(
    run: Run, tiny: Path, cast: Path, names: list[str], tmp_path: Path
) -> None:
    first = run("first", lora={"rank": 2})
    folder = run("second", lora={"rank": 3, "under": str(first)})
    text = text_of(folder)
    by_heart(text, names)
    assert "# LoRA of rank 3 for klein, on top of another" in text
    assert "is not to be used without it: the folder `together`, beside this one" in text
    assert 'load_lora_weights("THIS FOLDER")' not in text
    assert "ComfyUI" not in text, "that file is of the upper one alone"
    made = load_backbone(tiny)
    load_lora(made, folder.parent / "together")
    held = dict(loaded(text, folder, tiny).transformer.named_parameters())
    for name, value in lora_parameters(made).items():
        assert torch.equal(held[name.replace(".default.", ".default_0.")], value)
    assert names[0] in draw(command(text, folder, tiny), cast, tmp_path)["prompt"]
    both = folder.parent / "together"
    side = text_of(both)
    by_heart(side, names)
    assert "# Two adapters as one for klein" in side
    assert "This is the adapter in the folder `adapter`, beside this one, and the one that" in side
    assert "lora" in head_of(side)["tags"] and "on top of another" not in side
    assert same_weights(loaded(side, both, tiny), loaded(text, folder, tiny))
    assert command(side, both, tiny) == command(text, folder, tiny)
    upper = text_of(first)
    assert "together" not in upper and "on top of another" not in upper
    assert [path.parent.name for path in first.parent.glob("*/README.md")] == ["adapter"]


def test_tokens_and_an_adapter_on_top_of_another(run: Run, tiny: Path, names: list[str]) -> None:
    first = run("first", lora={"rank": 2})
    told = {"lora": {"rank": 3, "under": str(first)}, "tokens": {"alone": False}}
    folder = run("second", **told)
    cards = {path.parent.name: path.parent for path in folder.parent.glob("*/README.md")}
    assert set(cards) == {"adapter", "tokens", "together"}
    made = [loaded(text_of(place), place, tiny) for place in cards.values()]
    assert same_weights(made[0], made[1]) and same_weights(made[0], made[2])
    for place in cards.values():
        by_heart(text_of(place), names)


def test_examples_without_references(make_recipe: Any) -> None:
    """What `personae select` writes is learned by words alone."""
    trained = Trained(step=1, seconds=1.0, examples=4, subject_words="{noun} {index}")
    text = card(make_recipe(lora={"rank": 2}), replace(trained, in_context=False))
    assert head_of(text)["pipeline_tag"] == "text-to-image"
    assert "Pictures of what a prompt says; no reference picture is needed." in text
    assert "--no-context --out drawn" in text and "mean-shift" not in text
    for words in REFERENCES:
        assert words not in text
    one = card(make_recipe(), replace(trained, in_context=False, names=("olis  girl",)))
    assert 'such as "olis girl in a park":\n\n- "olis girl"\n' in one
    assert "Pictures of a subject that it knows by name" in one

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personae.data.backdrops import read_backdrops
from personae.data.cast_check import cast_oddities
from personae.data.cast_examples import CastExamples, CastRecipe, read_whole_cast
from personae.data.seg_mix import SegMixRecipe
from personae.errors import DataError, RequestError
from tests.data.cast import toon_cast

SIZE = ((64, 64),)


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toon_cast(tmp_path_factory.mktemp("cast"), count=3, photos=3)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rewritten(cast: Path, name: str, lines: list[dict]) -> Path:
    """Another manifest beside a cast's."""
    path = cast.parent / name
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def kinds(source: CastExamples) -> Counter[str]:
    return Counter(source[place].id.split("-")[0] for place in range(len(source)))


def test_a_cast_of_toons_is_read_back(cast: Path) -> None:
    subjects = read_whole_cast(cast)
    assert [subject.token for subject in subjects] == ["olis", "hta", "ult"]
    for subject in subjects:
        assert len(subject.references) == 3
        assert all(file.mask is not None for file in subject.references)
        assert all("{" + subject.id + "}" in (file.caption or "") for file in subject.references)


def test_examples_are_mixes_and_photos_in_their_shares(cast: Path) -> None:
    source = CastExamples(CastRecipe(file=cast, count=300, probability=0.3), SIZE)
    seen = kinds(source)
    assert 60 < seen["mix"] < 120 and seen["photo"] == 300 - seen["mix"]
    mix = next(e for e in map(source.__getitem__, range(50)) if e.id.startswith("mix"))
    photo = next(e for e in map(source.__getitem__, range(50)) if e.id.startswith("photo"))
    assert mix.mask is not None and mix.mask.any() and photo.mask is None
    assert mix.prompt.startswith("a photo of a ") and mix.prompt.endswith(", simple background.")
    assert sum(token in mix.prompt for token in ("olis", "hta", "ult")) == 2
    assert photo.image.shape == (64, 64, 3) and not photo.references


def test_an_example_is_a_function_of_seed_and_number(cast: Path) -> None:
    recipe = CastRecipe(file=cast, count=20, probability=0.5)
    first, again, other = (CastExamples(recipe, SIZE, seed) for seed in (0, 0, 1))
    one, two = [first[n] for n in range(20)], [again[n] for n in reversed(range(20))][::-1]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))
    assert [e.prompt for e in one] == [e.prompt for e in two]
    assert any(not np.array_equal(a.image, other[n].image) for n, a in enumerate(one))


def test_dreambooth_shows_each_photo_equally_often(cast: Path) -> None:
    source = CastExamples(CastRecipe(file=cast, count=45, mix="none"), SIZE)
    shown = Counter(source[place].prompt for place in range(45))
    assert kinds(source) == {"photo": 45}
    captions = [file.caption for subject in read_whole_cast(cast) for file in subject.references]
    assert sum(shown.values()) == 45 and len(shown) <= len(set(captions))
    by_subject = Counter(prompt.split()[0] for prompt in shown.elements())
    assert set(by_subject.values()) == {15}


def test_without_descriptive_nouns_a_subject_is_its_token_and_a_plain_noun(cast: Path) -> None:
    recipe = CastRecipe(file=cast, count=8, mix="none", descriptive=False, own_captions=False)
    prompts = {CastExamples(recipe, SIZE)[place].prompt for place in range(8)}
    assert prompts <= {f"a photo of {token} thing" for token in ("olis", "hta", "ult")}


def test_three_or_more_subjects_a_collage(cast: Path) -> None:
    recipe = CastRecipe(file=cast, count=10, probability=1, seg_mix=SegMixRecipe(counts=(0.0, 1.0)))
    prompts = [CastExamples(recipe, SIZE)[place].prompt for place in range(10)]
    assert all(all(token in p for token in ("olis", "hta", "ult")) for p in prompts)


def test_eleven_subjects_in_one_cast(tmp_path: Path) -> None:
    source = CastExamples(
        CastRecipe(file=toon_cast(tmp_path, count=11, photos=1), count=60, probability=0.5), SIZE
    )
    said = " ".join(source[place].prompt for place in range(60))
    assert all(subject.token in said.split() for subject in source.subjects.values())


@pytest.mark.parametrize("mix", ["cut_mix", "side_by_side"])
def test_the_baselines_mix_too(cast: Path, mix: str) -> None:
    source = CastExamples(CastRecipe(file=cast, count=12, mix=mix, probability=1.0), SIZE)
    assert kinds(source) == {"mix": 12}
    assert all(source[place].mask is not None for place in range(12))


def test_a_cast_with_a_bad_line_is_refused_with_its_number(cast: Path) -> None:
    lines = lines_of(cast)
    path = rewritten(cast, "bad.jsonl", [lines[0], {**lines[1], "nown": "girl"}, lines[2]])
    with pytest.raises(DataError, match=r"bad\.jsonl:2: unknown key 'nown'.*whole or not at all"):
        CastExamples(CastRecipe(file=path), SIZE)


def test_two_subjects_of_one_name_are_refused(cast: Path) -> None:
    lines = lines_of(cast)
    path = rewritten(cast, "same.jsonl", [lines[0], {**lines[1], "token": lines[0]["token"]}])
    with pytest.raises(DataError, match=r"\['a', 'b'\] would all be called 'olis'"):
        CastExamples(CastRecipe(file=path), SIZE)


def test_a_missing_mask_stops_mixing_but_not_dreambooth(cast: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(cast.parent / "bare.png")
    line = {**lines_of(cast)[0], "references": ["bare.png"]}
    path = rewritten(cast, "bare.jsonl", [line, lines_of(cast)[1]])
    with pytest.raises(DataError, match=r"bare\.png has no mask .*personae prepare"):
        CastExamples(CastRecipe(file=path), SIZE)
    assert CastExamples(CastRecipe(file=path, mix="none"), SIZE)[0].image.shape == (64, 64, 3)


def test_one_subject_alone_is_never_mixed(tmp_path: Path) -> None:
    source = CastExamples(
        CastRecipe(file=toon_cast(tmp_path, count=1), count=20, probability=1.0), SIZE
    )
    assert kinds(source) == {"photo": 20}


def test_priors_have_no_tokens_and_stand_at_one_height(cast: Path) -> None:
    recipe = CastRecipe(file=cast, prior=cast, count=30, probability=1.0)
    prior = CastExamples(recipe, SIZE, prior=True)
    assert not any(token in prior[0].prompt for token in ("olis", "hta", "ult"))
    assert prior[0].id.startswith("prior-mix")
    assert prior.settings() != CastExamples(recipe, SIZE).settings()


def test_what_decides_examples_decides_their_stamp(cast: Path, tmp_path: Path) -> None:
    base = CastRecipe(file=cast, count=10)
    told = [
        CastExamples(replace(base, **change), SIZE).settings()
        for change in ({}, {"probability": 0.5}, {"seg_mix": SegMixRecipe(flip=True)})
    ]
    assert told[0] != told[1] != told[2] != told[0]
    copy = toon_cast(tmp_path, count=3, photos=3)
    moved = CastExamples(replace(base, file=copy), SIZE).settings()
    assert moved == told[0], "where a cast lies does not matter"


def test_backdrops_have_words(tmp_path: Path, cast: Path) -> None:
    for name, color in (("a.png", "green"), ("b.png", "blue")):
        Image.new("RGB", (100, 80), color).save(tmp_path / name)
    listed = tmp_path / "metadata.jsonl"
    listed.write_text('{"file_name": "a.png", "text": "in a park"}\n')
    assert [one.words for one in read_backdrops(tmp_path, (64, 64))] == ["in a park", ""]
    recipe = CastRecipe(
        file=cast,
        count=8,
        probability=1.0,
        backgrounds=tmp_path,
        seg_mix=SegMixRecipe(backgrounds=("pictures",), template="{subjects} {background}"),
    )
    ends = {CastExamples(recipe, SIZE)[n].prompt.endswith("in a park") for n in range(8)}
    assert ends == {True, False}
    listed.write_text('{"file_name": "a.png"}\n')
    with pytest.raises(DataError, match=r"metadata\.jsonl:1: expected keys file_name and text"):
        read_backdrops(tmp_path, (64, 64))


def test_oddities_are_said_and_nothing_stops(cast: Path) -> None:
    lines = lines_of(cast)
    mask = np.zeros((128, 128), np.uint8)
    mask[:2, :2] = 255
    Image.fromarray(mask).save(cast.parent / "little.png")
    Image.fromarray(255 - mask).save(cast.parent / "all.png")
    photo = lines[0]["references"][0]["image"]
    odd = {
        "id": "odd",
        "noun": lines[0]["noun"],
        "kind": "person",
        "references": [
            {"image": photo, "mask": "little.png"},
            {"image": photo, "mask": "all.png", "caption": "{odd}"},
        ],
    }
    path = rewritten(cast, "odd.jsonl", [lines[0], odd])
    said = "\n".join(cast_oddities(read_whole_cast(path), pieces=len))
    assert f"['a', 'odd'] share the noun '{odd['noun']}'" in said
    assert "odd: 2 photos" in said and "odd: no token" in said
    assert "1 of 2 photos have no caption" in said
    assert "covers less than 1 in 100" in said and "covers 100 in 100" in said
    assert "splits its token 'olis' into 4 pieces" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count 1 or more"),
        ({"probability": 1.5}, "probability"),
        ({"mix": "blend"}, "seg_mix"),
        ({"photo": "a photo"}, "subject"),
    ],
)
def test_recipes_that_cannot_be(change: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        CastRecipe(file=Path("cast.jsonl"), **change)

"""XVerseBench's lists to scenes; its published averages by its own formulas."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personae.errors import DataError
from personae.evaluation.suites.suite import SuiteOptions, missing_files, only_subsets
from personae.evaluation.suites.xversebench import XVERSEBENCH
from tests.evaluation.suites.folders import xverse_folder


def load(folder: Path):
    return XVERSEBENCH.load(folder, SuiteOptions())


def test_scenes_have_prompts_kinds_and_questions(tmp_path: Path) -> None:
    loaded = load(xverse_folder(tmp_path))
    scenes = {scene.id: scene for scene in loaded.scenes}
    assert list(scenes) == ["single-000", "single-001", "multi-000", "multi-001"]
    held = scenes["multi-000"]
    assert held.prompt == "A {man} is holding a {mug}." and held.words == "A man is holding a mug."
    assert [(item.kind, item.noun) for item in held.subjects.values()] == [
        ("person", "man"),
        ("object", "mug"),
    ]
    assert scenes["multi-001"].prompt == "An {old-man} and a {man} (talking)."
    assert held.subjects["man"].references[0].image == tmp_path / "human" / "05_man.jpg"
    assert loaded.stems["multi-000"] == "0_a_man_is_holding_a_mug"
    (asked,) = loaded.asked["multi-001"]
    assert asked.tree.questions == {"1": "Is there a man?", "2": "Is he there?"}
    assert not missing_files(loaded) and not loaded.problems


def test_missing_photos_name_the_scenes_that_need_them(tmp_path: Path) -> None:
    loaded = load(xverse_folder(tmp_path, things=False))
    assert len(loaded.scenes) == 4
    assert missing_files(loaded) == {
        tmp_path / "object" / "27_mug.jpg": ["single-001", "multi-000"]
    }


def test_half_a_download_and_broken_items_cost_only_themselves(tmp_path: Path) -> None:
    folder = xverse_folder(tmp_path)
    (folder / "XVerseBench_single.json").unlink()
    (folder / "XVerseBench_multi_DSG.json").write_text("[{]")
    path = folder / "XVerseBench_multi.json"
    items = json.loads(path.read_text())
    items[0]["modulation"][0]["src_inputs"][0]["image_path"] = "assets/plant/1.jpg"
    items += [items[1], {"index": 7}]
    path.write_text(json.dumps(items))
    loaded = load(folder)
    assert [scene.id for scene in loaded.scenes] == ["multi-001"]
    assert loaded.asked["multi-001"] == ()
    told = "\n".join(loaded.problems)
    for part in ("single.json: no such", "DSG.json", "plant", "item 2: index 1", "item 3: prompt"):
        assert part in told
    path.unlink()
    with pytest.raises(DataError, match="no scene of XVerseBench"):
        load(folder)


def test_one_subset_alone(tmp_path: Path) -> None:
    loaded = only_subsets(load(xverse_folder(tmp_path)), ["multi"])
    assert loaded.subsets == ("multi",) and len(loaded.scenes) == 2 == len(loaded.stems)
    with pytest.raises(DataError, match="triple"):
        only_subsets(loaded, ["triple"])


# Each average of a published table is the mean of its own columns, to its two decimals: so these
# are the formulas.
@pytest.mark.parametrize(
    ("name", "subset"),
    [("AVG", "single"), ("AVG", "multi"), ("AVG (UMO)", "single"), ("AVG (UMO)", "multi")],
)
def test_published_averages_are_those_of_the_card(name: str, subset: str) -> None:
    card = XVERSEBENCH.card
    (average,) = [x for x in card.averages if x.name == name and x.stands_in(subset)]
    rows = [row for row in card.published if row.subset == subset and name in row.values]
    assert len(rows) >= 7
    for row in rows:
        parts = [row.values[part] for part in average.of]
        assert sum(parts) / len(parts) == pytest.approx(row.values[name], abs=0.0101), row


def test_published_overall_is_the_mean_of_both_lists() -> None:
    values = {
        (row.model, row.subset): row.values["AVG"]
        for row in XVERSEBENCH.card.published
        if "AVG" in row.values
    }
    models = {model for model, subset in values if subset == "single"}
    assert len(models) == 7
    for model in models:
        mean = (values[model, "single"] + values[model, "multi"]) / 2
        assert mean == pytest.approx(values[model, "overall"], abs=0.0101)


def test_the_published_lists_load_as_they_are(data_dir: Path) -> None:
    folder = data_dir / "benchmarks" / "xversebench"
    if not folder.is_dir():
        pytest.skip("no benchmarks/xversebench there")
    loaded = load(folder)
    assert not loaded.problems
    counts = {name: list(loaded.subset_of.values()).count(name) for name in loaded.subsets}
    assert counts == XVERSEBENCH.card.sizes
    prompts = {
        f"{name}-{one['index']:03d}": one["prompt"]
        for name in counts
        for one in json.loads((folder / f"XVerseBench_{name}.json").read_text())
    }
    assert {scene.id: scene.words for scene in loaded.scenes} == prompts
    people = [len(s.of_kind("person")) for s in loaded.scenes if s.id.startswith("multi")]
    assert sum(people) == 180 and sum(count >= 2 for count in people) == 50
    missing = missing_files(loaded)
    assert len(missing) == 114 and not any(path.parent.name == "human" for path in missing)
    assert all(loaded.asked[scene.id] for scene in loaded.scenes)
    assert len(set(zip(loaded.subset_of.values(), loaded.stems.values(), strict=True))) == 300

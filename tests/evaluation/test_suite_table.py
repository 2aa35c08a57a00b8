"""Rows to the suites' tables, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from personae.evaluation.bench_account import account_of
from personae.evaluation.disagreements import disagreements
from personae.evaluation.pictures import PictureSet
from personae.evaluation.suite_table import suite_table
from personae.evaluation.suites.suite import SuiteOptions
from personae.evaluation.suites.xversebench import XVERSEBENCH
from personae.report.bench_page import by_source
from tests.evaluation.suites.folders import xverse_folder

EYES, JUDGE = "faces", "judge"


@pytest.fixture
def loaded(tmp_path: Path):
    return XVERSEBENCH.load(xverse_folder(tmp_path), SuiteOptions())


def row(scene, seed, metric, value, subject=None, protocol="official", eyes=EYES, why=None):
    return {
        "scene": scene,
        "seed": seed,
        "image": f"{scene}/{seed}.png",
        "metric": metric,
        "subject": subject,
        "protocol": protocol,
        "eyes": eyes,
        "value": value,
        "unmeasured": why,
        "details": None,
    }


def table(loaded, rows, protocols=("official",), num_seeds=2, eyes=(EYES, JUDGE)):
    lines = suite_table(
        loaded, rows, protocols=protocols, eyes=frozenset(eyes), num_seeds=num_seeds
    )
    return {(line.subset, line.protocol): line.cells for line in lines}


def test_id_conf_of_benchmarks_where_half_the_pictures_drop_a_person(loaded) -> None:
    """Five of ten pictures lack somebody: the published mean does not see it, the count does."""
    rows = [
        row("multi-001", seed, "id_confusion", 0.929 if seed < 5 else None, name, why="few faces")
        for seed in range(10)
        for name in ("old-man", "man")
    ]
    rows += [
        row("multi-001", seed, "strict_id_confusion", 0.929 if seed < 5 else 0.0, name, "strict")
        for seed in range(10)
        for name in ("old-man", "man")
    ]
    cells = table(loaded, rows, ("official", "strict"), num_seeds=10)
    official = cells["multi", "official"]["ID-Conf"]
    assert (official.mean, official.n) == (pytest.approx(92.9), 10)
    # Three people in two scenes, ten pictures each.
    assert official.n_missing == 20
    strict = cells["multi", "strict"]["ID-Conf"]
    assert (strict.mean, strict.n, strict.n_missing) == (pytest.approx(46.45), 20, 10)


def test_columns_take_the_subjects_of_their_kinds_and_only_these_eyes(loaded) -> None:
    rows = [
        row("multi-000", 0, "id_similarity", 0.5, "man"),
        row("multi-000", 0, "ip_similarity", 0.25, "mug"),
        row("multi-000", 0, "id_similarity", 0.9, "man", eyes="others"),
        row("multi-000", 0, "id_similarity", 0.9, "mug"),
        row("single-000", 0, "id_similarity", 0.75, "man"),
    ]
    cells = table(loaded, rows)
    assert cells["multi", "official"]["ID-Sim"].mean == pytest.approx(50)
    assert cells["multi", "official"]["IP-Sim"].mean == pytest.approx(25)
    assert cells["single", "official"]["ID-Sim"].mean == pytest.approx(75)
    assert "ID-Conf" not in cells["single", "official"]
    assert cells["multi", "official"]["ID-Sim"].ci95 is None
    assert cells["multi", "official"]["ID-Sim"].n_missing == 3 * 2 - 1


def test_averages_are_of_means_and_wait_for_every_column(loaded) -> None:
    rows = [
        row("multi-001", seed, "id_similarity", value, name)
        for seed, value in enumerate((0.2, 0.4))
        for name in ("old-man", "man")
    ]
    rows += [row("multi-001", 0, "id_confusion", 0.6, "man")]
    cells = table(loaded, rows)["multi", "official"]
    assert cells["AVG (UMO)"].mean is None and cells["AVG (UMO)"].reason == "IP-Sim unmeasured"
    rows += [row("multi-000", seed, "ip_similarity", 0.9, "mug") for seed in range(2)]
    cells = table(loaded, rows)["multi", "official"]
    assert cells["AVG (UMO)"].mean == pytest.approx((30 + 60 + 90) / 3)
    assert cells["AVG"].mean is None and "AES" in cells["AVG"].reason
    assert cells["AES"].n == 0 and cells["AES"].n_missing == 4 and "needs" in cells["AES"].reason


def test_overall_is_the_mean_over_subsets_not_over_scenes(loaded) -> None:
    card = replace(loaded.card, overall=("ID-Sim", "AVG"))
    loaded = replace(loaded, card=card)
    rows = [row("single-000", seed, "id_similarity", 0.1, "man") for seed in range(2)]
    rows += [row("multi-001", 0, "id_similarity", 0.5, "man")]
    cells = table(loaded, rows)["overall", "official"]
    assert cells["ID-Sim"].mean == pytest.approx(30) and cells["ID-Sim"].n == 3
    assert cells["ID-Sim"].n_missing == 8 - 3
    assert cells["AVG"].mean is None and cells["AVG"].reason == "unmeasured in single, multi"


def test_an_interval_of_an_average_holds_it_and_is_none_for_one_scene(loaded) -> None:
    rows = []
    for scene, name, thing in (("multi-000", "man", "mug"), ("multi-001", "man", None)):
        value = 0.2 if thing else 0.6
        rows += [row(scene, seed, "id_similarity", value, name) for seed in range(2)]
        rows += [row(scene, seed, "id_confusion", value, name) for seed in range(2)]
        if thing:
            rows += [row(scene, seed, "ip_similarity", 0.5, thing) for seed in range(2)]
    cell = table(loaded, rows)["multi", "official"]["AVG (UMO)"]
    low, high = cell.ci95
    assert low <= cell.mean <= high and high - low > 10
    # Draws without the only scene with a thing have no IP-Sim: they say nothing.
    assert low == pytest.approx((20 + 20 + 50) / 3)


def test_only_the_runs_own_eyes_disagree_with_themselves(loaded) -> None:
    rows = [
        row("multi-001", 0, "id_similarity", 0.5, "man"),
        row("multi-001", 0, "strict_id_similarity", 0.25, "man", "strict"),
        # The same folder holds rows of eyes that looked before: they are nobody's here.
        row("multi-001", 0, "id_similarity", 0.9, "man", eyes="others"),
        row("multi-001", 0, "strict_id_similarity", 0.9, "man", "strict", eyes="others"),
        row("multi-001", 0, "id_similarity", 0.9, "old-man", eyes=f"{EYES} & others"),
    ]
    found = disagreements(loaded, rows, [EYES])
    assert found["columns"]["ID-Sim"] == {"pairs": 1, "num": 1}
    (told,) = found["rows"]
    # In the unit of the column; the gap as a share of the metric's range.
    assert (told["official"], told["strict"], told["gap"]) == (50, 25, 0.25)


def test_published_numbers_keep_their_decimals() -> None:
    sources = dict(by_source(XVERSEBENCH.card, "single"))
    (own,) = [rows for source, rows in sources.items() if source.startswith("XVerse's own")]
    told = {row["model"]: row["told"] for row in own}
    assert told["OmniGen"]["DPG"] == "83.90" and told["XVerse"]["AVG"] == "76.72"


def test_reasons_of_one_kind_are_counted_together(loaded, tmp_path: Path) -> None:
    gone = "no such file; check the path"
    whys = [f"/a b/mug.jpg: {gone}", f"mug: /a b/mug.jpg: {gone}; cat: /a/cat.jpg: {gone}"]
    rows = [row("multi-000", 0, "ip_similarity", None, "mug", why=why) for why in whys]
    account = account_of(
        loaded,
        rows=[*rows, row("multi-000", 0, "x", None, why="two photos are alike at 0.51")],
        pictures=PictureSet((), (), ()),
        num_seeds=1,
        failures=(),
        problems=(),
        judged=None,
    )
    assert account.unmeasured == {"a photo is not there": 2, "two photos are alike at N": 1}

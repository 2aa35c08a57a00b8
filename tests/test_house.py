"""The house rules that a machine can check: one-way imports, exact public names, no torchvision."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import personae

ROOT = Path(personae.__file__).parent
ROOMS = [
    ["errors", "config"],
    ["compute"],
    ["subjects"],
    ["toons"],
    ["vision"],
    ["diffusion"],
    ["metrics"],
    ["generation"],
    ["data"],
    ["training"],
    ["evaluation"],
    ["report"],
    ["cli"],
]
RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_rooms_to_its_left(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if room in {"__init__", "__main__"}:
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "personae" and len(parts) > 1:
            assert RANK[parts[1]] <= RANK[room], f"{path}: {room} must not import {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_foreign_libraries_stay_in_their_rooms(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    roots = {name.split(".")[0] for name in imported(path)}
    assert "torchvision" not in roots
    assert "skimage" not in roots
    if room in {"subjects", "toons"}:
        assert roots <= {"numpy", "PIL", "personae"} | set(sys.stdlib_module_names)
    if room not in {"vision", "diffusion"}:
        assert not roots & {"transformers", "diffusers", "dlib", "onnxruntime"}


def modules() -> list[str]:
    found = pkgutil.walk_packages(personae.__path__, "personae.")
    return sorted(module.name for module in found if not module.name.endswith("__main__"))


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions; each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("name", modules())
def test_public_names_are_said_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    defined = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    if names is None:
        assert not defined, f"{name} defines {defined} but has no __all__"
        return
    assert list(names) == sorted(names, key=order), f"{name}.__all__ is not sorted"
    assert set(defined) <= set(names), f"{name} hides {set(defined) - set(names)}"
    for public in names:
        value = getattr(module, public)
        assert value.__doc__ or not (inspect.isclass(value) or inspect.isfunction(value)), public


def test_import_is_light_and_offline() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('network at import')\n"
        "socket.socket.connect = refuse\n"
        "import personae.cli\n"
        "names = {'transformers', 'diffusers', 'peft', 'accelerate', 'torchvision'}\n"
        "names |= {'dlib', 'onnxruntime', 'skimage'}\n"
        "heavy = names & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Fixtures that every test may use."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# The same examples every time, so that a change fails and never the weather; other examples are
# for `make soak`. No deadline: a busy machine is no finding.
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of optional real data, from PERSONAE_DATA; the test skips where it is missing."""
    folder = os.environ.get("PERSONAE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PERSONAE_DATA does not name a folder with photos/ and benchmarks/")
    return Path(folder)


class SceneFolder:
    """A folder with references, pictures and scenes.jsonl, grown by a test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.scenes = path / "scenes.jsonl"
        self.images = path / "images"
        self.out = path / "out"
        self.images.mkdir(parents=True)
        self.lines: list[str] = []

    def photo(self, name: str, pixels: np.ndarray) -> str:
        """Save a reference; its path relative to the folder."""
        Image.fromarray(pixels).save(self.path / name)
        return name

    def picture(self, name: str, pixels: np.ndarray) -> Path:
        """Save a picture among the images."""
        path = self.images / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    def line(self, text: str) -> None:
        """Add a line to scenes.jsonl as it is."""
        self.lines.append(text)
        self.scenes.write_text("\n".join(self.lines) + "\n")

    def scene(self, name: str, subjects: dict[str, tuple[str, list[str]]], **more: object) -> None:
        """Add a scene: subject -> (kind, references)."""
        data = {
            "id": name,
            "prompt": " and ".join("{" + subject + "}" for subject in subjects),
            "subjects": {
                subject: {"noun": subject, "kind": kind, "references": references}
                for subject, (kind, references) in subjects.items()
            },
            **more,
        }
        self.line(json.dumps(data))


@pytest.fixture
def folder(tmp_path: Path) -> SceneFolder:
    """An empty scene folder."""
    return SceneFolder(tmp_path / "set")


@pytest.fixture(scope="session")
def demo() -> dict[str, dict[str, np.ndarray]]:
    """The demonstration's references and pictures, small; needs scikit-image only."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    from demo_pictures import demo_pictures, reference_photos

    return {"references": reference_photos(), "pictures": demo_pictures()}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("PERSONAE_CACHE", str(tmp_path / "cache"))

"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of optional real data, from PERSONAE_DATA; the test skips where it is missing."""
    folder = os.environ.get("PERSONAE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PERSONAE_DATA does not name a folder with photos/ and benchmarks/")
    return Path(folder)

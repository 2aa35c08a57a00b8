"""Descriptors of references, kept on disk by what was looked at and by which eyes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from personae.subjects.subject import Reference

__all__ = ["DescriptorCache", "cache_folder", "content_key"]


def cache_folder() -> Path:
    """``$PERSONAE_CACHE``, else the user's cache folder for this program."""
    named = os.environ.get("PERSONAE_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "personae"


def content_key(reference: Reference, eyes: str) -> str:
    """Hash of a reference's pixels and mask and of the eyes that look: same key, same answer."""
    digest = hashlib.sha256(eyes.encode())
    for array in (reference.image, reference.mask):
        digest.update(b"none" if array is None else repr(array.shape).encode())
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class DescriptorCache:
    """Looks up (R, D) descriptors by key; R is 0 where the eyes saw nothing.

    A file that cannot be read is made again, and a folder that cannot be written costs time only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._memory: dict[str, Tensor] = {}

    def get(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """The descriptors under this key, made and kept if they are not there."""
        if key not in self._memory:
            found = self._read(key)
            self._memory[key] = self._made(key, make) if found is None else found
        return self._memory[key]

    def _made(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        descriptors = make().detach().to("cpu", torch.float32).contiguous()
        self._write(key, descriptors)
        return descriptors

    def _read(self, key: str) -> Tensor | None:
        if self.folder is None:
            return None
        try:
            with safe_open(self.folder / f"{key}.safetensors", "pt") as stream:
                tensor: Tensor = stream.get_tensor("descriptors")
                return tensor
        except (OSError, SafetensorError):
            return None

    def _write(self, key: str, descriptors: Tensor) -> None:
        if self.folder is None:
            return
        temporary = self.folder / f".{key}.{os.getpid()}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"descriptors": descriptors}, temporary)
            temporary.replace(self.folder / f"{key}.safetensors")
        except (OSError, SafetensorError):
            with suppress(OSError):
                temporary.unlink()

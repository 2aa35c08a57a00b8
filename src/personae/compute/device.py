"""Device and threads: always said, never assumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from personae.errors import RequestError

__all__ = ["choose_device", "limited_threads"]


def choose_device(name: str = "auto") -> torch.device:
    """A torch device by name; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        RequestError: torch does not know the name, or this machine lacks the device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        raise RequestError(f"device {name!r} cannot be used ({first_line}); try cpu") from error
    return device


@contextmanager
def limited_threads(num_threads: int) -> Iterator[None]:
    """Let torch use this many CPU threads in this process, for a while.

    Scores must not depend on how many workers there are, and the order of a sum depends on the
    number of threads: so each worker runs with the same number.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Keep the libraries' own progress bars off a terminal that has ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_bars"]


@contextmanager
def without_bars() -> Iterator[None]:
    """No bars for parts and shards from diffusers and transformers; they come back afterwards."""
    import diffusers.utils.logging as of_diffusers
    import transformers.utils.logging as of_transformers

    shown = [lib for lib in (of_diffusers, of_transformers) if lib.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()

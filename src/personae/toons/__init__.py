"""The drawn world that ships with the package: identities, scenes, and the truth about them."""

from __future__ import annotations

from pathlib import Path

from personae.subjects.scene import Claim
from personae.toons.clips import write_clips
from personae.toons.files import (
    CastToon,
    write_cast,
    write_cast_scenes,
    write_places,
    write_scenes,
)
from personae.toons.identity import Split, Toon, identities, look_alike, split_of, toon
from personae.toons.places import PLACES
from personae.toons.portrait import Portrait, portrait
from personae.toons.pose import ACTIONS, WORN, Pose
from personae.toons.scene import MAX_TOONS, Member, ToonScene, scene

__all__ = [
    "ACTIONS",
    "ADAPTERS",
    "MAX_TOONS",
    "PLACES",
    "WORN",
    "CastToon",
    "Claim",
    "Member",
    "Portrait",
    "Pose",
    "Split",
    "Toon",
    "ToonScene",
    "adapter_folder",
    "checkpoint_folder",
    "identities",
    "look_alike",
    "portrait",
    "scene",
    "split_of",
    "toon",
    "write_cast",
    "write_cast_scenes",
    "write_clips",
    "write_places",
    "write_scenes",
]


ADAPTERS = ("toons-umo",)


def checkpoint_folder() -> Path:
    """Where the checkpoint that draws toons lies: an ordinary diffusers folder."""
    return Path(__file__).parent / "checkpoint"


def adapter_folder(name: str) -> Path:
    """Where an adapter of that checkpoint lies, one of `ADAPTERS`, as `save_lora` writes it."""
    return Path(__file__).parent / "adapters" / name

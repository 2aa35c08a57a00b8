"""The drawn world that ships with the package: identities, scenes, and the truth about them."""

from __future__ import annotations

from pathlib import Path

from personae.subjects.scene import Claim
from personae.toons.files import write_scenes
from personae.toons.identity import Split, Toon, identities, look_alike, split_of, toon
from personae.toons.places import PLACES
from personae.toons.portrait import Portrait, portrait
from personae.toons.pose import ACTIONS, WORN, Pose
from personae.toons.scene import MAX_TOONS, Member, ToonScene, scene

__all__ = [
    "ACTIONS",
    "MAX_TOONS",
    "PLACES",
    "WORN",
    "Claim",
    "Member",
    "Portrait",
    "Pose",
    "Split",
    "Toon",
    "ToonScene",
    "checkpoint_folder",
    "identities",
    "look_alike",
    "portrait",
    "scene",
    "split_of",
    "toon",
    "write_scenes",
]


def checkpoint_folder() -> Path:
    """Where the checkpoint that draws toons lies: an ordinary diffusers folder."""
    return Path(__file__).parent / "checkpoint"

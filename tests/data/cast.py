"""A small cast of toons on disk, for tests."""

from __future__ import annotations

from pathlib import Path

from personae.toons import CastToon, identities, toon, write_cast

TOKENS = ("olis", "hta", "ult", "amg", "lun", "zwx", "qvn", "pex", "wam", "sks", "gil")


def toon_cast(folder: Path, count: int = 2, photos: int = 2) -> Path:
    """cast.jsonl of unseen toons ``a``, ``b``, ..., each in some photos with masks."""
    seeds = identities("test", count, 0)
    members = {
        chr(ord("a") + place): CastToon(toon(seed), TOKENS[place])
        for place, seed in enumerate(seeds)
    }
    return write_cast(members, folder, photos=photos)

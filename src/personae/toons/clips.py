"""Albums of clips of toons: what the real part of a data pipeline is tried out on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from personae.toons.identity import Split, identities, toon
from personae.toons.scene import scene

__all__ = ["write_clips"]

_SALT = 20_266
_PER_ALBUM = 4


def write_clips(
    folder: Path,
    *,
    albums: int = 2,
    clips: int = 4,
    frames: int = 4,
    start: int = 0,
    split: Split = "train",
    together: float = 0.5,
) -> Path:
    """Write ``FOLDER/album-NNN/clip-NN/NNN.png`` with ``album.json`` and ``truth.json``.

    Each album has a cast of four toons of its own; in a frame there are two or three of them, or
    one (``together`` is the share of frames with several). ``truth.json`` of an album says whose
    seeds are in which frame, in the order of a row from left to right; ``scenes.json`` says of each
    the scene's seed and its toons' seeds as `scene` takes them. Gives the folder back.
    """
    for album in range(start, start + albums):
        rng = np.random.default_rng([_SALT, album, ("train", "validation", "test").index(split)])
        cast = [toon(seed) for seed in identities(split, _PER_ALBUM, _PER_ALBUM * album)]
        home = folder / f"album-{album:03d}"
        home.mkdir(parents=True, exist_ok=True)
        about = {"license": "CC0-1.0", "consent": "drawn", "source": "personae.toons"}
        (home / "album.json").write_text(json.dumps(about) + "\n")
        truth: dict[str, list[int]] = {}
        scenes: dict[str, dict[str, object]] = {}
        for clip in range(clips):
            for frame in range(frames):
                several = rng.random() < together
                count = int(rng.integers(2, 4)) if several else 1
                chosen = [cast[int(k)] for k in rng.permutation(_PER_ALBUM)[:count]]
                seed = 10_000 * album + 100 * clip + frame
                drawn = scene(seed, toons=chosen)
                name = f"clip-{clip:02d}/{frame:03d}.png"
                (home / name).parent.mkdir(exist_ok=True)
                Image.fromarray(drawn.image).save(home / name)
                order = sorted(drawn.members, key=lambda one: one.face.center[0])
                truth[name] = [one.toon.seed for one in order]
                scenes[name] = {"seed": seed, "toons": [one.seed for one in chosen]}
        (home / "truth.json").write_text(json.dumps(truth) + "\n")
        (home / "scenes.json").write_text(json.dumps(scenes) + "\n")
    return folder

"""What the toons' single-subject model learns from: toons cut out of scenes, and drawn alone.

    python recipes/toons_alone.py OUT [--count 1600]
    personae train recipes/toons_alone.toml --set data.file=OUT/examples.jsonl

Each scene of several toons is looked at as the data pipeline does (faces found, the toon cut out
before plain gray); the picture to learn is a portrait of the same toon by the world, in another
pose. Resumes: a scene that was looked at is not looked at again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from personae.compute.runs import make_folder, write_atomic
from personae.data.pipeline.finders import FaceFinder
from personae.data.pipeline.people import face_eyes, look
from personae.subjects.box import Box
from personae.toons import portrait, scene

FIRST_SEED = 40_000_000  # of scenes that nothing else is taught or measured on


def examples(seed: int, finder: FaceFinder, out: Path) -> list[dict]:
    """A scene's toons: the cut-out as reference, a portrait as target."""
    rng = np.random.default_rng(seed)
    drawn = scene(seed, count=int(rng.integers(2, 5)), split="train", look_alikes=seed % 5 == 0)
    faces, lines = look(finder.eyes, drawn.image, len(drawn.members)), []
    for number, member in enumerate(drawn.members):
        near = sorted(faces, key=lambda face: _apart(face.box, member.face))
        if not near or _apart(near[0].box, member.face) > 0.5 * member.face.width:
            continue
        crop = finder.head(drawn.image, near[0].box, [face.box for face in near[1:]])
        if crop is None:
            continue
        alone = portrait(member.toon, 2 * seed + number, than=member.pose)
        name = f"{seed}-{number}"
        for kind, picture in (("crop", crop), ("alone", alone.image)):
            Image.fromarray(picture).save(out / "files" / f"{name}-{kind}.png")
        lines.append(
            {
                "id": name,
                "image": f"files/{name}-alone.png",
                "prompt": f"{member.toon.noun}1",
                "references": [f"files/{name}-crop.png"],
                "nouns": [member.toon.noun],
                "kinds": ["person"],
            }
        )
    return lines


def _apart(one: Box, other: Box) -> float:
    return float(np.hypot(*np.subtract(one.center, other.center)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=1600)
    choice = parser.parse_args()
    out = make_folder(choice.out)
    make_folder(out / "files")
    make_folder(out / "scenes")
    finder = FaceFinder(face_eyes("toons"))
    texts = []
    for seed in range(FIRST_SEED, FIRST_SEED + choice.count):
        path = out / "scenes" / f"{seed}.jsonl"
        if not path.is_file():
            lines = examples(seed, finder, out)
            write_atomic(path, "".join(f"{json.dumps(line)}\n" for line in lines))
        texts.append(path.read_text())
    write_atomic(out / "examples.jsonl", "".join(texts))
    print(f"{sum(text.count(chr(10)) for text in texts)} examples in {out / 'examples.jsonl'}")


if __name__ == "__main__":
    main()

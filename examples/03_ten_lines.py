"""Load a backbone, draw one scene, look at it."""

import sys
from pathlib import Path

from PIL import Image

from personae.diffusion.load import load_backbone
from personae.generation import draw
from personae.subjects.manifest import read_scenes
from personae.toons import scene, write_scenes

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out/ten-lines")
path = write_scenes([scene(7, count=2, split="test")], folder)
backbone = load_backbone(sys.argv[2] if len(sys.argv) > 2 else "toons")
picture = draw(backbone, read_scenes(path).scenes[0], seed=0)
Image.fromarray(picture).save(folder / "picture.png")

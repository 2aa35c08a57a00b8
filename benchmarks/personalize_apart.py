"""Arms of `personalize` whose adapters are trained apart: one a toon, merged later (modular MuDI).

``fused`` is gradient fusion of them; ``modular`` a short Seg-Mix training on top of that, held by a
KL term to what the fused model says, on pictures that each adapter drew of its own toon: nobody's
photos are needed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from personae.config import apply_settings, build_config, read_toml
from personae.data.prepare import Preparation, prepare
from personae.data.segment import EyesForCutting
from personae.diffusion.fusing import Concept, Sampling, fuse_adapters
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora, save_lora
from personae.generation import Drawing
from personae.generation.drawing import draw
from personae.subjects.manifest import read_cast, read_scenes
from personae.toons.caption import WHERE
from personae.training.finetune import finetune
from personae.training.recipe import Recipe

DRAWN = 6  # pictures of each toon, by its own adapter
STEPS = 250  # MuDI: 200 to 300


def train_alone(recipe: Path, cast: Path, settings: Sequence[str], out: Path) -> dict[str, Path]:
    """DreamBooth of each subject by itself, half as long as of two."""
    adapters = {}
    for line in cast.read_text().splitlines():
        name = line.split('"id": "')[1][0]
        own = cast.with_name(f"{name}.jsonl")
        own.write_text(line + "\n")
        data = apply_settings(
            read_toml(recipe), [*settings, f"data.cast.file={own}", "data.cast.mix=none"]
        )
        run = out / f"alone-{name}"
        if not (run / "adapter").is_dir():
            finetune(build_config(Recipe, data), run, resume=True)
        adapters[name] = run / "adapter"
    return adapters


def fuse(cast: Path, adapters: dict[str, Path], out: Path) -> None:
    """One adapter that does for each toon's prompts what its own does."""
    names = {subject.id: subject.name for subject in read_cast(cast).subjects}
    concepts = {
        name: Concept(adapter=adapter, prompts=[f"{names[name]} {w}" for w in WHERE.values()])
        for name, adapter in adapters.items()
    }
    backbone = load_backbone("toons")
    fuse_adapters(backbone, concepts, sampling=Sampling(size=(128, 128)))
    save_lora(backbone, out / "adapter")


def draw_alone(cast: Path, adapters: dict[str, Path], out: Path) -> Path:
    """A cast of what each adapter draws of its own toon, cut out as photographs are."""
    scene = read_scenes(cast.with_name("scenes.jsonl")).scenes[0]
    subjects = {subject.id: subject for subject in read_cast(cast).subjects}
    for name, adapter in adapters.items():
        backbone = load_backbone("toons")
        load_lora(backbone, adapter)
        folder = out / "photos" / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, words in enumerate(list(WHERE.values())[:DRAWN]):
            alone = {name: subjects[name]}
            asked = type(scene)(f"{name}-{number}", f"{{{name}}} {words}", alone)
            picture = draw(backbone, asked, number, Drawing(in_context=False))
            Image.fromarray(np.asarray(picture)).save(folder / f"{number:02d}.png")
    task = Preparation(
        photos=out / "photos",
        out=out / "cast",
        eyes=EyesForCutting(faces="toons"),
        kinds=dict.fromkeys(subjects, "person"),
        nouns={name: subject.noun for name, subject in subjects.items()},
        tokens={name: str(subject.token) for name, subject in subjects.items()},
    )
    prepare(task)
    return out / "cast" / "cast.jsonl"


def train_modular(
    recipe: Path, drawn: Path, settings: Sequence[str], under: Path, out: Path
) -> None:
    """Seg-Mix on self-drawn pictures, on top of the fused adapter."""
    more = [
        f"data.cast.file={drawn}",
        f"lora.under={under}",
        "lora.rank=16",
        "objective.kl_weight=0.5",
        "optimizer.lr=1e-3",
        f"training.steps={STEPS}",
        f"training.threads={torch.get_num_threads()}",
    ]
    data = apply_settings(read_toml(recipe), [*settings, *more])
    finetune(build_config(Recipe, data), out, resume=True)

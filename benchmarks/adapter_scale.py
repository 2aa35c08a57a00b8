"""How much of an adapter, and how much guidance? Gain and cost, on validation identities.

    python benchmarks/adapter_scale.py OUT [--adapter toons-umo] [--at 0 0.5 1 1:2]

Each strength, and each reference guidance where one is given behind it (else the model's own),
draws the same scenes of the recipe's validation with the same two seeds: the reward, the examiner,
which neither reward nor choice has asked, the distance of pictures to true ones (KID) and how much
two seeds of a scene differ. In brackets the difference to the first, 95 in 100, paired by scene.
Resumes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from reward_curve import looked_at, true_features
from reward_options import SHOWN, spread
from toon_tables import difference, head, line

from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora, scale_lora
from personae.metrics.quality import kernel_distance
from personae.training.choose import choose
from personae.training.recipe import read_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "umo_toons.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--adapter", default="toons-umo")
    parser.add_argument("--at", nargs="+", default=["0", "0.5", "1", "1:2"])
    parser.add_argument("--count", type=int, default=64)
    choice = parser.parse_args()
    choice.out.mkdir(parents=True, exist_ok=True)
    recipe = read_recipe(RECIPE)
    recipe = replace(recipe, validation=replace(recipe.validation, count=choice.count, seeds=2))
    backbone = load_backbone(recipe.base, device="cpu")
    validation = choose(recipe, backbone, backbone.device).validation
    truth = true_features(recipe, backbone)
    load_lora(backbone, choice.adapter)
    own = backbone.limits
    rows: list[dict[str, np.ndarray]] = []
    print(head("strength", *SHOWN, "KID x 1000", "diversity"))
    for text in choice.at:
        scale, _, guidance = text.partition(":")
        path = choice.out / f"scale-{text.replace(':', '-')}.npz"
        if not path.is_file():
            scale_lora(backbone, float(scale))
            toward = float(guidance or own.reference_guidance)
            backbone.limits = replace(own, reference_guidance=toward)
            np.savez(path, **looked_at(validation, backbone, recipe.seed))
        rows.append(dict(np.load(path)))
        cells = [difference(rows[-1][shown], rows[0][shown]) for shown in SHOWN]
        cells.append(f"{1000 * float(kernel_distance(rows[-1]['pixels'], truth)):.2f}")
        cells.append(difference(spread(rows[-1]), spread(rows[0])))
        print(line([text, *cells]), flush=True)


if __name__ == "__main__":
    main()

"""SDXL and FLUX.1 through the same commands: references left out, noise shifted all the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from personae.diffusion.load import load_backbone
from personae.generation import Drawing, draw, generate, initial_latents, plan_scene, trace
from tests.diffusion.families import save_tiny, tiny_configs, uno
from tests.generation.fake import scenes

KINDS = ("sdxl", "flux1", "uno")
SMALL = Drawing(size=(64, 64), steps=3)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("drawn")
    marked = uno(tiny_configs("flux1").limits)
    limits = {"sdxl": None, "flux1": None, "uno": marked}
    return {
        kind: load_backbone(save_tiny(place / kind, "sdxl" if kind == "sdxl" else "flux1", told))
        for kind, told in limits.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_references_are_seen_only_where_they_can_be(backbones, tmp_path: Path, kind: str) -> None:
    (scene,) = scenes(tmp_path, "s")
    backbone = backbones[kind]
    out = tmp_path / "out"
    generate([scene], backbone, out, SMALL, seeds=1)
    (row,) = [json.loads(line) for line in (out / "images.jsonl").read_text().splitlines()]
    assert row["in_context"] == (kind == "uno")
    assert row["error"] is None
    plan = plan_scene(scene, backbone.limits, Drawing())
    assert len(plan.references) == (2 if kind == "uno" else 0)
    assert plan.prompt == "girl and girl in a park"
    unseen = draw(backbone, scene, 0, replace(SMALL, in_context=False))
    same = np.array_equal(unseen, draw(backbone, scene, 0, SMALL))
    assert same == (kind != "uno")


@pytest.mark.parametrize("kind", KINDS)
def test_mean_shift_is_gamma_times_the_collage_inside_the_mask(
    backbones, tmp_path: Path, kind: str
) -> None:
    (scene,) = scenes(tmp_path, "s")
    backbone = backbones[kind]
    drawing = Drawing(size=(128, 64), init="mean-shift", gamma=0.5, layout="halves")
    plan = plan_scene(scene, backbone.limits, drawing)
    plain = initial_latents(plan, backbone, Drawing(size=(128, 64)), 3)
    assert plain.shape == backbone.latent_shape(128, 64)
    none = initial_latents(plan, backbone, replace(drawing, gamma=0.0), 3)
    assert torch.equal(plain, none)
    half = initial_latents(plan, backbone, drawing, 3) - plain
    whole = initial_latents(plan, backbone, replace(drawing, gamma=1.0), 3) - plain
    torch.testing.assert_close(2 * half, whole, atol=1e-5, rtol=1e-4)
    outside = (whole == 0).all(dim=0)
    assert 0 < outside.sum() < outside.numel(), "the collage covers a part of the picture"
    shifted = draw(backbone, scene, 3, replace(drawing, steps=2))
    assert not np.array_equal(shifted, draw(backbone, scene, 3, replace(SMALL, size=(128, 64))))


def test_sdxl_begins_with_noise_and_shift_in_their_proportion(backbones, tmp_path: Path) -> None:
    """The pipeline multiplies both by init_noise_sigma; the network sees what we gave."""
    (scene,) = scenes(tmp_path, "s")
    backbone, seen = backbones["sdxl"], []
    drawing = Drawing(size=(64, 64), steps=1, init="mean-shift", gamma=0.8, guidance=1.0)
    handle = backbone.denoiser.register_forward_pre_hook(
        lambda module, given: seen.append(given[0])
    )
    draw(backbone, scene, 0, drawing)
    handle.remove()
    plan = plan_scene(scene, backbone.limits, drawing)
    expected = initial_latents(plan, backbone, drawing, 0)
    torch.testing.assert_close(seen[0][0], expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_glimpse_is_the_picture(backbones, tmp_path: Path, kind: str) -> None:
    (scene,) = scenes(tmp_path, "s")
    backbone = backbones[kind]
    glimpses = trace(backbone, scene, 2, SMALL)
    picture = draw(backbone, scene, 2, SMALL)
    gap = np.abs(glimpses[-1].picture.astype(int) - picture.astype(int))
    assert gap.max() <= 1
    assert len(glimpses) == 4

"""Regional control: in a box the regional prompt, elsewhere the whole one, to the bit."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st

from personae.diffusion.regions import Region, blended, box_cells, drawn_by_regions
from personae.errors import RequestError
from tests.diffusion.test_flux2 import noise, photos

WHOLE, PART, OTHER = "cat 1 and girl 2 in a park", "robot 1 on a beach", "man 2 in a kitchen"
SETTINGS = {"width": 96, "height": 64, "steps": 2}


def drawn(tiny, regions, prompt=WHOLE, weight=1.0, **more) -> np.ndarray:
    settings = {**SETTINGS, "guidance": 3.0, "latents": noise(tiny, 2), **more}
    with drawn_by_regions(tiny, prompt, regions, weight):
        return np.stack(tiny.draw(prompt, photos(2), **settings))


def everywhere(value: float = 1.0) -> torch.Tensor:
    return torch.full((2, 4, 6), value)


def left_half(*columns: int) -> torch.Tensor:
    cells = torch.zeros(len(columns), 4, 6)
    for row, count in enumerate(columns):
        cells[row, :, :count] = 1
    return cells


def first_steps(tiny, regions, prompt=WHOLE, **more) -> torch.Tensor:
    """Latents after the first step."""
    seen = {}
    drawn(tiny, regions, prompt, on_step=lambda step, x: seen.setdefault(step, x.clone()), **more)
    return seen[0]


@pytest.mark.parametrize("guidance", [{"guidance": 1.0}, {"guidance": 3.0},
                                      {"guidance": 3.0, "reference_guidance": 2.0}])  # fmt: skip
def test_a_region_over_the_whole_picture_is_its_own_prompt(tiny, guidance) -> None:
    whole = drawn(tiny, [], **guidance)
    part = drawn(tiny, [], PART, **guidance)
    assert (whole != part).any()
    regional = drawn(tiny, [Region(PART, everywhere())], **guidance)
    assert np.array_equal(regional, part)


def test_nothing_is_changed_without_regions_without_weight_or_afterwards(tiny) -> None:
    settings = {**SETTINGS, "guidance": 3.0, "latents": noise(tiny, 2)}
    plain = np.stack(tiny.draw(WHOLE, photos(2), **settings))
    assert np.array_equal(drawn(tiny, []), plain)
    assert np.array_equal(drawn(tiny, [Region(PART, everywhere())], weight=0.0), plain)
    assert np.array_equal(drawn(tiny, [Region(PART, everywhere(0.0))]), plain)
    assert np.array_equal(drawn(tiny, [Region(WHOLE, everywhere())]), plain)
    assert (drawn(tiny, [Region(PART, everywhere())]) != plain).any()
    assert np.array_equal(np.stack(tiny.draw(WHOLE, photos(2), **settings)), plain)


def test_outside_of_boxes_the_first_step_is_the_whole_prompt_s(tiny) -> None:
    """Boxes of two pictures differ; each half is bit for bit one of the two prompts'."""
    cells = left_half(3, 1)
    whole, part = first_steps(tiny, []), first_steps(tiny, [], PART)
    mixed = first_steps(tiny, [Region(PART, cells)])
    inside = cells[:, None].bool().expand_as(mixed)
    assert torch.equal(mixed[~inside], whole[~inside])
    assert torch.equal(mixed[inside], part[inside])
    assert not torch.equal(part[inside], whole[inside])


def test_where_boxes_overlap_prompts_have_their_mean(tiny) -> None:
    """Without guidance a step is linear in what is said."""
    regions = [Region(PART, everywhere()), Region(OTHER, everywhere())]
    parts = [first_steps(tiny, [], prompt, guidance=1.0) for prompt in (PART, OTHER)]
    both = first_steps(tiny, regions, guidance=1.0)
    torch.testing.assert_close(both, (parts[0] + parts[1]) / 2, atol=1e-5, rtol=1e-5)


def test_only_what_is_said_with_the_prompt_is_changed(tiny) -> None:
    """x' = x + dt (u + g (v - u)): the part of the empty prompt u stays."""
    plain = {scale: first_steps(tiny, [], guidance=scale) for scale in (1.0, 3.0)}
    part = first_steps(tiny, [], PART, guidance=1.0)
    mixed = first_steps(tiny, [Region(PART, everywhere(0.5))], guidance=3.0)
    wanted = plain[3.0] + 3.0 * 0.5 * (part - plain[1.0])
    torch.testing.assert_close(mixed, wanted, atol=1e-4, rtol=1e-4)


def test_the_hook_goes_even_when_drawing_fails(tiny) -> None:
    before = len(tiny.pipeline.transformer._forward_hooks)
    with pytest.raises(RequestError):
        drawn(tiny, [Region(PART, everywhere())], width=95)
    assert len(tiny.pipeline.transformer._forward_hooks) == before


def test_another_family_is_refused() -> None:
    strange = SimpleNamespace(family="strange", name="x", pipeline=SimpleNamespace())
    with (
        pytest.raises(RequestError, match="not 'strange'"),
        drawn_by_regions(strange, "", [Region(PART, everywhere())]),
    ):
        raise AssertionError("never here")


boxes = st.tuples(*[st.floats(0, 0.45)] * 2, *[st.floats(0.55, 1)] * 2)


@given(boxes, st.integers(1, 5), st.integers(1, 5))
def test_cells_are_covered_as_a_fine_raster_says(box, height, width) -> None:
    cells = box_cells(box, height, width)
    assert tuple(cells.shape) == (height, width)
    assert float(cells.min()) >= 0
    assert float(cells.max()) <= 1
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert float(cells.sum()) == pytest.approx(area * height * width, rel=1e-4)
    fine = 200
    ys, xs = np.mgrid[0:fine, 0:fine] / fine + 0.5 / fine
    inside = (xs > box[0]) & (xs < box[2]) & (ys > box[1]) & (ys < box[3])
    for row in range(height):
        for column in range(width):
            cell = (ys * height).astype(int) == row
            cell &= (xs * width).astype(int) == column
            assert float(cells[row, column]) == pytest.approx(inside[cell].mean(), abs=0.06)


@given(st.integers(0, 50), st.integers(1, 3), st.floats(0, 1))
def test_blending_agrees_with_a_loop(seed, count, weight) -> None:
    generator = torch.Generator().manual_seed(seed)
    whole, *parts = torch.randn(count + 1, 7, generator=generator)
    cells = (torch.rand(count, 7, generator=generator) - 0.4).clamp(0, 1)
    found = blended(whole, parts, list(cells), weight)
    for place in range(7):
        shares = [float(one[place]) for one in cells]
        expected = float(whole[place])
        if sum(shares) > 0:
            mean = sum(s * float(p[place]) for s, p in zip(shares, parts, strict=True))
            strength = weight * max(shares)
            expected = (1 - strength) * expected + strength * mean / sum(shares)
        assert float(found[place]) == pytest.approx(expected, abs=1e-5)


def tiny_unet(sdxl: bool) -> UNet2DConditionModel:
    torch.manual_seed(0)
    more = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + 12,
    }
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **(more if sdxl else {}),
    ).eval()


class UNetBackbone:
    """What regional control needs of Stable Diffusion: its UNet, and its own embedded prompts."""

    family = "unet"
    name = "unet"
    device = torch.device("cpu")

    def __init__(self, sdxl: bool) -> None:
        self.sdxl, self.pipeline = sdxl, SimpleNamespace()
        self.pipeline.unet = tiny_unet(sdxl)
        self.pipeline.encode_prompt = self.encode

    def encode(self, prompt, device=None, num_images_per_prompt=1, **_):
        generator = torch.Generator().manual_seed(len(prompt))
        text = torch.randn(1, 5, 16, generator=generator)
        pooled = torch.randn(1, 12, generator=generator)
        return (text, None, pooled, None) if self.sdxl else (text, None)

    @torch.no_grad()
    def call(self, x: torch.Tensor, prompt: str, guided: bool) -> torch.Tensor:
        """As the pipelines call: the empty prompt's rows first, one timestep for all."""
        times = torch.tensor([[8.0, 8, 0, 0, 8, 8]])
        parts = [self.encode(""), self.encode(prompt)] if guided else [self.encode(prompt)]
        text = torch.cat([part[0].expand(len(x), -1, -1) for part in parts])
        added = None
        if self.sdxl:
            pooled = torch.cat([part[2].expand(len(x), -1) for part in parts])
            added = {"text_embeds": pooled, "time_ids": times.expand(len(text), -1)}
        return self.pipeline.unet(
            torch.cat([x] * len(parts)),
            torch.tensor(500),
            encoder_hidden_states=text,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("sdxl", [True, False])
def test_a_unet_follows_regions_in_the_prompt_s_rows_alone(sdxl, guided) -> None:
    backbone = UNetBackbone(sdxl)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    cells = torch.zeros(2, 8, 8)
    cells[0, :, :4], cells[1, 2:, :] = 1, 1
    whole, part = backbone.call(x, WHOLE, guided), backbone.call(x, PART, guided)
    with drawn_by_regions(backbone, WHOLE, [Region(PART, cells)]):
        found = backbone.call(x, WHOLE, guided)
    told = slice(2, None) if guided else slice(None)
    inside = cells[:, None].bool().expand_as(x)
    torch.testing.assert_close(found[told][inside], part[told][inside], atol=1e-5, rtol=1e-5)
    assert torch.equal(found[told][~inside], whole[told][~inside])
    if guided:
        assert torch.equal(found[:2], whole[:2]), "the empty prompt's"
    assert not torch.allclose(whole[told][inside], part[told][inside], atol=1e-4)

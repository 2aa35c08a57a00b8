from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from personae.diffusion.backbone import Context
from personae.diffusion.flux2 import Flux2Backbone
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import add_lora
from personae.errors import DataError, RequestError

PROMPT = "cat 1 and girl 2 in a park"


def photos(count: int, side: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def as_batch(pixels: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255


def noise(tiny: Flux2Backbone, count: int, width: int = 96, height: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, *tiny.latent_shape(width, height), generator=generator)


@torch.no_grad()
def euler(
    tiny, prompt, references, latents, times, guidance, of_references=1.0
) -> list[torch.Tensor]:
    """Sampling as the papers write it, from the backbone's parts alone."""
    refs = tuple(
        tiny.encode_image(as_batch([pixels])).repeat(len(latents), 1, 1, 1) for pixels in references
    )
    said = Context(tiny.encode_prompt([prompt] * len(latents)), refs)
    unsaid = Context(tiny.encode_prompt([""] * len(latents)), refs)
    x, path = latents, []

    def velocity_of(context: Context) -> torch.Tensor:
        blind = tiny.predict(x, time, Context(context.text))
        return blind + of_references * (tiny.predict(x, time, context) - blind)

    for now, following in itertools.pairwise(times):
        time = now.expand(len(x))
        velocity = velocity_of(said)
        if guidance > 1:
            without = velocity_of(unsaid)
            velocity = without + guidance * (velocity - without)
        x = x + (following - now) * velocity
        path.append(x)
    return path


@pytest.mark.parametrize(
    ("guidance", "of_references", "count"),
    [
        (1.0, 1.0, 2),
        (3.0, 1.0, 2),
        (3.0, 1.0, 0),
        (1.0, 1.0, 1),
        (1.0, 2.5, 2),
        (3.0, 2.0, 1),
        (3.0, 2.0, 0),
    ],
)
def test_the_pipeline_draws_what_predict_and_times_say(
    tiny, guidance: float, of_references: float, count: int
) -> None:
    latents, references, seen = noise(tiny, 2), photos(count), []
    drawn = tiny.draw(
        PROMPT,
        references,
        width=96,
        height=64,
        latents=latents,
        steps=5,
        guidance=guidance,
        reference_guidance=of_references,
        on_step=lambda step, x: seen.append((step, x.clone())),
    )
    times = tiny.times(5, 96, 64)
    path = euler(tiny, PROMPT, references, latents, times, guidance, of_references)
    assert [step for step, _ in seen] == [0, 1, 2, 3, 4]
    for (_, theirs), ours in zip(seen, path, strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)
    pixels = (tiny.decode(path[-1]).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    assert drawn[0].shape == (64, 96, 3)
    assert drawn[0].dtype == np.uint8
    assert np.abs(np.stack(drawn) - pixels.detach().numpy()).max() <= 1


def test_guidance_by_references_ends_with_the_picture(tiny) -> None:
    settings = {"width": 96, "height": 64, "latents": noise(tiny, 1), "steps": 2, "guidance": 1.0}
    plain = tiny.draw(PROMPT, photos(1), **settings)
    strong = tiny.draw(PROMPT, photos(1), **settings, reference_guidance=4.0)
    assert (strong[0] != plain[0]).any()
    with pytest.raises(DataError):
        tiny.draw(PROMPT, [np.zeros((2, 2, 3), np.uint8)], **settings, reference_guidance=4.0)
    assert not tiny.pipeline.transformer._forward_hooks
    assert (tiny.draw(PROMPT, photos(1), **settings)[0] == plain[0]).all()


def test_a_picture_does_not_depend_on_those_beside_it(tiny) -> None:
    latents = noise(tiny, 3)
    settings = {"width": 96, "height": 64, "steps": 3, "guidance": 2.0}
    together = tiny.draw(PROMPT, photos(1), latents=latents, **settings)
    alone = tiny.draw(PROMPT, photos(1), latents=latents[1:2], **settings)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    assert np.abs(together[0].astype(int) - together[1]).max() > 1


@pytest.mark.parametrize(("steps", "width", "height"), [(1, 64, 64), (4, 128, 128), (20, 192, 128)])
def test_times_are_shifted_as_flux2_says(tiny, steps: int, width: int, height: int) -> None:
    """The line through mu at 10 and at 200 steps, each a line in the number of tokens."""
    tokens = width * height / 256
    at_10, at_200 = 8.73809524e-05 * tokens + 1.89833333, 0.00016927 * tokens + 0.45666666
    shift = math.exp(at_10 + (at_200 - at_10) * (steps - 10) / 190)
    equal = [1 - k / steps for k in range(steps + 1)]
    expected = [shift * t / (1 + (shift - 1) * t) for t in equal]
    times = tiny.times(steps, width, height)
    assert times[0] == 1
    assert times[-1] == 0
    torch.testing.assert_close(times, torch.tensor(expected))


def test_times_of_a_constant_shift(fresh) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    fresh.pipeline.scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
    expected = torch.tensor([1.0, 2 * 0.75 / 1.75, 2 * 0.5 / 1.5, 2 * 0.25 / 1.25, 0.0])
    torch.testing.assert_close(fresh.times(4, 64, 64), expected)


def test_tokens_and_text_are_the_pipelines(tiny) -> None:
    prompts = [PROMPT, "robot 1"]
    theirs, _ = tiny.pipeline.encode_prompt(
        prompts, max_sequence_length=32, text_encoder_out_layers=(1, 2, 3)
    )
    torch.testing.assert_close(tiny.encode_prompt(prompts), theirs)
    ids, mask = tiny.tokenize(prompts)
    assert ids.shape == mask.shape == (2, 32)
    assert mask[1].sum() == tiny.count_tokens("robot 1")
    assert tiny.count_tokens("robot " * 50) > 32


def test_latents_are_the_pipelines_and_decode_undoes_the_norm(tiny) -> None:
    images = as_batch(photos(2, 32))
    latents = tiny.encode_image(images)
    theirs = tiny.pipeline._encode_vae_image(2 * images - 1, generator=None)
    torch.testing.assert_close(latents, theirs)
    mode = tiny.pipeline.vae.encode(2 * images - 1).latent_dist.mode()
    plain = tiny.pipeline.vae.decode(mode).sample / 2 + 0.5
    torch.testing.assert_close(tiny.decode(latents), plain, atol=1e-5, rtol=1e-4)


def test_gradients_flow_through_every_part(tiny, batch) -> None:
    x = batch.x.clone().requires_grad_()
    text = batch.context.text.clone().requires_grad_()
    reference = batch.context.references[0].clone().requires_grad_()
    context = Context(text, (reference, batch.context.references[1]))
    tiny.decode(tiny.predict(x, batch.time, context)).sum().backward()
    for tensor in (x, text, reference):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_gradients_flow_into_the_text_encoder(fresh) -> None:
    fresh.text_encoder.requires_grad_(True)
    fresh.encode_tokens(*fresh.tokenize([PROMPT])).sum().backward()
    grads = [p.grad for name, p in fresh.text_encoder.named_parameters() if "layers.0" in name]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)
    assert not fresh.encode_prompt([PROMPT]).requires_grad


@torch.no_grad()
def test_predict_treats_each_row_alone(tiny, batch) -> None:
    together = tiny.predict(batch.x, batch.time, batch.context)
    for row in range(3):
        one = slice(row, row + 1)
        alone = tiny.predict(batch.x[one], batch.time[one], batch.context[one])
        torch.testing.assert_close(together[one], alone, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_order_of_references_is_seen(tiny, batch) -> None:
    context = batch.context
    swapped = Context(context.text, context.references[::-1])
    one, other = (tiny.predict(batch.x, batch.time, c) for c in (context, swapped))
    assert (one - other).abs().max() > 1e-4


@torch.no_grad()
def test_predict_asks_the_denoiser_that_stands_there_now(fresh, batch) -> None:
    class Doubled(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.module = inner

        def forward(self, **inputs):
            return (2 * self.module(**inputs)[0],)

    before = fresh.predict(batch.x, batch.time, batch.context)
    fresh.denoiser = Doubled(fresh.denoiser)
    torch.testing.assert_close(fresh.predict(batch.x, batch.time, batch.context), 2 * before)


@torch.no_grad()
def test_a_saved_backbone_is_the_same_when_loaded(tiny, batch, tmp_path: Path) -> None:
    tiny.save(tmp_path / "copy")
    copy = load_backbone(tmp_path / "copy")
    assert copy.limits == tiny.limits
    expected = tiny.predict(batch.x, batch.time, batch.context)
    assert torch.equal(copy.predict(batch.x, batch.time, batch.context), expected)
    assert copy.tokenize([PROMPT])[0].tolist() == tiny.tokenize([PROMPT])[0].tolist()


def test_a_saved_folder_says_nothing_of_where_it_came_from(tiny, tmp_path: Path) -> None:
    tiny.save(tmp_path / "first")
    load_backbone(tmp_path / "first").save(tmp_path / "second")
    for path in (tmp_path / "second").rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path


def test_an_adapter_is_not_saved_into_the_weights(fresh, tmp_path: Path) -> None:
    add_lora(fresh, 2, 2)
    with pytest.raises(RequestError, match="merge_lora"):
        fresh.save(tmp_path / "copy")


@torch.no_grad()
def test_bfloat16_says_nearly_the_same(tiny, tiny_folder: Path, batch) -> None:
    half = load_backbone(tiny_folder, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    said = half.predict(batch.x, batch.time, batch.context)
    expected = tiny.predict(batch.x, batch.time, batch.context)
    assert said.dtype == torch.float32
    assert (said - expected).norm() < 0.05 * expected.norm()
    pictures = half.draw(
        PROMPT,
        photos(1),
        width=64,
        height=64,
        latents=noise(tiny, 1, 64, 64),
        steps=2,
        guidance=1.0,
    )
    assert pictures[0].shape == (64, 64, 3)


@pytest.mark.parametrize(("width", "height"), [(100, 64), (64, 0), (-16, 64), (64, 65)])
def test_a_size_that_does_not_fit_names_one_that_does(tiny, width: int, height: int) -> None:
    with pytest.raises(RequestError, match=r"multiples of 16.*nearest"):
        tiny.latent_shape(width, height)


def test_wrong_requests_are_refused_before_drawing(tiny) -> None:
    settings = {"width": 64, "height": 64, "steps": 1, "guidance": 1.0}
    with pytest.raises(RequestError, match="expected"):
        tiny.draw(PROMPT, [], latents=noise(tiny, 1, 96, 64), **settings)
    with pytest.raises(DataError, match="reference 2 of 32 x 32"):
        references = [*photos(1), *photos(1, 32)]
        tiny.draw(PROMPT, references, latents=noise(tiny, 1, 64, 64), **settings)
    with pytest.raises(RequestError, match="steps 0"):
        tiny.times(0, 64, 64)
    with pytest.raises(RequestError, match="multiples"):
        tiny.encode_image(torch.zeros(1, 3, 40, 64))


def test_negative_words_are_what_guidance_turns_away_from(tiny: Flux2Backbone) -> None:
    noise = torch.randn(1, *tiny.latent_shape(64, 64), generator=torch.Generator().manual_seed(0))
    shared = {"width": 64, "height": 64, "latents": noise, "steps": 2, "guidance": 4.0}
    with torch.no_grad():
        plain, empty, away = (
            tiny.draw("girl 1 in a park", (), **shared, negative=words)[0].astype(int)
            for words in ("", " ", "cat 1 on a beach")
        )
        same = tiny.draw("girl 1 in a park", (), **shared, negative="girl 1 in a park")[0]
        alone = tiny.draw("girl 1 in a park", (), **{**shared, "guidance": 1.0})[0]
    assert np.abs(plain - away).max() > 2
    assert np.abs(same.astype(int) - alone.astype(int)).max() <= 1
    assert plain.shape == empty.shape

"""SDXL and FLUX.1: what they predict is what their pipelines draw."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from personae.diffusion.backbone import Backbone, Context
from personae.diffusion.guidance import guided, told_guidance
from personae.diffusion.load import load_backbone
from personae.errors import DataError, RequestError
from tests.diffusion.families import save_tiny, tiny_configs, uno

PROMPT = "a girl and a man in a park"
KINDS = ("sdxl", "flux1", "uno")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("families")
    marked = uno(tiny_configs("flux1").limits)
    return {
        "sdxl": save_tiny(place / "sdxl", "sdxl"),
        "flux1": save_tiny(place / "flux1", "flux1"),
        "uno": save_tiny(place / "uno", "flux1", marked),
    }


@pytest.fixture(scope="module")
def backbones(folders: dict[str, Path]) -> dict[str, Backbone]:
    return {kind: load_backbone(folder) for kind, folder in folders.items()}


def photos(count: int, side: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def as_batch(pixels: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255


def noise(backbone: Backbone, count: int, width: int = 96, height: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, *backbone.latent_shape(width, height), generator=generator)


@torch.no_grad()
def sampled(backbone, references, latents, times, guidance, of_references) -> list[torch.Tensor]:
    """Sampling from the backbone's parts alone."""
    refs = tuple(
        backbone.encode_image(as_batch([item])).repeat(len(latents), 1, 1, 1) for item in references
    )
    said = Context(backbone.encode_prompt([PROMPT] * len(latents)), refs)
    unsaid = Context(backbone.encode_prompt([""] * len(latents)), refs)
    x, path = latents, []

    def predicted(context: Context) -> torch.Tensor:
        told = backbone.predict(x, time, context)
        blind = backbone.predict(x, time, Context(context.text))
        return guided(told, blind, of_references)

    with told_guidance(backbone, guidance) as scale:
        for now, following in itertools.pairwise(times):
            time = now.expand(len(x))
            prediction = predicted(said)
            if scale > 1:
                prediction = guided(prediction, predicted(unsaid), scale)
            x = backbone.follow(x, prediction, time, following.expand(len(x)))
            path.append(x)
    return path


@pytest.mark.parametrize(
    ("kind", "guidance", "count", "of_references"),
    [
        ("sdxl", 1.0, 0, 1.0),
        ("sdxl", 5.0, 0, 1.0),
        ("flux1", 1.0, 0, 1.0),
        ("flux1", 3.5, 0, 1.0),
        ("uno", 3.5, 0, 1.0),
        ("uno", 3.5, 1, 1.0),
        ("uno", 3.5, 2, 1.0),
        ("uno", 3.5, 2, 2.5),
    ],
)
def test_the_pipeline_draws_what_predict_and_times_say(
    backbones, kind: str, guidance: float, count: int, of_references: float
) -> None:
    backbone, seen = backbones[kind], []
    latents = noise(backbone, 2)
    # References of two sizes, so that their places on the diagonal differ.
    references = [picture for k in range(count) for picture in photos(1, 64 - 32 * k)]
    drawn = backbone.draw(
        PROMPT,
        references,
        width=96,
        height=64,
        latents=latents,
        steps=4,
        guidance=guidance,
        reference_guidance=of_references,
        on_step=lambda step, x: seen.append((step, x.clone())),
    )
    times = backbone.times(4, 96, 64)
    path = sampled(backbone, references, latents, times, guidance, of_references)
    assert [step for step, _ in seen] == [0, 1, 2, 3]
    for (_, theirs), ours in zip(seen, path, strict=True):
        torch.testing.assert_close(theirs, ours, atol=2e-3, rtol=1e-3)
    pixels = (backbone.decode(path[-1]).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    assert drawn[0].shape == (64, 96, 3)
    assert np.abs(np.stack(drawn) - pixels.detach().numpy()).max() <= 1
    assert not backbone.denoiser._forward_hooks
    assert not backbone.denoiser._forward_pre_hooks


@pytest.mark.parametrize("kind", ["sdxl", "flux1"])
def test_the_network_of_the_pipeline_gets_what_predict_gives_it(backbones, kind: str) -> None:
    """One step of the pipeline, number by number: latents, times, words, sizes, guidance."""
    backbone, given = backbones[kind], []

    def keep(module, args, kwargs) -> None:
        given.append((args, kwargs))

    handle = backbone.denoiser.register_forward_pre_hook(keep, with_kwargs=True)
    latents = noise(backbone, 1)
    settings = {"width": 96, "height": 64, "latents": latents, "steps": 1, "guidance": 1.0}
    backbone.draw(PROMPT, [], **settings)
    time = backbone.times(1, 96, 64)[:1]
    with torch.no_grad():
        backbone.predict(latents, time, Context(backbone.encode_prompt([PROMPT])))
    handle.remove()
    (theirs, named), (ours, own) = given
    for first, second in zip(theirs, ours, strict=True):
        torch.testing.assert_close(first.reshape(second.shape).to(second.dtype), second)
    for key, value in own.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(named[key], value, msg=lambda text, k=key: f"{k}: {text}")
        elif isinstance(value, dict):
            for inner, tensor in value.items():
                torch.testing.assert_close(named[key][inner], tensor)


@pytest.mark.parametrize("kind", ["sdxl", "flux1"])
def test_text_is_the_pipelines_with_the_pooled_embedding_below(backbones, kind: str) -> None:
    backbone = backbones[kind]
    prompts = [PROMPT, "a cat"]
    text = backbone.encode_prompt(prompts)
    assert text.shape == (2, *backbone.text_shape)
    if kind == "sdxl":
        words, _, pooled, _ = backbone.pipeline.encode_prompt(
            prompts, do_classifier_free_guidance=False
        )
    else:
        words, pooled, _ = backbone.pipeline.encode_prompt(prompts, max_sequence_length=32)
    torch.testing.assert_close(text[:, :-1, : words.shape[-1]], words)
    torch.testing.assert_close(text[:, -1, : pooled.shape[-1]], pooled)
    assert not text[:, -1, pooled.shape[-1] :].any()
    assert (pooled[0] - pooled[1]).abs().max() > 1e-3, "the end of each text is found"
    ids, mask = backbone.tokenize(prompts)
    assert ids.shape == mask.shape == (2, 77 + (77 if kind == "sdxl" else 32))
    assert backbone.count_tokens("park " * 99) > backbone.limits.prompt_tokens


def test_no_prompt_is_zeros_where_the_pipelines_is(backbones) -> None:
    sdxl = backbones["sdxl"]
    assert not sdxl.encode_prompt(["", "a cat"])[0].any()
    assert sdxl.encode_prompt(["", "a cat"])[1].any()
    zeros = sdxl.pipeline.config.force_zeros_for_empty_prompt
    sdxl.pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    assert sdxl.encode_prompt([""]).any()
    sdxl.pipeline.register_to_config(force_zeros_for_empty_prompt=zeros)
    assert backbones["flux1"].encode_prompt([""]).any()


@pytest.mark.parametrize("kind", ["sdxl", "flux1"])
def test_latents_are_the_autoencoders_and_come_back(backbones, kind: str) -> None:
    backbone = backbones[kind]
    images = as_batch(photos(2))
    vae = backbone.pipeline.vae
    mode = vae.encode(2 * images - 1).latent_dist.mode()
    latents = backbone.encode_image(images)
    if kind == "sdxl":
        expected = mode * 0.13025
    else:
        plain = (mode - 0.1159) * 0.3611
        tokens = backbone.pipeline._pack_latents(plain, 2, 4, 8, 8)
        expected = tokens.transpose(1, 2).reshape(2, 16, 4, 4)
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(
        backbone.decode(latents), vae.decode(mode).sample / 2 + 0.5, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_estimate_of_the_target_is_the_clean_latent(backbones, kind: str) -> None:
    backbone = backbones[kind]
    clean, time = noise(backbone, 3) * 0.7, torch.tensor([0.05, 0.5, 0.98])
    other = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    mixed = backbone.mix(clean, other, time)
    target = backbone.target(clean, other, time)
    torch.testing.assert_close(backbone.estimate(mixed, target, time), clean, atol=1e-4, rtol=1e-4)
    nothing = torch.zeros(3)
    torch.testing.assert_close(
        backbone.follow(mixed, target, time, nothing), clean, atol=1e-4, rtol=1e-4
    )
    there = torch.tensor([0.01, 0.2, 0.6])
    torch.testing.assert_close(
        backbone.follow(mixed, target, time, there),
        backbone.mix(clean, other, there),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_through_every_part(backbones, kind: str) -> None:
    backbone = backbones[kind]
    x = noise(backbone, 1, 64, 64).requires_grad_()
    text = backbone.encode_prompt([PROMPT]).requires_grad_()
    reference = noise(backbone, 1, 32, 32).requires_grad_()
    references = (reference,) if kind == "uno" else ()
    said = backbone.predict(x, torch.tensor([0.6]), Context(text, references))
    backbone.decode(said).square().sum().backward()
    for tensor in (x, text, *references):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0
    assert text.grad[0, -1].abs().sum() > 0, "the pooled row is seen too"


@torch.no_grad()
def test_the_places_of_references_are_seen(backbones) -> None:
    backbone = backbones["uno"]
    x, text = noise(backbone, 1, 64, 64), backbone.encode_prompt([PROMPT])
    first, second = noise(backbone, 2, 32, 32).split(1)
    time = torch.tensor([0.6])
    one = backbone.predict(x, time, Context(text, (first, second)))
    other = backbone.predict(x, time, Context(text, (second, first)))
    none = backbone.predict(x, time, Context(text))
    assert (one - other).abs().max() > 1e-4
    assert (one - none).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["sdxl", "flux1"])
def test_references_are_refused_where_none_are_taken(backbones, kind: str) -> None:
    backbone = backbones[kind]
    settings = {"width": 64, "height": 64, "steps": 1, "guidance": 1.0}
    latents = noise(backbone, 1, 64, 64)
    with pytest.raises(RequestError, match="takes none in context"):
        backbone.draw(PROMPT, photos(1), latents=latents, **settings)
    with pytest.raises(RequestError, match="expected"):
        backbone.draw(PROMPT, [], latents=noise(backbone, 1), **settings)
    with pytest.raises(RequestError, match="steps 0"):
        backbone.times(0, 64, 64)
    with pytest.raises(RequestError, match="multiples of"):
        backbone.latent_shape(100, 64 + 4)


def test_a_reference_is_cropped_or_refused(backbones) -> None:
    backbone = backbones["uno"]
    settings = {"width": 64, "height": 64, "latents": noise(backbone, 1, 64, 64)}
    settings |= {"steps": 1, "guidance": 2.0}
    (large,) = photos(1, 70)
    whole = backbone.draw(PROMPT, [large], **settings)
    cut = backbone.draw(PROMPT, [large[3:67, 3:67]], **settings)
    assert (whole[0] == cut[0]).all()
    with pytest.raises(DataError, match="reference 2 of 8 x 8"):
        backbone.draw(PROMPT, [large, large[:8, :8]], **settings)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sdxl", "flux1"])
def test_bfloat16_says_nearly_the_same(backbones, folders, kind: str) -> None:
    backbone, half = backbones[kind], load_backbone(folders[kind], dtype=torch.bfloat16)
    x, time = noise(backbone, 1, 64, 64), torch.tensor([0.5])
    expected = backbone.predict(x, time, Context(backbone.encode_prompt([PROMPT])))
    said = half.predict(x, time, Context(half.encode_prompt([PROMPT])))
    assert said.dtype == torch.float32
    assert (said - expected).norm() < 0.1 * expected.norm()
    latents = noise(half, 1, 64, 64).bfloat16()
    settings = {"width": 64, "height": 64, "latents": latents, "steps": 2, "guidance": 2.0}
    assert half.draw(PROMPT, [], **settings)[0].shape == (64, 64, 3)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_backbone_is_the_same_when_loaded(backbones, kind: str, tmp_path: Path) -> None:
    backbone = backbones[kind]
    backbone.save(tmp_path / "copy")
    copy = load_backbone(tmp_path / "copy")
    assert copy.limits == backbone.limits
    x, time = noise(backbone, 1, 64, 64), torch.tensor([0.5])
    context = Context(backbone.encode_prompt([PROMPT]))
    assert torch.equal(copy.predict(x, time, context), backbone.predict(x, time, context))
    assert torch.equal(copy.encode_prompt([PROMPT]), context.text)


def test_a_clip_under_its_published_names_loads(folders, tmp_path: Path) -> None:
    """Published files say ``text_model.`` before every name; transformers 5 does not."""
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(folders["sdxl"], tmp_path / "sdxl")
    path = tmp_path / "sdxl" / "text_encoder" / "model.safetensors"
    bare = {name.removeprefix("text_model."): held for name, held in load_file(path).items()}
    save_file({f"text_model.{name}": held for name, held in bare.items()}, path, {"format": "pt"})
    copy, own = load_backbone(tmp_path / "sdxl"), load_backbone(folders["sdxl"])
    assert torch.equal(copy.encode_prompt([PROMPT]), own.encode_prompt([PROMPT]))


def test_flux1_without_guidance_inside_has_classifier_free_guidance(folders) -> None:
    backbone = load_backbone(folders["flux1"])
    config = backbone.pipeline.transformer.config
    assert backbone._guidance(4.0) == {"guidance_scale": 4.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(backbone), "_inner", property(lambda self: _Told(config)))
        assert backbone._guidance(4.0) == {"true_cfg_scale": 4.0, "negative_prompt": ""}
        assert backbone._guidance(1.0) == {}


class _Told:
    def __init__(self, config) -> None:
        from types import SimpleNamespace

        self.config = SimpleNamespace(**{**config, "guidance_embeds": False})

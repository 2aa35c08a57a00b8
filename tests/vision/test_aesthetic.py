"""Aesthetic predictors: the true classes in small, against the same steps written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from personae.errors import WeightsError
from personae.vision.aesthetic import AestheticScorer, linear_head
from tests.vision.tiny_aesthetic import save_head, save_tiny_siglip
from tests.vision.tiny_clip import save_tiny_clip


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_siglip(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


def picture(height: int = 60, width: int = 90) -> np.ndarray:
    down, across = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(across / 9 + k) * np.cos(down / 7) for k in range(3)]
    return np.stack(waves, -1).astype(np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 255


def through_head(head: Path, seen: np.ndarray) -> float:
    """Slow and plain: unit length, then layer after layer."""
    layers = load_file(head)
    value = seen / np.sqrt((seen**2).sum())
    for number in sorted({int(name.split(".")[-2]) for name in layers}):
        (stem,) = {name.rsplit(".", 1)[0] for name in layers if f".{number}." in name}
        weight, bias = layers[f"{stem}.weight"].numpy(), layers[f"{stem}.bias"].numpy()
        value = np.array([(row * value).sum() + b for row, b in zip(weight, bias, strict=True)])
    return float(value[0])


def test_siglip_is_fed_as_its_own_processor_feeds_it(siglip: Path, tmp_path: Path) -> None:
    from transformers import SiglipImageProcessorPil, SiglipVisionModel

    head = save_head(tmp_path / "v2_5.safetensors", 32)
    ours = AestheticScorer(head, siglip)
    processor = SiglipImageProcessorPil(size={"height": 28, "width": 28}, resample=3)
    fed = processor(images=Image.fromarray(picture()), return_tensors="pt").pixel_values
    whole = SiglipVisionModel.from_pretrained(siglip).eval()
    with torch.no_grad():
        seen = whole(pixel_values=fed).pooler_output[0].numpy()
    said = ours.score(tensor(picture()))
    assert said.shape == (1,)
    assert said.item() == pytest.approx(through_head(head, seen), abs=5e-3)
    # The pixels that the processor makes, fed as they are, give the number itself.
    exact = ours._head(torch.nn.functional.normalize(torch.from_numpy(seen)[None], dim=-1))
    assert exact.item() == pytest.approx(through_head(head, seen), abs=1e-5)


def test_clip_with_the_head_of_laion(clip: Path, tmp_path: Path) -> None:
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    head = save_head(tmp_path / "laion.safetensors", 24, "layers", step=3)
    ours = AestheticScorer(head, clip)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    fed = processor(images=Image.fromarray(picture()), return_tensors="pt").pixel_values
    whole = CLIPVisionModelWithProjection.from_pretrained(clip).eval()
    with torch.no_grad():
        seen = whole(pixel_values=fed).image_embeds[0].numpy()
    assert ours.score(tensor(picture())).item() == pytest.approx(through_head(head, seen), abs=5e-3)


def test_a_batch_is_each_by_itself_and_gradients_reach_the_pixels(
    siglip: Path, tmp_path: Path
) -> None:
    ours = AestheticScorer(save_head(tmp_path / "h.safetensors", 32), siglip)
    pictures = torch.cat([tensor(picture()), tensor(picture()[::-1].copy())]).requires_grad_()
    together = ours.score(pictures, ["", "words are not looked at"])
    each = torch.cat([ours.score(one[None]) for one in pictures])
    assert torch.allclose(together, each, atol=1e-5) and together[0] != together[1]
    together.sum().backward()
    assert torch.isfinite(pictures.grad).all() and float(pictures.grad.abs().sum()) > 0


def test_other_weights_are_other_eyes(siglip: Path, tmp_path: Path) -> None:
    head = save_head(tmp_path / "h.safetensors", 32)
    changed = load_file(head)
    changed["scoring_head.0.bias"] += 1
    (tmp_path / "other").mkdir()
    save_file(changed, tmp_path / "other" / "h.safetensors")
    first, second = (
        AestheticScorer(path, siglip).name for path in (head, tmp_path / "other" / "h.safetensors")
    )
    assert first.startswith("h+siglip") and first != second


def test_heads_that_do_not_fit_are_refused(siglip: Path, clip: Path, tmp_path: Path) -> None:
    head = save_head(tmp_path / "h.safetensors", 32)
    with pytest.raises(WeightsError, match=r"from 24 numbers .* the head of this encoder"):
        AestheticScorer(head, clip)
    layers = load_file(head)
    for broken in (
        {name: value for name, value in layers.items() if name != "scoring_head.2.bias"},
        {name: value for name, value in layers.items() if ".4." not in name},
        {**layers, "norm.weight": torch.ones(12)},
        {},
    ):
        with pytest.raises(WeightsError, match="expected linear layers"):
            linear_head(broken, 32, "here")


def test_files_that_cannot_be_read_say_what_to_do(siglip: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "head.pth", tmp_path / "none.safetensors"):
        with pytest.raises(WeightsError, match="weights_only=True"):
            AestheticScorer(path, siglip)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"\x00" * 20)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        AestheticScorer(torn, siglip)


def test_an_encoder_with_a_hole_is_refused_not_filled_by_chance(
    siglip: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(siglip, tmp_path / "holed")
    weights = load_file(siglip / "model.safetensors")
    gone = next(name for name in weights if "vision_model" in name and name.endswith("fc1.weight"))
    save_file(
        {name: value for name, value in weights.items() if name != gone},
        tmp_path / "holed" / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(WeightsError, match=r"1 weights of SiglipVisionModel .* would be random"):
        AestheticScorer(save_head(tmp_path / "h.safetensors", 32), tmp_path / "holed")


def test_an_encoder_of_another_kind_is_refused(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(
        tmp_path / "vit"
    )
    with pytest.raises(WeightsError, match=r"'vit'; expected one of \['siglip', 'clip'\]"):
        AestheticScorer(save_head(tmp_path / "h.safetensors", 8), tmp_path / "vit")

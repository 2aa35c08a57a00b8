import sys
import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from personae.errors import RequestError, WeightsError
from personae.vision.embedders import (
    ClipEmbedder,
    DinoEmbedder,
    Dinov2Embedder,
    DreamSimEmbedder,
)
from personae.vision.embedders.pretrained import weights_digest
from personae.vision.embedders.transformers_models import center_cropped
from personae.vision.protocols import Embedder

transformers = pytest.importorskip("transformers")

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def build(kind):
    torch.manual_seed(0)
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**SMALL))
    if kind == "dino":
        config = transformers.ViTConfig(**SMALL, intermediate_size=64)
        return transformers.ViTModel(config, add_pooling_layer=False)
    config = transformers.CLIPVisionConfig(**SMALL, intermediate_size=64, projection_dim=24)
    return transformers.CLIPVisionModelWithProjection(config)


MAKERS = {"dinov2": Dinov2Embedder, "dino": DinoEmbedder, "clip": ClipEmbedder}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for kind in MAKERS:
        build(kind).save_pretrained(root / kind)
    return root


def crops(side, count=3):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", list(MAKERS))
def test_each_stands_behind_the_protocol(folders, kind):
    eyes = MAKERS[kind](folders / kind)
    assert isinstance(eyes, Embedder)
    assert eyes.name == f"{kind}-{weights_digest(eyes._network)}"
    assert eyes.side_px == 28 and eyes.commercial
    descriptors = eyes.embed(crops(28))
    assert descriptors.shape == (3, 24 if kind == "clip" else 32)
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(3), atol=1e-5)
    assert eyes.embed(crops(28, 0)).shape == (0, descriptors.shape[1])
    similar = eyes.similarity(descriptors, descriptors)
    assert similar.shape == (3, 3) and (similar.diagonal() >= similar.amin(1)).all()


@pytest.mark.parametrize("kind", list(MAKERS))
def test_gradient_reaches_every_pixel(folders, kind):
    pixels = crops(28, 1).requires_grad_(True)
    eyes = MAKERS[kind](folders / kind)
    eyes.embed(pixels)[0, :5].sum().backward()
    assert (pixels.grad.abs().sum(1) > 0).all()


def test_pooling_is_what_it_says(folders):
    network = build("dinov2").eval()
    network.load_state_dict(
        transformers.Dinov2Model.from_pretrained(folders / "dinov2").state_dict()
    )
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        tokens = network(pixel_values=(crops(28) - mean) / deviation).last_hidden_state
    pairs = {"cls": tokens[:, 0], "mean": tokens.mean(1)}
    for pooling, expected in pairs.items():
        eyes = Dinov2Embedder(folders / "dinov2", pooling=pooling)
        assert torch.allclose(eyes.embed(crops(28)), F.normalize(expected, dim=1), atol=1e-5)


def test_center_crop_takes_a_larger_crop_and_its_middle(folders):
    eyes = Dinov2Embedder(folders / "dinov2", center_crop=True)
    assert eyes.side_px == 32 and eyes.name.startswith("dinov2-crop-")
    plain = Dinov2Embedder(folders / "dinov2")
    larger = crops(32)
    assert torch.allclose(eyes.embed(larger), plain.embed(larger[..., 2:30, 2:30]), atol=1e-5)


def test_center_cropping_loses_the_ends_of_a_wide_picture():
    picture = torch.zeros(1, 3, 256, 512)
    picture[..., 256:] = 1
    cropped = center_cropped(picture)
    assert cropped.shape == (1, 3, 224, 224)
    assert torch.allclose(cropped[..., :110], torch.zeros(1), atol=1e-4)
    assert torch.allclose(cropped[..., 114:], torch.ones(1), atol=1e-4)


def test_wrong_crops_are_refused(folders):
    with pytest.raises(RequestError, match=r"expected \(B, \*\(3, 28, 28\)\)"):
        DinoEmbedder(folders / "dino").embed(crops(30))


def test_a_pickle_is_never_read(tmp_path):
    model = build("dino")
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        DinoEmbedder(tmp_path)


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match="give the path of a downloaded copy"):
        Dinov2Embedder(tmp_path / "nothing")


def test_missing_dreamsim_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    with pytest.raises(WeightsError, match=r"pip install 'personae\[dreamsim\]'"):
        DreamSimEmbedder()


def test_dreamsim_adapter_calls_the_package(monkeypatch):
    class Network(torch.nn.Module):
        def embed(self, images):
            return images.mean(dim=(2, 3))

    asked = {}

    def dreamsim(**options):
        asked.update(options)
        return Network(), None

    monkeypatch.setitem(sys.modules, "dreamsim", types.SimpleNamespace(dreamsim=dreamsim))
    eyes = DreamSimEmbedder("dino_vitb16", cache_dir="here")
    assert asked == {
        "pretrained": True,
        "device": "cpu",
        "cache_dir": "here",
        "dreamsim_type": "dino_vitb16",
    }
    assert eyes.embed(crops(224)).shape == (3, 3)
    assert isinstance(eyes, Embedder)


def test_dreamsim_without_weights_says_so(monkeypatch):
    def dreamsim(**options):
        raise OSError("no network")

    monkeypatch.setitem(sys.modules, "dreamsim", types.SimpleNamespace(dreamsim=dreamsim))
    with pytest.raises(WeightsError, match="no network"):
        DreamSimEmbedder()


def test_other_weights_are_other_eyes():
    first, second = nn.Linear(3, 2), nn.Linear(3, 2)
    assert weights_digest(first) != weights_digest(second)
    second.load_state_dict(first.state_dict())
    assert weights_digest(first) == weights_digest(second)


def test_dino_without_a_pooler_has_the_same_name_each_time(tmp_path: Path) -> None:
    """Its published weights have none: a random one would make its name another each time."""
    from transformers import ViTConfig, ViTModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = ViTConfig(**small, intermediate_size=16, image_size=28, patch_size=14)
    ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    assert DinoEmbedder(tmp_path).name == DinoEmbedder(tmp_path).name

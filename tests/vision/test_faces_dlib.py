"""dlib's network in PyTorch: equal to dlib's own, and its file is read whole or refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from personae.errors import WeightsError
from personae.vision.faces.align import aligned_crops
from personae.vision.faces.detect import DlibFaceDetector
from personae.vision.faces.dlib_file import read_dlib_network
from personae.vision.faces.dlib_net import MEAN_RGB, load_dlib_face_net
from personae.vision.faces.embed import DLIB_WEIGHTS


@pytest.fixture(scope="module")
def net():
    return load_dlib_face_net(DLIB_WEIGHTS.path())


@pytest.fixture(scope="module")
def content():
    return DLIB_WEIGHTS.path().read_bytes()


def chips_of(image, use_cnn=False):
    found = DlibFaceDetector(use_cnn=use_cnn).detect(image)
    picture = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    crops = aligned_crops([picture], [np.stack([item.landmarks for item in found])])
    return crops.permute(0, 2, 3, 1).round().to(torch.uint8).contiguous().numpy()


def largest_difference(net, chips):
    import dlib

    model = dlib.face_recognition_model_v1(str(DLIB_WEIGHTS.path()))
    theirs = np.array([model.compute_face_descriptor(chip) for chip in chips])
    with torch.inference_mode():
        ours = net(torch.from_numpy(chips).permute(0, 3, 1, 2).float() / 255).numpy()
    assert np.linalg.norm(theirs, axis=1).min() > 1  # there is something to agree on
    return np.abs(ours - theirs).max()


def test_equals_dlib_on_a_face_and_on_noise(net):
    import skimage.data

    noise = np.random.default_rng(0).integers(0, 256, (1, 150, 150, 3), dtype=np.uint8)
    face = chips_of(skimage.data.astronaut())
    assert largest_difference(net, np.concatenate([face, noise])) < 1e-5


def test_equals_dlib_on_photographs(net, data_dir):
    paths = sorted((data_dir / "photos/people").glob("*_[1a]*.jpg"))
    chips = np.concatenate([chips_of(np.asarray(Image.open(p).convert("RGB"))) for p in paths])
    assert len(chips) == 5  # one each, and three in the group
    assert largest_difference(net, chips) < 1e-5


def test_a_batch_is_its_rows(net):
    crops = torch.rand(5, 3, 150, 150, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([net(crop[None]) for crop in crops])
    torch.testing.assert_close(net(crops), rows, atol=1e-5, rtol=0)
    assert net(crops[:0]).shape == (0, 128)


def test_gradient_to_the_pixels_is_that_of_finite_differences():
    exact = load_dlib_face_net(DLIB_WEIGHTS.path()).double()
    generator = torch.Generator().manual_seed(1)
    crop = torch.rand(1, 3, 150, 150, generator=generator, dtype=torch.float64)
    towards = torch.rand(crop.shape, generator=generator, dtype=torch.float64) - 0.5
    crop.requires_grad_(True)
    exact(crop).sum().backward()
    step = 1e-6
    with torch.no_grad():
        rise = exact(crop + step * towards).sum() - exact(crop - step * towards).sum()
    torch.testing.assert_close((crop.grad * towards).sum(), rise / (2 * step), rtol=1e-4, atol=0)


def test_the_mean_is_folded_in(net):
    gray = torch.tensor(MEAN_RGB).view(1, 3, 1, 1).expand(1, 3, 150, 150) / 255
    stem = net.stem(gray.contiguous())
    bias_only = stem[0, :, 0, 0]
    torch.testing.assert_close(stem, bias_only.view(1, -1, 1, 1).expand_as(stem))
    layers = read_dlib_network(DLIB_WEIGHTS.path())
    conv, (scale, shift) = layers[1].tensor.ravel(), layers[2].tensor.reshape(2, 32)
    expected = torch.from_numpy(conv[-32:] * scale + shift)
    torch.testing.assert_close(bias_only, expected, atol=1e-4, rtol=0)


def damaged(kind, content):
    first = content.index(b"con_4") + 5
    return {
        "empty": b"",
        "one byte": content[:1],
        "truncated in the header": content[:100],
        "truncated in a tensor": content[:1_000_000],
        "truncated by one byte": content[:-1],
        "one byte too many": content + b"\0",
        "itself twice": content + content,
        "a zip file": b"PK\x03\x04" + bytes(1000),
        "text": b"<html>not found</html>",
        "zeros": bytes(10_000),
        "wrong tag": content.replace(b"con_4", b"con_5", 1),
        "wrong loss": content.replace(b"loss_metric_2", b"loss_metric_3", 1),
        "wrong input": content.replace(b"input_rgb_image_sized", b"input_rgb_image_sizes", 1),
        "huge tensor": content[: first + 2] + b"\x08" + b"\x7f" * 8 + content[first + 5 :],
        "negative size": content[: first + 2] + b"\x82" + content[first + 3 :],
        "odd control byte": content[: first + 2] + b"\x72" + content[first + 3 :],
        "not a number": content[: first + 11] + b"\xff" * 4 + content[first + 15 :],
        "huge name": content[:3] + b"\x08" + b"\xff" * 8 + content[4:],
    }[kind]


KINDS = [
    "empty", "one byte", "truncated in the header", "truncated in a tensor",
    "truncated by one byte", "one byte too many", "itself twice", "a zip file", "text", "zeros",
    "wrong tag", "wrong loss", "wrong input", "huge tensor", "negative size", "odd control byte",
    "not a number", "huge name",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_refuses_a_damaged_or_foreign_file(kind, content, tmp_path):
    broken = damaged(kind, content)
    assert broken != content
    path = tmp_path / "net.dat"
    path.write_bytes(broken)
    with pytest.raises(WeightsError, match=r"net\.dat"):
        load_dlib_face_net(path)


def test_refuses_another_network_of_the_same_format(content, tmp_path):
    """The detector's net has the same format, and so has this one with a block left out."""
    relu = content.index(b"\x01\x05relu_", content.index(b"max_pool_2"))
    following = content.index(b"\x01\x05con_4", relu)
    path = tmp_path / "net.dat"
    path.write_bytes(content[:relu] + content[following:])
    assert len(read_dlib_network(path)) == len(read_dlib_network(DLIB_WEIGHTS.path())) - 1
    with pytest.raises(WeightsError, match="order of the layers"):
        load_dlib_face_net(path)


@pytest.mark.parametrize("model", ["CNN_WEIGHTS", "LANDMARK_WEIGHTS"])
def test_refuses_dlibs_other_models(model):
    from personae.vision.faces import detect

    with pytest.raises(WeightsError, match="dlib's format"):
        load_dlib_face_net(getattr(detect, model).path())

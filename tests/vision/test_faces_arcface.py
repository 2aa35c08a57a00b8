"""ArcFace from the user's files: small random ones here, for the real weights may not ship."""

import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from personae.errors import DataError, RequestError, WeightsError
from personae.vision.faces.arcface import (
    ARCFACE_LICENCE,
    ArcFaceEmbedder,
    IResNet,
    OnnxArcFace,
    load_iresnet,
)
from personae.vision.protocols import Embedder
from personae.vision.weights import require_commercial

SMALL = {"layers": (2, 1, 1, 1), "widths": (4, 4, 8, 8), "features": 16, "stem": 4}


def small_net():
    torch_state = torch.Generator().manual_seed(0)
    net = IResNet(**SMALL)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(
                torch.rand(value.shape, generator=torch_state) * 0.5 + 0.1 * ("var" in name)
            )
    return net


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "small.safetensors"
    save_file(small_net().state_dict(), path)
    return path


def crops(count=2):
    return torch.rand(count, 3, 112, 112, generator=torch.Generator().manual_seed(1))


def test_embedder_gives_unit_length_and_what_the_network_says(checkpoint):
    embedder = ArcFaceEmbedder(checkpoint)
    assert isinstance(embedder, Embedder)
    found = embedder.embed(crops())
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    raw = small_net()(crops() * 2 - 1)
    torch.testing.assert_close(found, raw / raw.norm(dim=1, keepdim=True))


def test_gradient_reaches_the_pixels(checkpoint):
    pixels = crops(1).requires_grad_(True)
    ArcFaceEmbedder(checkpoint).embed(pixels)[0, 0].backward()
    assert pixels.grad.abs().max() > 0


def test_name_tells_depth_and_weights(checkpoint, tmp_path):
    other = tmp_path / "other.safetensors"
    state = small_net().state_dict()
    save_file({**state, "fc.bias": state["fc.bias"] + 1}, other)
    first, second = ArcFaceEmbedder(checkpoint).name, ArcFaceEmbedder(other).name
    assert first.startswith("arcface-iresnet12-")
    assert first != second


@pytest.mark.parametrize(("layers", "depth"), [((3, 4, 14, 3), 50), ((3, 13, 30, 3), 100)])
def test_published_layouts_have_the_published_names_and_depths(layers, depth):
    with torch.device("meta"):
        state = IResNet(layers).state_dict()
    convolutions = [key for key in state if ".conv" in key or key == "conv1.weight"]
    assert len(convolutions) + 1 == depth  # the fully connected layer is the last
    assert tuple(state["fc.weight"].shape) == (512, 25088)
    expected = {
        "conv1.weight", "bn1.running_mean", "prelu.weight", "layer1.0.downsample.0.weight",
        "layer4.2.bn3.bias", "bn2.weight", "features.running_var",
    }  # fmt: skip
    assert expected <= set(state)


@pytest.mark.parametrize("kind", ["missing", "extra", "shape", "other", "not safetensors"])
def test_refuses_a_foreign_checkpoint(kind, tmp_path):
    path, state = tmp_path / "bad.safetensors", small_net().state_dict()
    if kind == "missing":
        del state["layer1.1.conv1.weight"]
    elif kind == "extra":
        state["head.weight"] = torch.zeros(3)
    elif kind == "shape":
        state["layer2.0.conv1.weight"] = torch.zeros(5, 5, 3, 3)
    elif kind == "other":
        state = {"weight": torch.zeros(3)}
    save_file(state, path)
    if kind == "not safetensors":
        path.write_bytes(b"\x80\x04 pickle")
    with pytest.raises(WeightsError, match=r"bad\.safetensors"):
        load_iresnet(path)


def test_refuses_a_missing_file_and_other_crops(checkpoint, tmp_path):
    with pytest.raises(WeightsError, match="nowhere"):
        load_iresnet(tmp_path / "nowhere.safetensors")
    with pytest.raises(DataError, match="112"):
        ArcFaceEmbedder(checkpoint).embed(torch.zeros(1, 3, 150, 150))


def test_similarity_is_monotone_in_the_cosine_and_commerce_is_refused(checkpoint):
    embedder = ArcFaceEmbedder(checkpoint)
    turns = torch.linspace(0, np.pi, 9)
    around = torch.stack([turns.cos(), turns.sin()], 1)
    similarity = embedder.similarity(around[:1], around)[0]
    assert (similarity.diff() < 0).all()
    assert similarity[0] > 0.95
    assert similarity[4] < 0.05  # a right angle: strangers
    assert "unverified" in embedder.calibration.source
    with pytest.raises(WeightsError, match="commercial"):
        require_commercial(embedder.name, ARCFACE_LICENCE, embedder.commercial)


def field(number, payload):
    """One protobuf field: bytes, text or a nested message (length-delimited), or an integer."""
    if isinstance(payload, int):
        return bytes([number << 3, payload])
    payload = payload.encode() if isinstance(payload, str) else payload
    size, length = b"", len(payload)
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return bytes([number << 3 | 2]) + size + bytes([length]) + payload


def value_info(name, shape):
    dims = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def mean_color_onnx(batch):
    """An ONNX model, written by hand: mean color of a crop, (B, 3, 112, 112) -> (B, 3)."""
    pool = field(1, "x") + field(2, "p") + field(4, "GlobalAveragePool")
    flat = field(1, "p") + field(2, "y") + field(4, "Flatten")
    graph = field(1, pool) + field(1, flat) + field(2, "g")
    graph += field(11, value_info("x", (batch, 3, 112, 112)))
    graph += field(12, value_info("y", (batch, 3)))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


@pytest.mark.parametrize("batch", ["N", 1])
def test_onnx_gives_unit_length_descriptors_of_what_it_sees(batch, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_color_onnx(batch))
    embedder = OnnxArcFace(path)
    assert isinstance(embedder, Embedder)
    mean = (crops(3) * 2 - 1).mean((2, 3))
    expected = mean / mean.norm(dim=1, keepdim=True)
    torch.testing.assert_close(embedder.embed(crops(3)), expected, atol=1e-4, rtol=1e-4)
    assert embedder.embed(crops(3)[:0]).shape == (0, 3)


def test_onnx_says_that_it_has_no_gradient(tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "mean.onnx"
    path.write_bytes(mean_color_onnx("N"))
    pixels = crops().requires_grad_(True)
    with pytest.raises(RequestError, match="no gradient"):
        OnnxArcFace(path).embed(pixels)
    with torch.no_grad():
        assert OnnxArcFace(path).embed(pixels).shape == (2, 3)


@pytest.mark.parametrize("content", [b"", b"no model", struct.pack("<q", -1)])
def test_onnx_refuses_what_is_no_model(content, tmp_path):
    pytest.importorskip("onnxruntime")
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"bad\.onnx"):
        OnnxArcFace(path)

"""Reader of dlib's file of a serialized network: its layers, in order, and nothing left over."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from personae.errors import WeightsError

__all__ = ["DlibLayer", "read_dlib_network"]

_HEADER_TAG, _INPUT_TAG = "loss_metric_2", "input_rgb_image_sized"
_LONGEST_TAG, _DEEPEST = 64, 1000
_INPUT_FIELDS = 8  # three means as (mantissa, exponent), rows, columns
_FLAGS, _EMPTY_TENSORS = 3, 3  # what dlib keeps beside each layer; empty in a trained file
# Integers before and after a layer's tensor; None where there is no tensor.
_LAYOUT: dict[str, tuple[int, int | None]] = {
    "con_4": (0, 25),
    "affine_": (0, 11),
    "fc_2": (2, 19),
    "relu_": (0, None),
    "add_prev_": (0, None),
    "max_pool_2": (6, None),
    "avg_pool_2": (6, None),
}


@dataclass(frozen=True, eq=False)
class DlibLayer:
    """One layer of the file: its tag, its integers before and after the tensor, the tensor.

    ``tensor`` is float32 of the file's four dimensions, or None for a layer without weights.
    """

    tag: str
    fields: tuple[int, ...] = ()
    tensor: np.ndarray | None = None


class _Stream:
    """A cursor over the file's bytes that never reads, or allocates, past their end."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.at = path, path.read_bytes(), 0

    def fail(self, what: str) -> WeightsError:
        return WeightsError(
            f"{self.path}: byte {self.at}: {what}; expected a network in dlib's format "
            f"(first {_HEADER_TAG}, then {_INPUT_TAG}); fetch or install the file again"
        )

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise self.fail(f"the file ends where {count} more bytes were announced")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self) -> int:
        """One control byte (sign in bit 7, byte count in the low four), then the bytes."""
        control = self.take(1)[0]
        size = control & 0x0F
        if control & 0x70 or not 1 <= size <= 8:
            raise self.fail(f"control byte {control:#04x} starts no integer")
        value = int.from_bytes(self.take(size), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> tuple[int, ...]:
        return tuple(self.integer() for _ in range(count))

    def expect(self, wanted: int, what: str) -> None:
        found = self.integer()
        if found != wanted:
            raise self.fail(f"{what} is {found}, not {wanted}")

    def text(self) -> str:
        size = self.integer()
        if not 0 < size <= _LONGEST_TAG:
            raise self.fail(f"a name of {size} letters")
        return self.take(size).decode("ascii", "replace")

    def tensor(self) -> np.ndarray:
        """Version 2, four dimensions, then little-endian float32."""
        self.expect(2, "tensor version")
        shape = self.integers(4)
        if min(shape) < 0:
            raise self.fail(f"tensor shape {shape}")
        values = np.frombuffer(self.take(4 * math.prod(shape)), dtype="<f4")
        if not np.isfinite(values).all():
            raise self.fail(f"a tensor of shape {shape} holds numbers that are not finite")
        return values.reshape(shape)


def _header(stream: _Stream) -> None:
    """The loss, then one version number a layer (1 or 2), as deep as the network; 3 ends them."""
    stream.expect(1, "network version")
    tag = stream.text()
    if tag != _HEADER_TAG:
        raise stream.fail(f"the file starts with {tag!r}")
    stream.integers(4)  # margin and distance threshold, each as (mantissa, exponent)
    for _ in range(_DEEPEST):
        version = stream.integer()
        if version == 3:
            return
        if version not in (1, 2):
            raise stream.fail(f"layer version {version}")
    raise stream.fail(f"more than {_DEEPEST} layers")


def _input(stream: _Stream) -> DlibLayer:
    tag = stream.text()
    if tag != _INPUT_TAG:
        raise stream.fail(f"the input layer is {tag!r}")
    return DlibLayer(tag, stream.integers(_INPUT_FIELDS))


def _layer(stream: _Stream) -> DlibLayer:
    tag = stream.text()
    if tag not in _LAYOUT:
        raise stream.fail(f"unknown layer {tag!r}")
    before, after = _LAYOUT[tag]
    fields = stream.integers(before)
    tensor = None if after is None else stream.tensor()
    fields += stream.integers(after or 0)
    if not set(stream.take(_FLAGS)) <= set(b"01"):
        raise stream.fail(f"the flags behind layer {tag!r} are not 0 or 1")
    for _ in range(_EMPTY_TENSORS):
        if stream.tensor().size:
            raise stream.fail(f"layer {tag!r} carries activations")
    return DlibLayer(tag, fields, tensor)


def read_dlib_network(path: Path) -> list[DlibLayer]:
    """The layers of a serialized metric network, from the input to the output.

    Every byte is accounted for: the file holds, in dlib's own order, the loss, the layer
    versions, the input, and then for each layer a tag, integers, the weights (if it has any) and
    dlib's bookkeeping. Sizes are checked against what is left before anything is allocated.

    Raises:
        WeightsError: the file is damaged, truncated, of another kind, or has bytes left over.
    """
    stream = _Stream(path)
    _header(stream)
    layers = [_input(stream), _layer(stream)]
    stream.expect(1, "sample expansion of the first layer")
    while stream.at < len(stream.data):
        layers.append(_layer(stream))
    return layers

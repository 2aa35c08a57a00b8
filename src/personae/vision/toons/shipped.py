"""The weights that ship with the package: six files of half-precision numbers, checked by hash."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from personae.errors import WeightsError
from personae.vision.weights import PackagedWeights

__all__ = ["TOON_WEIGHTS", "load_into", "read_facts", "shipped_path", "weights_bytes"]

Net = TypeVar("Net", bound=nn.Module)

_SHA256 = {
    "toon-centers": "4f07e97b90a0d8d000c4fd3f190e194376ebb1ebc7292db14dfc1551b5df533b",
    "toon-identity": "ce9b61d62cb6f9aafbdb86c3ee9442571d101e139aa08a962a631d211bbdae73",
    "examiner-regions": "d8630427f18a998d62e1cf34ff6afe2dd6c843c61642886f4fe476ca0e958d8b",
    "examiner-patches": "b93f5cf7d6e63fec39cf3b97833665aabeee964c547e9f80a0996473aa0cfaa8",
    "examiner-figures": "68d307e17400b6f27229802f299df9d96ad4fbd4122b4377080a4ec31ef7666c",
    "toon-discriminants": "86caecdb5dcc2231cdff102f3ec9095ea0e2ab99468f25e6fce67e8b37b86af9",
}

TOON_WEIGHTS: Mapping[str, PackagedWeights] = MappingProxyType(
    {
        name: PackagedWeights(
            name=name,
            package="personae",
            distribution="personae",
            file=f"vision/toons/weights/{name}.safetensors",
            sha256=sha256,
            licence="Apache-2.0",
            commercial=True,
        )
        for name, sha256 in _SHA256.items()
        if sha256
    }
)
"""Each network's file by name; weights/README.md says how they were made."""


def shipped_path(name: str) -> Path:
    """The file of one of them.

    Raises:
        WeightsError: it does not ship yet, is missing, or is not the tested one.
    """
    if name not in TOON_WEIGHTS:
        raise WeightsError(
            f"weights {name}: these eyes are not good enough to ship yet (docs/numbers.md); train "
            f"them with `python -m personae.training.eyes {name} --out run/{name}`, or look with "
            "others (--faces dlib, --faces arcface:FILE)"
        )
    return TOON_WEIGHTS[name].path()


def weights_bytes(network: nn.Module, facts: Mapping[str, str]) -> bytes:
    """A network as a safetensors file of half-precision numbers, with text facts in its head."""
    numbers = {
        name: value.detach().cpu().to(torch.float16).contiguous()
        for name, value in network.state_dict().items()
        if value.is_floating_point()
    }
    return save(numbers, metadata=dict(facts))


def read_facts(path: Path) -> dict[str, str]:
    """The text facts in the head of a file of weights.

    Raises:
        WeightsError: no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: cannot be read as safetensors ({error}); install personae again"
        ) from error


def load_into(network: Net, path: Path) -> Net:
    """Fill a network from a file of `weights_bytes`; it is then ready to look, not to learn.

    Raises:
        WeightsError: no safetensors file, or one of another network.
    """
    read_facts(path)
    with safe_open(path, framework="pt") as opened:
        numbers: dict[str, Any] = {name: opened.get_tensor(name).float() for name in opened.keys()}  # noqa: SIM118
    expected = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    wrong = [
        name
        for name in expected.keys() | numbers.keys()
        if name not in expected
        or name not in numbers
        or expected[name].shape != numbers[name].shape
    ]
    if wrong:
        raise WeightsError(
            f"{path}: {len(wrong)} arrays do not fit {type(network).__name__}, such as "
            f"{sorted(wrong)[0]!r}; expected a file made for this network"
        )
    network.load_state_dict(numbers, strict=False)
    return network.eval().requires_grad_(False)

"""What the CPU measured, on another device: do the scores agree, and how much faster is it?

Usage: python benchmarks/on_gpu.py [--device cuda]; with --device cpu it runs anywhere and compares
the CPU with itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from timing import print_ratio, ratios
from torch import Tensor

from personae.compute.device import choose_device
from personae.metrics import matching_reward, strict_matching_reward
from personae.vision.embedders import EfficientNetEmbedder
from personae.vision.faces import DlibFaceEmbedder
from personae.vision.protocols import Embedder


def compare(name: str, work: Callable[[str], Tensor], device: str, repeats: int) -> None:
    """Print the largest difference from the CPU, and the ratio of times."""

    def timed(where: str) -> None:
        work(where)
        if where.startswith("cuda"):
            torch.cuda.synchronize()

    difference = (work(device).cpu() - work("cpu")).abs().max().item()
    print(f"{name}: largest difference from the CPU {difference:.2e}")
    print_ratio(name, "CPU", ratios(lambda: timed(device), lambda: timed("cpu"), repeats))


def embedding(build: Callable[[str], Embedder], side_px: int, num: int) -> Callable[[str], Tensor]:
    """Embed the same random crops on a device."""
    crops = torch.rand(num, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))
    ready: dict[str, tuple[Embedder, Tensor]] = {}

    def work(device: str) -> Tensor:
        if device not in ready:
            ready[device] = build(device), crops.to(device)
        embedder, moved = ready[device]
        with torch.inference_mode():
            return embedder.embed(moved)

    return work


def gradients(function: Callable[[Tensor], Tensor]) -> Callable[[str], Tensor]:
    """Forward and backward of a thousand rewards of 4 by 6."""
    values = torch.rand(1000, 4, 6, generator=torch.Generator().manual_seed(0))

    def work(device: str) -> Tensor:
        leaf = values.to(device).requires_grad_()
        function(leaf).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--crops", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    device = str(choose_device(options.device))
    print(f"device {device}, torch {torch.__version__}")
    work = {
        "dlib's face network": embedding(DlibFaceEmbedder, 150, options.crops),
        "EfficientNet-Lite0": embedding(EfficientNetEmbedder, 224, options.crops),
        "official reward": gradients(matching_reward),
        "strict reward": gradients(strict_matching_reward),
    }
    for name, function in work.items():
        compare(name, function, device, options.repeats)


if __name__ == "__main__":
    main()

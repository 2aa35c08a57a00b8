"""A thousand matching rewards of 4 references by 6 faces: all at once, against loops over pictures.

Run as ``python benchmarks/matching_rewards.py``. The loops are what one writes first: per picture
SciPy's assignment, the weights, the mean. Compared are the values, and for torch the gradients.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from sys import path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from personae.metrics import matching_reward, matching_rewards, strict_matching_reward

path.insert(0, str(Path(__file__).parent))
from timing import print_ratio, ratios


def numpy_loop(pictures: np.ndarray) -> np.ndarray:
    rewards = []
    for similarity in pictures:
        rows, columns = linear_sum_assignment(-similarity)
        weights = np.full(similarity.shape, -1.0)
        weights[rows, columns] = 1.0
        rewards.append((similarity * weights).mean())
    return np.array(rewards)


def torch_loop(pictures: torch.Tensor) -> torch.Tensor:
    """Forward and backward, picture by picture: the gradients.

    Each picture is a leaf of its own. Rows of one leaf would be no fair baseline: every backward
    would then fill a gradient of the size of all pictures.
    """
    gradients = []
    for picture in pictures:
        similarity = picture.clone().requires_grad_()
        rows, columns = linear_sum_assignment(-similarity.detach().numpy())
        weights = torch.full(similarity.shape, -1.0)
        weights[rows, columns] = 1.0
        (similarity * weights).mean().backward()
        gradients.append(similarity.grad)
    return torch.stack(gradients)


def torch_at_once(pictures: torch.Tensor, function=matching_reward) -> torch.Tensor:
    leaf = pictures.clone().requires_grad_()
    function(leaf).sum().backward()
    return leaf.grad


def assignments_only(pictures: np.ndarray) -> None:
    """The floor: SciPy's calls alone, of which no batch can spare one."""
    for similarity in pictures:
        linear_sum_assignment(similarity, True)


def permutations(pictures: np.ndarray) -> np.ndarray:
    """The exact alternative without SciPy: all 360 assignments of 4 to 6, vectorized."""
    num_rows, num_columns = pictures.shape[1:]
    options = np.array(list(itertools.permutations(range(num_columns), num_rows)))
    own = pictures[:, np.arange(num_rows), options].sum(-1).max(-1)
    return (2 * own - pictures.sum((1, 2))) / (num_rows * num_columns)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=1000)
    arguments.add_argument("--repeats", type=int, default=15)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-0.2, 1, (options.pictures, 4, 6))
    tensors = torch.tensor(pictures, dtype=torch.float32)
    ragged = list(pictures)

    np.testing.assert_allclose(matching_reward(pictures), numpy_loop(pictures), atol=1e-12)
    np.testing.assert_allclose(permutations(pictures), numpy_loop(pictures), atol=1e-12)
    torch.testing.assert_close(torch_at_once(tensors), torch_loop(tensors))

    def compare(name, ours, baseline, loop):
        print_ratio(name, baseline, ratios(ours, loop, options.repeats))

    compare(
        "NumPy, stacked", lambda: matching_reward(pictures), "NumPy loop",
        lambda: numpy_loop(pictures),
    )  # fmt: skip
    compare(
        "NumPy, a list", lambda: matching_rewards(ragged), "NumPy loop",
        lambda: numpy_loop(pictures),
    )  # fmt: skip
    compare(
        "torch, forward and backward", lambda: torch_at_once(tensors), "torch loop",
        lambda: torch_loop(tensors),
    )  # fmt: skip
    compare(
        "the strict one, forward and backward",
        lambda: torch_at_once(tensors, strict_matching_reward), "torch loop of the official one",
        lambda: torch_loop(tensors),
    )  # fmt: skip
    compare(
        "floor: SciPy's assignments alone", lambda: assignments_only(pictures), "NumPy loop",
        lambda: numpy_loop(pictures),
    )  # fmt: skip
    compare(
        "rejected: all permutations", lambda: permutations(pictures), "NumPy loop",
        lambda: numpy_loop(pictures),
    )  # fmt: skip


if __name__ == "__main__":
    main()

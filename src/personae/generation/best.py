"""Which of several pictures is the best: the strict matching reward of chosen eyes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from personae.errors import DataError
from personae.metrics.evidence import Witness
from personae.metrics.eyes import Group, group_of
from personae.metrics.matching import strict_matching_reward
from personae.subjects.scene import Scene

__all__ = ["MatchingRater", "Rater", "best_index"]

Rater = Callable[[np.ndarray, Scene], float | None]


@dataclass(frozen=True, eq=False)
class MatchingRater:
    """Rates a picture by `strict_matching_reward`: is every subject there, once, and itself?

    In [0, 1], higher is better; of people and things together it is the mean over subjects. The
    eyes that rate must not be those that measure afterwards: a best-of picture is chosen to please
    them.
    """

    witnesses: Mapping[Group, Witness]

    @property
    def name(self) -> str:
        """As images.jsonl names it: the reward and the eyes."""
        eyes = " & ".join(witness.eyes.name for witness in self.witnesses.values())
        return f"strict_matching_reward by {eyes}"

    def __call__(self, image: np.ndarray, scene: Scene) -> float | None:
        """The reward of a picture (H, W, 3) uint8; None where no reference can be known."""
        total, num_known = 0.0, 0
        for group, witness in self.witnesses.items():
            subjects = {
                name: item for name, item in scene.subjects.items() if group_of(item.kind) == group
            }
            gallery = witness.gallery(subjects) if subjects else None
            if gallery is None or not gallery.known:
                continue
            seen = witness.evidence(image, gallery)
            reward = strict_matching_reward(seen.similarity, reference_similarity=gallery.expected)
            total += float(reward) * len(gallery.known)
            num_known += len(gallery.known)
        return total / num_known if num_known else None


def best_index(
    images: list[np.ndarray], scene: Scene, rater: Rater
) -> tuple[int, list[float | None]]:
    """The picture with the highest rating, the first of equals, and all ratings.

    A picture that the rater cannot rate has None and is kept only where all have.
    """
    ratings = [_rated(image, scene, rater) for image in images]
    kept = max(range(len(images)), key=lambda index: (_order(ratings[index]), -index))
    return kept, ratings


def _rated(image: np.ndarray, scene: Scene, rater: Rater) -> float | None:
    try:
        return rater(image, scene)
    except (DataError, RuntimeError):
        return None


def _order(rating: float | None) -> float:
    return -np.inf if rating is None else rating

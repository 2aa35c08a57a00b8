"""The four networks as they learn: each with the heads that only training needs, and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personae.toons.places import PLACES
from personae.toons.pose import ACTIONS, WORN
from personae.training.eyes_album import Album
from personae.training.eyes_batches import face_batch
from personae.training.eyes_dictionary import fit_dictionary
from personae.training.eyes_features import (
    crop_views,
    feature_maps,
    moved,
    random_batch,
)
from personae.training.eyes_losses import (
    center_loss,
    center_targets,
    region_loss,
    region_targets,
    trait_loss,
)
from personae.vision.faces.align import FaceTemplate
from personae.vision.toons.embedder import TOON_TEMPLATE
from personae.vision.toons.examiner import EXAMINER_TEMPLATE, FIGURE_TEMPLATE
from personae.vision.toons.networks import BoxNet, CenterNet, FigureNet, IdentityNet, PatchNet
from personae.vision.toons.traits import TRAIT_SIZES

__all__ = [
    "LEARNERS",
    "CenterLearner",
    "EyesLearner",
    "FigureLearner",
    "IdentityLearner",
    "PatchLearner",
    "RegionLearner",
]


class EyesLearner(nn.Module):
    """A ``network`` that is to be shipped, and what it needs to learn."""

    network: nn.Module
    slow: tuple[str, ...] = ()
    """Parameters whose names start so learn at a tenth of the rate: they sum over many inputs."""
    muon: bool = False
    """Does Muon step the inner matrices and filters? It learns more from a crop."""

    def prepare(self, album: Album, seed: int, folder: Path) -> None:
        """What is worked out once, before the first step; ``folder`` may keep it."""

    def losses(self, album: Album, batch: int, seed: int, step: int) -> dict[str, Tensor]:
        """Named losses of one batch; their sum is minimized."""
        raise NotImplementedError


class CenterLearner(EyesLearner):
    """`CenterNet` on centers."""

    def __init__(self) -> None:
        super().__init__()
        self.network: CenterNet = CenterNet()

    def losses(self, album: Album, batch: int, seed: int, step: int) -> dict[str, Tensor]:
        """See `EyesLearner`."""
        made = face_batch(album, batch, seed, step)
        maps = self.network(_last(made.images))
        size, net = (maps.shape[2], maps.shape[3]), self.network
        targets = center_targets(made.faces, size, net.stride, net.unit_px)
        return {"centers": center_loss(maps, targets)}


class RegionLearner(EyesLearner):
    """`BoxNet` on regions and on the place."""

    def __init__(self) -> None:
        super().__init__()
        self.network: BoxNet = BoxNet(len(PLACES))

    def losses(self, album: Album, batch: int, seed: int, step: int) -> dict[str, Tensor]:
        """See `EyesLearner`."""
        made = face_batch(album, batch, seed, step)
        maps, place = self.network(_last(made.images))
        size, net = (maps.shape[2], maps.shape[3]), self.network
        targets = region_targets(made.faces, size, net.stride, net.unit_px)
        return {
            "regions": region_loss(maps, targets),
            "place": 0.3 * _label_loss(place, made.place),
        }


def _label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    if not (labels >= 0).any():
        return logits.sum() * 0
    return F.cross_entropy(logits, labels, ignore_index=-1)


class _CropsLearner(EyesLearner):
    """Learns from aligned crops that are cut out, jittered and damaged once."""

    template: FaceTemplate
    versions = 2

    def prepare(self, album: Album, seed: int, folder: Path) -> None:
        """See `EyesLearner`."""
        faces = self.faces(album)
        self.crops = crop_views(album, self.template, faces, self.versions, seed, folder)

    def faces(self, album: Album) -> np.ndarray:
        """Which faces it learns from."""
        return np.arange(len(album.row))


class _DictionaryLearner(_CropsLearner):
    """A network behind a dictionary, which is fitted to the crops before the first step."""

    network: FigureNet | PatchNet

    def prepare(self, album: Album, seed: int, folder: Path) -> None:
        """See `EyesLearner`."""
        super().prepare(album, seed, folder)
        dictionary = self.network.dictionary
        if not bool(dictionary.get_buffer("filters").any()):
            fit_dictionary(dictionary, self.crops[0, ::6].float() / 255, seed)


class FigureLearner(_DictionaryLearner):
    """`FigureNet` on what toons in scenes wear and do; its maps are shifted by up to a cell."""

    slow = ("network.out.1.weight",)
    template = FIGURE_TEMPLATE

    def __init__(self) -> None:
        super().__init__()
        self.network: FigureNet = FigureNet(1 + len(WORN), 1 + len(ACTIONS))

    def prepare(self, album: Album, seed: int, folder: Path) -> None:
        """See `EyesLearner`; the dictionary's maps are worked out once."""
        super().prepare(album, seed, folder)
        self.maps = feature_maps(self.crops, self.network.dictionary, folder)

    def faces(self, album: Album) -> np.ndarray:
        """See `_CropsLearner`; a portrait shows too little."""
        return np.flatnonzero(album.place[album.picture] >= 0)

    def losses(self, album: Album, batch: int, seed: int, step: int) -> dict[str, Tensor]:
        """See `EyesLearner`; ``batch`` counts figures."""
        rng, faces = np.random.default_rng([seed, step]), self.faces(album)
        chosen = rng.choice(len(faces), batch)
        maps = self.maps[rng.integers(self.versions, size=batch), chosen].float()
        down, right = (int(by) for by in rng.integers(3, size=2))
        worn, acted = self.network.read(_shifted(maps, down, right))
        return {
            "wears": F.cross_entropy(worn, _codes(album.wears[faces[chosen]])),
            "action": F.cross_entropy(acted, _codes(album.action[faces[chosen]])),
        }


def _shifted(maps: Tensor, down: int, right: int) -> Tensor:
    """Maps moved by ``down`` - 1 and ``right`` - 1 cells; the border is repeated."""
    height, width = maps.shape[2:]
    padded = F.pad(maps, (1, 1, 1, 1), mode="replicate")
    return padded[:, :, down : down + height, right : right + width]


def _codes(codes: np.ndarray) -> Tensor:
    return torch.from_numpy(codes).long()


class _CodeLearner(_CropsLearner):
    """An embedder that names traits, those of faces at random: look-alikes differ in one of them.

    A batch of unrelated faces shows most traits at once, and a last phase that pushes look-alikes
    apart makes the traits' chances, from which codes are made, less true (weights/README.md).
    """

    muon = True
    network: IdentityNet | PatchNet

    def losses(self, album: Album, batch: int, seed: int, step: int) -> dict[str, Tensor]:
        """See `EyesLearner`; ``batch`` counts faces."""
        made = random_batch(album, self.versions, batch, seed, step)
        crops = moved(made.of(self.crops) / 255, np.random.default_rng([seed, step, 1]))
        logits = self.network.code.logits(self.network.features(_last(crops)))
        return {"traits": trait_loss(logits, made.traits, TRAIT_SIZES)}


class IdentityLearner(_CodeLearner):
    """`IdentityNet` on traits."""

    template = TOON_TEMPLATE

    def __init__(self) -> None:
        super().__init__()
        self.network: IdentityNet = IdentityNet()


class PatchLearner(_CodeLearner, _DictionaryLearner):
    """`PatchNet` on traits, behind its dictionary."""

    template = EXAMINER_TEMPLATE

    def __init__(self) -> None:
        super().__init__()
        self.network: PatchNet = PatchNet()


def _last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


LEARNERS: Mapping[str, type[EyesLearner]] = MappingProxyType(
    {
        "toon-centers": CenterLearner,
        "toon-identity": IdentityLearner,
        "examiner-regions": RegionLearner,
        "examiner-patches": PatchLearner,
        "examiner-figures": FigureLearner,
    }
)
"""What each of the shipped networks learns by."""

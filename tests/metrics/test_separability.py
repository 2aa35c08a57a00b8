from __future__ import annotations

import numpy as np
import pytest
import torch

from personae.errors import DataError
from personae.metrics import separability


def at(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def cosine(first, second):
    return first @ second.T


def test_subjects_far_apart_are_separable_and_every_pair_is_named():
    pairs = separability({"ann": at(0, 10), "bob": at(90, 100), "cat": at(180, 190)}, cosine)
    assert [pair.subjects for pair in pairs] == [("ann", "bob"), ("ann", "cat"), ("bob", "cat")]
    assert all(pair.separable and not pair.reason and pair.auc == 1.0 for pair in pairs)
    assert pairs[0].worst_same == pytest.approx(np.cos(np.radians(10)))
    assert pairs[0].best_different == pytest.approx(np.cos(np.radians(80)))


def test_the_limit_decides_where_there_is_one_photo_each():
    (apart,) = separability([torch.tensor(at(0)), torch.tensor(at(61))], cosine)
    (close,) = separability([at(0), at(59)], cosine)
    assert (apart.separable, apart.worst_same, apart.auc) == (True, None, None)
    assert not close.separable
    assert "0.52" in close.reason


def test_photos_of_one_that_are_no_more_alike_than_across_cannot_be_told_apart():
    (pair,) = separability({"ann": at(0, 80), "bob": at(150)}, cosine)
    assert not pair.separable
    assert pair.worst_same < pair.best_different < 0.5
    assert "ann and bob" in pair.reason
    assert pair.auc == pytest.approx(0.5)


def test_the_empty_are_refused():
    assert separability({"ann": at(0)}, cosine) == []
    with pytest.raises(DataError, match="ann"):
        separability({"ann": np.zeros((0, 2)), "bob": at(0)}, cosine)

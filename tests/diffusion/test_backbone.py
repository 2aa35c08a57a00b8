from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from personae.diffusion.backbone import LIMITS_FILE, Context, read_limits, write_limits
from personae.errors import DataError
from tests.diffusion.tiny import TINY_LIMITS


def test_limits_come_back_as_they_were_written(tmp_path: Path) -> None:
    limits = replace(TINY_LIMITS, sizes=((128, 128), (192, 128)), guidance=2.5)
    write_limits(tmp_path, limits)
    assert read_limits(tmp_path, TINY_LIMITS) == limits


def test_what_a_file_does_not_say_is_the_familys_default(tmp_path: Path) -> None:
    assert read_limits(tmp_path, TINY_LIMITS) == TINY_LIMITS
    (tmp_path / LIMITS_FILE).write_text('{"limits": {"steps": 7, "guidance": 2}}')
    assert read_limits(tmp_path, TINY_LIMITS) == replace(TINY_LIMITS, steps=7, guidance=2.0)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "{}",
        '{"limits": {"stepz": 7}}',
        '{"limits": {"steps": "7"}}',
        '{"limits": {"steps": true}}',
        '{"limits": {"sizes": [128]}}',
        '{"limits": {"subject_words": 3}}',
    ],
)
def test_a_wrong_limits_file_is_named_with_the_keys_it_may_have(tmp_path: Path, text: str) -> None:
    (tmp_path / LIMITS_FILE).write_text(text)
    with pytest.raises(DataError, match=r"personae\.json.*max_subjects"):
        read_limits(tmp_path, TINY_LIMITS)


def test_limits_on_disk_are_plain_json(tmp_path: Path) -> None:
    stored = json.loads(write_limits(tmp_path, TINY_LIMITS).read_text())
    assert stored["limits"]["text_layers"] == [1, 2, 3]


def test_a_context_is_cut_and_repeated_row_by_row() -> None:
    text = torch.arange(6.0).reshape(2, 3, 1)
    context = Context(text, (torch.arange(2.0).reshape(2, 1, 1, 1), torch.zeros(2, 1, 2, 3)))
    assert len(context) == 2
    assert torch.equal(context[1:].text, text[1:])
    assert context[1:].references[1].shape == (1, 1, 2, 3)
    assert context.repeat(3).references[0].flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert context.to(dtype=torch.float64).references[0].dtype == torch.float64
    assert len(Context(text).repeat(2).references) == 0


@pytest.mark.parametrize("shape", [(3, 1, 2, 2), (2, 1, 2)])
def test_references_of_another_batch_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="batch size 2"):
        Context(torch.zeros(2, 3, 1), (torch.zeros(shape),))

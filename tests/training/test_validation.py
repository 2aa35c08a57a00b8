"""Looks at other identities on the way: the third measure, the best weights, the stopping rule."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from personae.diffusion.load import load_backbone
from personae.errors import RequestError
from personae.metrics.witnesses import EyesChoice, build_witnesses
from personae.toons import scene
from personae.training.asking import AskedExamples, asked_of
from personae.training.best import OVER
from personae.training.checkpoint import checkpoints
from personae.training.chosen import Chosen
from personae.training.features import ContrastMeasure, contrast
from personae.training.methods import Finetuning
from personae.training.processes import Ranks
from personae.training.rewards.asked import Asked
from personae.training.session import Session
from personae.training.stopping import Stop
from personae.training.validation import Examination, Validation, ValidationRecipe
from tests.training.brightness import Brightness
from tests.training.conftest import MakeRecipe


def pixels(*images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def asked(number: int) -> tuple[np.ndarray, Asked]:
    from personae.subjects.subject import Reference

    drawn = scene(number, count=2, split="validation")
    subjects = {one.name: (Reference(one.reference.image),) for one in drawn.members}
    return drawn.image, Asked(subjects)


def people(faces: str) -> Any:
    return build_witnesses(EyesChoice(faces=faces, cache=None), ("person",))["person"].eyes


@pytest.fixture(scope="module")
def two() -> list[tuple[np.ndarray, Asked]]:
    return [asked(number) for number in (510, 511, 512)]


def test_the_third_measure_knows_own_faces_from_strangers(
    two: list[tuple[np.ndarray, Asked]],
) -> None:
    images = [image for image, _ in two]
    wanted = [item for _, item in two]
    measure = ContrastMeasure(people("toons"))
    right = measure(pixels(*images), wanted)
    wrong = measure(pixels(*images[1:], images[0]), wanted)
    empty = measure(pixels(np.full_like(images[0], 127)), wanted[:1])
    assert float(right.mean()) > float(wrong.mean()) + 0.3
    assert float(empty) == 0


def test_contrast_by_hand() -> None:
    cosine = torch.tensor([[0.9, 0.2, 0.1], [0.5, 0.6, 0.4], [0.0, 0.3, 0.7]])
    by_hand = ((0.9 - 0.25) + (0.6 - 0.25) + (0.7 - 0.25)) / 3
    assert float(contrast(cosine)) == pytest.approx(by_hand)
    assert float(contrast(torch.tensor([[0.4]]))) == pytest.approx(0.4)
    one_missing = torch.tensor([[0.9], [0.2]])
    assert float(contrast(one_missing)) == pytest.approx((0.9 - 0.2) / 2)
    assert float(contrast(torch.zeros(2, 0))) == 0


def test_the_examiner_says_who_is_there_and_nothing_more(
    two: list[tuple[np.ndarray, Asked]],
) -> None:
    images, wanted = [image for image, _ in two], [item for _, item in two]
    told = Examination(people("examiner"))(pixels(*images), wanted)
    others = Examination(people("examiner"))(pixels(*images[1:], images[0]), wanted)
    assert float(told["examiner_presence"].mean()) > 0.8
    assert float(others["examiner_presence"].mean()) == 0
    assert float(others["examiner_similarity"].mean()) == 0
    assert bool((told["examiner_similarity"] >= told["examiner_confusion"] - 0.2).all())


class Scripted:
    """A measure that says what it was told to, look by look."""

    name = "features"

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)

    def __call__(self, pictures: Tensor, asked: Sequence[Asked]) -> Tensor:
        return torch.full((len(asked),), self.values.pop(0))


def trained(
    make_recipe: MakeRecipe, out: Path, values: Sequence[float], patience: int
) -> tuple[Session, Any]:
    recipe = make_recipe(
        training={"steps": len(values) - 1, "save_every": 1},
        lora={"rank": 2},
        optimizer={"lr": 1e-2},
        validation={"every": 1, "count": 2, "patience": patience, "steps": 2},
    )
    backbone = load_backbone(Path(recipe.base))
    run = Session(recipe, out, Ranks(torch.device("cpu")), backbone)
    examples = [run.source[0], run.source[1]]
    validation = Validation(recipe.validation, examples, Brightness(), Scripted(values), None)
    run.chosen = Chosen(Finetuning(), validation)
    run.resume()
    return run, run.train(Stop(None))


def test_the_best_weights_are_kept_and_the_run_stops_when_nothing_gets_better(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run, result = trained(make_recipe, out, [0.0, 0.1, 0.5, 0.4, 0.3, 0.9], patience=2)
    assert (run.best.step, run.best.value) == (2, 0.5)
    assert result.steps == 4 and result.stopped is None
    assert result.saved == out / "best" / "adapter"
    told = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    looks = [row for row in told if "validation.features" in row]
    assert [row["step"] for row in looks] == [0, 1, 2, 3, 4]
    assert [row["best_step"] for row in looks] == [0, 1, 2, 2, 2]
    assert all("validation.reward" in row for row in looks)
    best = load_file(out / "best/adapter/pytorch_lora_weights.safetensors")
    last = load_file(out / "adapter/pytorch_lora_weights.safetensors")
    assert any(not torch.equal(best[key], last[key]) for key in best)
    state = json.loads((checkpoints(out / "checkpoints")[-1] / "state.json").read_text())
    assert state["best"] == {"step": 2, "value": 0.5, "worse_in_a_row": 2}
    assert OVER not in str(result.stopped)


def test_looks_do_not_change_what_is_trained(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    _, _ = trained(make_recipe, tmp_path / "looked", [0.0, 0.1, 0.2, 0.3], patience=0)
    recipe = make_recipe(
        training={"steps": 3, "save_every": 1}, lora={"rank": 2}, optimizer={"lr": 1e-2}
    )
    run = Session(
        recipe, tmp_path / "plain", Ranks(torch.device("cpu")), load_backbone(Path(recipe.base))
    )
    run.resume()
    run.train(Stop(None))
    ends = [
        load_file(checkpoints(tmp_path / name / "checkpoints")[-1] / "weights.safetensors")
        for name in ("looked", "plain")
    ]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_asked_examples_are_read_again_when_they_were_let_go(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(lora={"rank": 2})
    run = Session(
        recipe, tmp_path / "run", Ranks(torch.device("cpu")), load_backbone(Path(recipe.base))
    )
    small = AskedExamples(run.source, most_bytes=1)
    for number in (0, 1, 0, 5):
        wanted = asked_of(run.source[number])
        assert small[number].prompt == wanted.prompt
        assert len(small._kept) == 1


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RequestError, match="validation"):
        ValidationRecipe(count=0)

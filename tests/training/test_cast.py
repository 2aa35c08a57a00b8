"""Learning a cast by heart: masks, priors, DCO and KL, by their formulas and in a run."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from personae.diffusion.backbone import Backbone, Context
from personae.diffusion.load import load_backbone
from personae.diffusion.lora import load_lora, merge_lora
from personae.diffusion.tokens import TOKENS_FILE, load_tokens
from personae.errors import DataError, RequestError
from personae.training.finetune import finetune
from personae.training.objective import (
    ObjectiveRecipe,
    ask,
    direct_consistency_loss,
    flow_matching_loss,
    masked_error,
)
from personae.training.processes import Ranks
from personae.training.recipe import Recipe
from personae.training.session import Session
from tests.data.cast import toon_cast
from tests.training.conftest import MakeRecipe
from tests.training.test_objective import batch_of


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toon_cast(tmp_path_factory.mktemp("cast"))


def recipe_of(make: MakeRecipe, file: Path, folder: Path, **sections: Any) -> Recipe:
    held = {"file": str(file), "count": 8, "probability": 0.5, **sections.pop("cast", {})}
    data = {"cast": held, "sizes": [[64, 64]], "folder": str(folder / "latents"), "workers": 1}
    return make(**{"data": data, "lora": {"rank": 2}, **sections})


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_masked_error_is_the_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    said, target = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    mask = torch.rand(2, 1, 4, 5, generator=generator)
    for alpha in (0.0, 0.3, 1.0):
        slow = []
        for row in range(2):
            total = 0.0
            for c in range(3):
                for y in range(4):
                    for x in range(5):
                        m = float(mask[row, 0, y, x]) * (1 - alpha) + alpha
                        total += m * float(said[row, c, y, x] - target[row, c, y, x]) ** 2
            slow.append(total / 60)
        fast = masked_error(said, target, mask, alpha)
        torch.testing.assert_close(fast, torch.tensor(slow), rtol=1e-4, atol=1e-6)


def test_alpha_one_is_no_mask_at_all() -> None:
    said, target = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    mask = (torch.rand(2, 1, 4, 4) < 0.5).float()
    assert torch.equal(masked_error(said, target, mask, 1.0), masked_error(said, target))
    assert (masked_error(said, target, mask, 0.0) <= masked_error(said, target)).all()


def test_a_hard_mask_has_no_gradient_outside() -> None:
    said = torch.randn(1, 2, 4, 4, requires_grad=True)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    masked_error(said, torch.zeros(1, 2, 4, 4), mask, 0.0).sum().backward()
    assert said.grad is not None
    assert (said.grad[..., 2:] == 0).all() and (said.grad[..., :2] != 0).all()


def test_direct_consistency_by_hand() -> None:
    loss, before = torch.tensor([0.2, 0.4]), torch.tensor([0.3, 0.5])
    assert float(direct_consistency_loss(before, before, 1000.0)) == pytest.approx(math.log(2))
    by_hand = -math.log(1 / (1 + math.exp(-20.0 * (0.4 - 0.3))))
    assert float(direct_consistency_loss(loss, before, 20.0)) == pytest.approx(by_hand, rel=1e-5)
    leaf = before.clone().requires_grad_()
    direct_consistency_loss(leaf, before, 1000.0).backward()
    assert leaf.grad is not None and float(leaf.grad.sum()) == pytest.approx(500.0)


def test_asking_is_the_flow_matching_loss(backbone: Backbone) -> None:
    batch, noise = batch_of(backbone)
    time = torch.tensor([0.25, 0.5])
    with torch.no_grad():
        asked = ask(backbone, batch, time, noise)
        torch.testing.assert_close(
            asked.error(asked.answer(backbone)), flow_matching_loss(backbone, batch, time, noise)
        )


def test_masks_reach_the_batch_at_the_size_of_latents(
    cast: Path, make_recipe: MakeRecipe, backbone: Backbone, tmp_path: Path
) -> None:
    recipe = recipe_of(make_recipe, cast, tmp_path)
    run = Session(recipe, tmp_path / "run", Ranks(torch.device("cpu")), backbone)
    weights = [run.batch(0)[0].weight for run.step in range(4)]
    assert all(w is not None and w.shape == (2, 1, 4, 4) for w in weights)
    held = torch.cat([w for w in weights if w is not None])
    assert held.min() < 1 and held.max() <= 1 and held.min() >= 0
    again = Session(recipe, tmp_path / "run", Ranks(torch.device("cpu")), backbone_again(backbone))
    again.step = 0
    first = again.batch(0)[0].weight
    assert first is not None and weights[0] is not None and torch.equal(first, weights[0])


def backbone_again(backbone: Backbone) -> Backbone:
    """The same from its folder: the first one has an adapter by now."""
    return load_backbone(backbone.name)


@pytest.mark.parametrize(
    ("objective", "logged"),
    [
        ({"soft_alpha": 0.0}, None),
        ({"dco_beta": 1000.0}, "dco"),
        ({"kl_weight": 1.0}, "kl"),
        ({"dco_beta": 10.0, "kl_weight": 0.5, "soft_alpha": 0.3}, "dco"),
    ],
)
def test_a_cast_is_learned_with_every_objective(
    cast: Path, make_recipe: MakeRecipe, tmp_path: Path, objective: dict, logged: str | None
) -> None:
    recipe = recipe_of(make_recipe, cast, tmp_path, objective=objective)
    result = finetune(recipe, tmp_path / "run")
    assert result.saved is not None and result.loss is not None
    row = rows(tmp_path / "run")[-1]
    assert logged is None or math.isfinite(row[logged])
    if logged == "kl":
        assert rows(tmp_path / "run")[0]["kl"] == pytest.approx(0, abs=1e-9)


def test_priors_add_their_own_gradient(cast: Path, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """With a weight of 0 the run is that without priors; with 1 it is another."""

    def weights(name: str, **sections: Any) -> list[float]:
        finetune(recipe_of(make_recipe, cast, tmp_path, **sections), tmp_path / name)
        return [row["grad_norm"] for row in rows(tmp_path / name)]

    prior = {"prior": str(cast)}
    without = weights("without")
    assert weights("zero", cast=prior, objective={"prior_weight": 0.0}) == without
    assert weights("one", cast=prior) != without


def test_the_prompts_of_priors_are_kept_too(
    cast: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    seen = []
    for name in ("each step", "once"):
        recipe = recipe_of(make_recipe, cast, tmp_path, cast={"prior": str(cast)})
        recipe = replace(recipe, data=replace(recipe.data, cache_text=name == "once"))
        finetune(recipe, tmp_path / name)
        seen.append([(row["loss"], row["grad_norm"]) for row in rows(tmp_path / name)])
    assert np.allclose(*seen, rtol=1e-4)


def test_a_killed_run_of_a_cast_goes_on_to_the_bit(
    cast: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    sections = {"cast": {"prior": str(cast)}, "objective": {"kl_weight": 0.1}}
    whole = recipe_of(make_recipe, cast, tmp_path, **sections)
    finetune(whole, tmp_path / "whole")
    half = recipe_of(make_recipe, cast, tmp_path, **sections, training={"steps": 2})
    finetune(half, tmp_path / "parts")
    finetune(whole, tmp_path / "parts", resume=True)
    wanted, got = rows(tmp_path / "whole")[-1], rows(tmp_path / "parts")[-1]
    assert (wanted["loss"], wanted["grad_norm"]) == (got["loss"], got["grad_norm"])


def test_looking_back_needs_an_adapter(make_recipe: MakeRecipe) -> None:
    with pytest.raises(DataError, match="add a section"):
        make_recipe(objective={"dco_beta": 1.0})
    with pytest.raises(RequestError, match="soft_alpha"):
        ObjectiveRecipe(soft_alpha=2.0)
    with pytest.raises(RequestError, match="0 or more"):
        ObjectiveRecipe(kl_weight=-1.0)


def test_a_damaged_cast_stops_before_any_step(
    cast: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    bad = cast.parent / "torn.jsonl"
    bad.write_text(cast.read_text() + '{"id": "c"\n')
    with pytest.raises(DataError, match=r"torn\.jsonl:3: not JSON"):
        finetune(recipe_of(make_recipe, bad, tmp_path), tmp_path / "run")


def test_textual_inversion_changes_the_tokens_and_nothing_else(
    cast: Path, make_recipe: MakeRecipe, tmp_path: Path, backbone: Backbone
) -> None:
    recipe = recipe_of(make_recipe, cast, tmp_path, lora=None, tokens={"alone": True})
    before = {k: v.clone() for k, v in backbone.denoiser.state_dict().items()}
    text = {k: v.clone() for k, v in backbone.text_encoder.state_dict().items()}
    result = finetune(recipe, tmp_path / "run", backbone=backbone)
    assert result.saved == tmp_path / "run" / "tokens"
    assert all(torch.equal(before[k], v) for k, v in backbone.denoiser.state_dict().items())
    assert all(torch.equal(text[k], v) for k, v in backbone.text_encoder.state_dict().items())
    fresh, told = backbone_again(backbone), ["olis girl in a park"]
    plain = fresh.encode_prompt(told)
    load_tokens(fresh, result.saved)
    assert not torch.equal(fresh.encode_prompt(told), plain)
    assert torch.equal(fresh.encode_prompt(told), backbone.encode_prompt(told))
    finetune(recipe, tmp_path / "twice", backbone=backbone_again(backbone))
    again = load_file(tmp_path / "twice" / "tokens" / TOKENS_FILE)
    assert all(torch.equal(v, again[k]) for k, v in load_file(result.saved / TOKENS_FILE).items())


def test_tokens_are_learned_beside_an_adapter(
    cast: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = recipe_of(make_recipe, cast, tmp_path, tokens={"alone": False})
    result = finetune(recipe, tmp_path / "run")
    assert result.saved == tmp_path / "run" / "adapter"
    assert (tmp_path / "run" / "tokens" / TOKENS_FILE).is_file()


def test_what_does_not_go_with_tokens(cast: Path, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="alone"):
        recipe_of(make_recipe, cast, tmp_path, tokens={"alone": True})
    with pytest.raises(DataError, match=r"\[data\.cast\]"):
        make_recipe(tokens={"alone": True})
    whole: dict[str, Any] = {"lora": None, "training": {"train_text_encoder": True}}
    with pytest.raises(DataError, match=r"train_text_encoder: expected false .*\[tokens\]"):
        recipe_of(make_recipe, cast, tmp_path, tokens={"alone": True}, **whole)
    assert recipe_of(make_recipe, cast, tmp_path, **whole).tokens is None


@pytest.mark.parametrize("method", ["rerefl", "grpo"])
@pytest.mark.parametrize(
    "objective", [{"dco_beta": 9.0}, {"kl_weight": 0.5}, {"soft_alpha": 0.5}, {"prior_weight": 2.0}]
)
def test_rewards_go_with_plain_flow_matching_alone(
    make_recipe: MakeRecipe, method: str, objective: dict[str, float]
) -> None:
    sections: dict[str, Any] = {"rewards": {}, "lora": {"rank": 2}}
    told = {method: {"prompts": 2} if method == "grpo" else {}}
    for name, value in objective.items():
        came = f"got {name} = {value:g}; remove"
        with pytest.raises(DataError, match=rf"the defaults with \[{method}\].*{came}"):
            make_recipe(**sections, **told, objective=objective)
    plain = {name: getattr(ObjectiveRecipe(), name) for name in objective}
    assert make_recipe(**sections, **told, objective=plain).objective == ObjectiveRecipe()


def test_an_adapter_on_top_of_another_and_both_as_one(
    cast: Path, make_recipe: MakeRecipe, tmp_path: Path, backbone: Backbone
) -> None:
    """What the second run trains is in addition: with none of it, the first one's pictures."""
    first = finetune(recipe_of(make_recipe, cast, tmp_path), tmp_path / "first").saved
    sections: dict[str, Any] = {"lora": {"rank": 3, "under": str(first)}}
    sections |= {"objective": {"kl_weight": 1.0}}
    finetune(recipe_of(make_recipe, cast, tmp_path, **sections), tmp_path / "second")
    log = rows(tmp_path / "second")
    assert log[0]["kl"] == pytest.approx(0, abs=1e-9)

    def said(source: Path | None, more: Path | None = None) -> torch.Tensor:
        model = backbone_again(backbone)
        if source is not None:
            load_lora(model, source)
        if more is not None:
            merge_lora(model)
            load_lora(model, more)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(1, *model.latent_shape(64, 64), generator=generator)
        context = Context(model.encode_prompt(["olis girl"]))
        with torch.no_grad():
            return model.predict(x, torch.tensor([0.7]), context)

    assert first is not None
    both = said(first, tmp_path / "second" / "adapter")
    torch.testing.assert_close(said(tmp_path / "second" / "together"), both, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(both, said(first)) and not torch.allclose(said(first), said(None))


def test_what_is_odd_about_a_cast_is_told_first(
    cast: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    told: list[str] = []
    finetune(recipe_of(make_recipe, cast, tmp_path), tmp_path / "run", tell=told.append)
    said = "\n".join(told)
    assert "a: 2 photos; five show more" in said
    assert "splits its token 'olis' into" in said
    told.clear()
    words = {"lora": None, "tokens": {"alone": True}}
    finetune(recipe_of(make_recipe, cast, tmp_path, **words), tmp_path / "ti", tell=told.append)
    assert "a: 2 photos" in "\n".join(told) and "splits" not in "\n".join(told)

"""Vision-language models of this machine: tiny random ones of the true classes."""

from __future__ import annotations

from io import BytesIO

import pytest
import torch
from PIL import Image

from personae.errors import RequestError, WeightsError
from personae.vision.language import FolderModel, Message, SeeingFolderModel
from tests.vision.tiny_seeing import save_llava, save_qwen


def png(*color, size=(60, 50)) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size, color).save(stream, "PNG")
    return stream.getvalue()


def talk(*pictures):
    return [Message("system", "Judge."), Message("user", "What is it?", pictures)]


RED, GREEN, BLUE = png(200, 20, 20), png(20, 200, 20, size=(40, 90)), png(0, 0, 250)


@pytest.fixture(scope="module", params=["llava", "qwen"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    return {"llava": save_llava, "qwen": save_qwen}[request.param](path)


def test_it_answers_greedily_and_only_with_what_is_new(folder) -> None:
    model = SeeingFolderModel(folder, max_tokens=6)
    first, second = model.reply(talk(RED, GREEN)), model.reply(talk(RED, GREEN))
    assert first == second
    assert "What is it" not in first.text
    assert first.served == model.name


def test_it_sees_the_pictures_and_their_order(folder) -> None:
    reader, model = SeeingFolderModel(folder)._read()
    told = SeeingFolderModel(folder)._told

    @torch.no_grad()
    def said(*pictures):
        return model(**told(reader, talk(*pictures))).logits[0, -1]

    assert torch.equal(said(RED, BLUE), said(RED, BLUE))
    assert not torch.allclose(said(RED, BLUE), said(BLUE, RED), atol=1e-7)
    assert not torch.allclose(said(RED), said(BLUE), atol=1e-7)


def test_draws_depend_on_the_seed_and_touch_no_other_random_number(folder) -> None:
    model = SeeingFolderModel(folder, max_tokens=6, temperature=2.0)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    said = [model.reply(talk(RED), seed=seed).text for seed in (1, 2, 3, 1)]
    assert torch.equal(torch.rand(3), expected)
    assert said[0] == said[3]
    assert len(set(said)) == 3


def test_the_name_is_of_the_weights_not_of_the_place(folder, tmp_path) -> None:
    name = SeeingFolderModel(folder).name
    moved = tmp_path / "elsewhere" / folder.name
    moved.mkdir(parents=True)
    for path in folder.iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert SeeingFolderModel(moved).name == name
    with (moved / "config.json").open("a") as stream:
        stream.write("\n")
    assert SeeingFolderModel(moved).name != name
    assert SeeingFolderModel(folder, dtype=torch.bfloat16).name != name


def test_no_model_there_is_said(tmp_path) -> None:
    with pytest.raises(WeightsError, match="no language model here"):
        SeeingFolderModel(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be read as a vision-language model"):
        SeeingFolderModel(tmp_path).reply(talk(RED))


def test_one_without_a_chat_template_cannot_be_talked_to(tmp_path, folder) -> None:
    for path in folder.iterdir():
        if "chat_template" not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(WeightsError, match="chat template"):
        SeeingFolderModel(tmp_path).reply(talk(RED))


def test_a_model_without_eyes_is_shown_nothing(folder) -> None:
    blind = FolderModel(folder)
    blind._loaded = (None, None)
    with pytest.raises(RequestError, match="without eyes"):
        blind.reply(talk(RED))

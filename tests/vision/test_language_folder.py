"""A local language model: a tiny random one of the true class."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from personae.diffusion.klein import train_tokenizer
from personae.errors import WeightsError
from personae.vision.language import FolderModel, Message

TALK = [Message("system", "Plan."), Message("user", "Where is girl 1?")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("language")
    tokenizer = train_tokenizer(["girl 1 and man 2 in a park", "Plan. Where is girl 1?"], 300)
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen3ForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_it_answers_greedily_and_only_with_what_is_new(folder) -> None:
    model = FolderModel(folder, max_tokens=8)
    answer = model.complete(TALK)
    assert isinstance(answer, str)
    assert "Where" not in answer
    assert answer == model.complete(TALK) == FolderModel(folder, max_tokens=8).complete(TALK)
    longer = FolderModel(folder, max_tokens=16).complete(TALK)
    assert longer.startswith(answer.rstrip("\ufffd"))


def test_no_model_there_is_said(tmp_path, folder) -> None:
    with pytest.raises(WeightsError, match="no language model here"):
        FolderModel(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="cannot be read"):
        FolderModel(tmp_path).complete(TALK)


def test_one_without_a_chat_template_cannot_be_talked_to(tmp_path, folder) -> None:
    for path in folder.iterdir():
        if "chat_template" not in path.name:
            text = path.read_bytes()
            (tmp_path / path.name).write_bytes(text)
    with pytest.raises(WeightsError, match="chat template"):
        FolderModel(tmp_path).complete(TALK)

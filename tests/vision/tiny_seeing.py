"""Tiny random vision-language models of the true classes, saved as their folders are published."""

from __future__ import annotations

import json

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from personae.diffusion.klein import train_tokenizer

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}PICTURE{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}


def tokenizer(specials, picture):
    made = train_tokenizer(["girl 1 and man 2 in a park", "Judge. What is it?"], 300)
    made.add_tokens(specials, special_tokens=True)
    made.chat_template = TEMPLATE.replace("PICTURE", picture)
    return made


def save_llava(path):
    torch.manual_seed(0)
    tokens = tokenizer(["<image>"], "<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SMALL, num_hidden_layers=2, image_size=28, patch_size=14),
        text_config=LlamaConfig(
            **SMALL, num_hidden_layers=2, vocab_size=len(tokens), bos_token_id=None,
            eos_token_id=tokens.eos_token_id,
        ),
        image_token_index=tokens.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    LlavaForConditionalGeneration(config).save_pretrained(path)
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
        ),
        tokenizer=tokens,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokens.chat_template,
    ).save_pretrained(path)
    return path


def save_qwen(path):
    """As published: a processor that names a part for videos, which torchvision alone can build."""
    torch.manual_seed(0)
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokens = tokenizer(names, "<|vision_start|><|image_pad|><|vision_end|>")
    start, end, image, video = (tokens.convert_tokens_to_ids(name) for name in names)
    config = Qwen2_5_VLConfig(
        text_config={
            **SMALL, "num_hidden_layers": 2, "num_key_value_heads": 2, "vocab_size": len(tokens),
            "bos_token_id": None, "eos_token_id": tokens.eos_token_id,
            "rope_parameters": {
                "rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0,
            },
        },
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 14, "fullatt_block_indexes": [1],
        },
        image_token_id=image, video_token_id=video,
        vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(path)
    tokens.save_pretrained(path)
    settings = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "min_pixels": 28 * 28, "max_pixels": 16 * 28 * 28,
        "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
    }  # fmt: skip
    (path / "preprocessor_config.json").write_text(json.dumps(settings))
    return path

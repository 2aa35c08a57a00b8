"""Tiny random OWLv2, Grounding DINO and SAM 2 of the true classes, as folders."""

from __future__ import annotations

import tokenizers
import torch
import transformers


def save_tokenizer(folder, ids, template, specials):
    """A tokenizer of whole words, with the special tokens where the models expect them."""
    vocabulary = {f"[unused{i}]": i for i in range(1100) if i not in ids.values()} | ids
    core = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(vocabulary, unk_token=specials["unk_token"])
    )
    core.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    pairs = [(word, ids[word]) for word in template.split() if word in ids]
    core.post_processor = tokenizers.processors.TemplateProcessing(
        single=template, special_tokens=pairs
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, **specials).save_pretrained(folder)


def save_owl(folder):
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = transformers.Owlv2Config(
        text_config={**sizes, "vocab_size": 1100, "bos_token_id": 1, "eos_token_id": 2},
        vision_config={**sizes, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    transformers.Owlv2ForObjectDetection(config).save_pretrained(folder)
    ids = {"[PAD]": 0, "<s>": 1, "</s>": 2, "[UNK]": 3, "corgi": 5, "chow": 6}
    specials = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "</s>"}
    save_tokenizer(folder, ids, "<s> $A </s>", specials)
    return folder


def save_dino(folder):
    torch.manual_seed(0)
    backbone = transformers.SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=2,
        out_indices=[2, 3, 4],
    )
    text = transformers.BertConfig(
        vocab_size=1100,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=32,
        num_queries=12,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
    )
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder)
    ids = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "corgi": 5, "chow": 6}
    specials = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    }
    save_tokenizer(folder, ids, "[CLS] $A [SEP]", specials)
    return folder


def save_sam2(folder):
    torch.manual_seed(0)
    vision = transformers.Sam2VisionConfig(
        backbone_config=transformers.Sam2HieraDetConfig(
            hidden_size=8,
            image_size=[64, 64],
            blocks_per_stage=[1, 1, 1, 1],
            embed_dim_per_stage=[8, 16, 32, 64],
            num_attention_heads_per_stage=[1, 1, 1, 1],
            window_size_per_stage=[4, 4, 2, 2],
            global_attention_blocks=[],
        ),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=32,
    )
    config = transformers.Sam2Config(
        vision_config=vision,
        prompt_encoder_config=transformers.Sam2PromptEncoderConfig(
            hidden_size=32, image_size=64, patch_size=16
        ),
        mask_decoder_config=transformers.Sam2MaskDecoderConfig(
            hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ),
    )
    transformers.Sam2Model(config).save_pretrained(folder)
    return folder

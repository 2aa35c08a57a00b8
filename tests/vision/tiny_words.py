"""Tiny OWLv2, Grounding DINO, SAM 2 (random) and Florence-2 (taught) of the true classes."""

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


def florence_processor():
    """As the published one: 1000 places, 17 tokens of a picture of 32 x 32."""
    words = ["Locate", "in", "the", "image", ".", "corgi", "chow"]
    ids = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *words])}
    core = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    core.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    places = [f"<loc_{k}>" for k in range(1000)]
    tokenizer.add_tokens([*places, "<poly>", "</poly>", "<sep>"], special_tokens=True)
    pictures = transformers.CLIPImageProcessorPil(
        size={"height": 32, "width": 32},
        resample=3,
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    pictures.image_seq_length = 17
    return transformers.Florence2Processor(pictures, tokenizer)


def save_florence(folder, lessons=()):
    """Taught by heart what to answer: (picture (H, W, 3) uint8, noun, answer) each."""
    torch.manual_seed(0)
    processor = florence_processor()
    vision = transformers.Florence2VisionConfig(
        depths=[1, 1],
        patch_size=[7, 3],
        patch_stride=[4, 2],
        patch_padding=[3, 1],
        patch_prenorm=[False, True],
        embed_dim=[8, 16],
        num_heads=[1, 2],
        num_groups=[1, 2],
        window_size=4,
        projection_dim=16,
        drop_path_rate=0.0,
        max_temporal_embeddings=2,
        max_position_embeddings=8,
    )
    text = transformers.BartConfig(
        vocab_size=len(processor.tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=64,
        dropout=0.0,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    network = transformers.Florence2ForConditionalGeneration(
        transformers.Florence2Config(
            vision_config=vision,
            text_config=text,
            image_token_id=processor.tokenizer.image_token_id,
        )
    )
    if lessons:
        learn_by_heart(network, processor, lessons)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def learn_by_heart(network, processor, lessons):
    tokens = processor.tokenizer
    inputs = processor(
        text=[f"<OPEN_VOCABULARY_DETECTION>{noun}" for _, noun, _ in lessons],
        images=[picture for picture, _, _ in lessons],
        padding=True,
        return_tensors="pt",
    )
    answers = [f"<s>{answer}</s>" for _, _, answer in lessons]
    labels = tokens(answers, add_special_tokens=False, padding=True, return_tensors="pt").input_ids
    labels[labels == tokens.pad_token_id] = -100
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2, fused=True)
    for _ in range(120):
        loss = network(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.1:
            break

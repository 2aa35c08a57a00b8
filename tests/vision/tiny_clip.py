"""A tiny random CLIP of the true classes, with a tokenizer of single letters."""

from __future__ import annotations

from pathlib import Path

import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz,"


def save_tiny_clip(folder: Path) -> Path:
    """Model and tokenizer in a folder; gives the folder back."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    letters = sorted(LETTERS)
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    tokenizer = CLIPTokenizer(vocab={piece: k for k, piece in enumerate(pieces)}, merges=[])
    tokenizer.save_pretrained(folder)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2, "projection_dim": 24}
    text = {"vocab_size": len(pieces), "bos_token_id": 0, "eos_token_id": 1}
    text |= {"max_position_embeddings": 32}
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(
            text_config={**small, **text},
            vision_config={**small, "image_size": 28, "patch_size": 14},
            projection_dim=24,
        )
    )
    model.save_pretrained(folder)
    return folder

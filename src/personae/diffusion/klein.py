"""A model of the FLUX.2 Klein family, built from nothing: its sizes, its tokenizer, its parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from personae.errors import RequestError

__all__ = ["CHAT_TEMPLATE", "KleinConfig", "new_klein", "train_tokenizer"]

_PAD, _START, _END = "<pad>", "<start>", "<end>"

# The pipeline always goes through a chat template; this one costs two tokens a prompt.
CHAT_TEMPLATE = (
    "{% for message in messages %}" + _START + "{{ message['content'] }}" + _END + "{% endfor %}"
)


@dataclass(frozen=True, kw_only=True)
class KleinConfig:
    """Sizes of a FLUX.2 Klein model; the defaults are those of the toon checkpoint.

    The classes are those of diffusers and transformers: ``Flux2Transformer2DModel``,
    ``AutoencoderKLFlux2``, ``Qwen3ForCausalLM``, ``FlowMatchEulerDiscreteScheduler``.

    Attributes:
        num_heads: attention heads of the transformer.
        head_dim: numbers a head; the transformer is ``num_heads * head_dim`` wide.
        axes_dims_rope: numbers of a head that turn with time, row, column and text position.
        num_double_blocks: blocks in which text and picture have weights of their own.
        num_single_blocks: blocks that text and picture share.
        mlp_ratio: width of the feed-forward layers over the width of the transformer.
        latent_channels: channels of the autoencoder; a token holds four times as many numbers.
        vae_channels: channels of each stage of the autoencoder; four stages shrink by 8.
        vae_layers: residual blocks a stage.
        vae_norm_groups: groups of its group norms; divides every number of ``vae_channels``.
        vae_attention: does the autoencoder attend in its middle?
        text_width: width of the text encoder.
        text_blocks: layers of the text encoder.
        text_heads: attention heads of the text encoder, for queries, keys and values alike.
        text_mlp: width of its feed-forward layers.
        text_layers: hidden states that are read and stacked; 0 is the embedding.
        shift: None for FLUX.2's shift by size and number of steps, else one constant shift
            ``s`` of all times, ``s t / (1 + (s - 1) t)``; 1 leaves them equally spaced.
        is_distilled: True for a checkpoint that needs no guidance.
    """

    num_heads: int = 4
    head_dim: int = 64
    axes_dims_rope: tuple[int, int, int, int] = (16, 16, 16, 16)
    num_double_blocks: int = 2
    num_single_blocks: int = 6
    mlp_ratio: float = 3.0
    latent_channels: int = 8
    vae_channels: tuple[int, ...] = (16, 32, 64, 64)
    vae_layers: int = 1
    vae_norm_groups: int = 8
    vae_attention: bool = False
    text_width: int = 192
    text_blocks: int = 3
    text_heads: int = 4
    text_mlp: int = 512
    text_layers: tuple[int, ...] = (1, 2, 3)
    shift: float | None = None
    is_distilled: bool = False

    def __post_init__(self) -> None:
        """Check the sizes against each other."""
        if sum(self.axes_dims_rope) != self.head_dim or any(d % 2 for d in self.axes_dims_rope):
            raise RequestError(
                f"axes_dims_rope {self.axes_dims_rope}: expected four even numbers that sum to "
                f"head_dim {self.head_dim}"
            )
        if any(channels % self.vae_norm_groups for channels in self.vae_channels):
            raise RequestError(
                f"vae_channels {self.vae_channels}: each must be a multiple of vae_norm_groups "
                f"{self.vae_norm_groups}"
            )
        if self.text_width % (2 * self.text_heads):
            raise RequestError(
                f"text_width {self.text_width}: must be a multiple of twice text_heads "
                f"{self.text_heads}"
            )
        if not self.text_layers or not all(0 <= k <= self.text_blocks for k in self.text_layers):
            raise RequestError(
                f"text_layers {self.text_layers}: expected numbers from 0 to text_blocks "
                f"{self.text_blocks}"
            )


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE of at most ``vocab_size`` tokens, as a transformers ``Qwen2Tokenizer``.

    Any text can be written in it (256 bytes are tokens), and nothing in it is random. Its chat
    template puts one start and one end token around a prompt; padding is on the right.

    Args:
        texts: prompts to learn merges from.
        vocab_size: tokens in all, at least 259 (three special ones and 256 bytes).

    Returns:
        ``transformers.Qwen2Tokenizer``.

    Raises:
        RequestError: ``vocab_size`` is too small.
    """
    if vocab_size < 259:
        raise RequestError(f"vocab_size {vocab_size}: expected at least 259, 3 + 256 bytes")
    from transformers import Qwen2Tokenizer

    vocab, merges = _learn_merges(texts, vocab_size)
    return Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,  # type: ignore[arg-type]  # a list of pairs, says transformers itself
        unk_token=_PAD,
        pad_token=_PAD,
        bos_token=_START,
        eos_token=_END,
        padding_side="right",
        chat_template=CHAT_TEMPLATE,
    )


def _learn_merges(
    texts: Iterable[str], vocab_size: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learn with the very rules by which a Qwen2 tokenizer cuts a text into words."""
    import json

    from tokenizers import pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    learner = Qwen2Tokenizer(unk_token=_PAD, pad_token=_PAD, eos_token=_END).backend_tokenizer
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[_PAD, _START, _END],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    model = json.loads(learner.to_str())["model"]
    merges = [
        tuple(pair) if isinstance(pair, list) else tuple(pair.split(" "))
        for pair in model["merges"]
    ]
    return model["vocab"], merges


def new_klein(config: KleinConfig, tokenizer: Any, seed: int) -> Any:
    """A ``Flux2KleinPipeline`` with random weights (float32, on the CPU).

    The batch norm that normalizes latents starts as the identity: whoever trains the
    autoencoder sets ``vae.bn.running_mean`` and ``running_var`` afterwards.

    Args:
        config: the sizes.
        tokenizer: what :func:`train_tokenizer` made; sets the vocabulary.
        seed: of the weights; torch's own random state is left as it was.

    Returns:
        ``diffusers.Flux2KleinPipeline``.
    """
    from diffusers import Flux2KleinPipeline

    # The layers' own initializers know no generator, so the global one is lent to them.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = {
            "transformer": _new_transformer(config),
            "vae": _new_autoencoder(config),
            "text_encoder": _new_text_encoder(config, tokenizer),
        }
    return Flux2KleinPipeline(
        scheduler=_new_scheduler(config),
        tokenizer=tokenizer,
        is_distilled=config.is_distilled,
        **{name: part.eval() for name, part in parts.items()},
    )


def _new_transformer(config: KleinConfig) -> Any:
    from diffusers import Flux2Transformer2DModel

    return Flux2Transformer2DModel(
        in_channels=4 * config.latent_channels,
        num_layers=config.num_double_blocks,
        num_single_layers=config.num_single_blocks,
        attention_head_dim=config.head_dim,
        num_attention_heads=config.num_heads,
        joint_attention_dim=config.text_width * len(config.text_layers),
        mlp_ratio=config.mlp_ratio,
        axes_dims_rope=config.axes_dims_rope,
        guidance_embeds=False,
    )


def _new_autoencoder(config: KleinConfig) -> Any:
    from diffusers import AutoencoderKLFlux2

    stages = len(config.vae_channels)
    return AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        block_out_channels=config.vae_channels,
        layers_per_block=config.vae_layers,
        latent_channels=config.latent_channels,
        norm_num_groups=config.vae_norm_groups,
        mid_block_add_attention=config.vae_attention,
    )


def _new_text_encoder(config: KleinConfig, tokenizer: Any) -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=config.text_width,
            intermediate_size=config.text_mlp,
            num_hidden_layers=config.text_blocks,
            num_attention_heads=config.text_heads,
            num_key_value_heads=config.text_heads,
            head_dim=config.text_width // config.text_heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def _new_scheduler(config: KleinConfig) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    # 3.0 stands in FLUX.2's own scheduler file; with dynamic shifting nothing reads it.
    return FlowMatchEulerDiscreteScheduler(
        shift=3.0 if config.shift is None else config.shift,
        use_dynamic_shifting=config.shift is None,
    )

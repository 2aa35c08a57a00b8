"""What holds for every FLUX.2 Klein checkpoint unless it says otherwise."""

from __future__ import annotations

from personae.diffusion.backbone import Limits

__all__ = ["LORA_TARGETS", "klein_limits"]

# Every linear layer inside the blocks; what makes the shared modulations is left alone.
LORA_TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)"
    r"|ff(_context)?\.linear_(in|out))"
    r"|single_transformer_blocks\.\d+\.attn\.(to_qkv_mlp_proj|to_out)"
)


def klein_limits(is_distilled: bool) -> Limits:
    """Limits of a FLUX.2 Klein checkpoint that says nothing itself.

    Prompt tokens, text layers, 50 steps and guidance 4 are the defaults of diffusers'
    ``Flux2KleinPipeline``; 4 steps without guidance are those of the distilled model cards. At
    most four references is what Black Forest Labs' documentation of image editing says of both
    Klein sizes. References of 512 pixels are our own choice: the pipeline takes up to
    1024 x 1024, which costs four times the tokens.
    """
    return Limits(
        max_subjects=4,
        sizes=(),
        reference_px=512,
        prompt_tokens=512,
        text_layers=(9, 18, 27),
        steps=4 if is_distilled else 50,
        guidance=1.0 if is_distilled else 4.0,
        subject_words="the {noun} from image {index}",
    )

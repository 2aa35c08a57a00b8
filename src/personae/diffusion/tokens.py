"""Learned tokens: a new word for a subject, of which only the embedding is trained.

Gal et al., Textual Inversion (2022), arXiv 2208.01618. The text encoder's own table stays as it is:
a hook puts the new rows where the new ids stand, so that an optimizer sees nothing else.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from personae.compute.runs import make_folder, write_atomic
from personae.diffusion.backbone import Backbone
from personae.diffusion.folder import read_safetensors_header, read_safetensors_metadata
from personae.diffusion.new_words import pieces_of, require_new_word
from personae.errors import RequestError, WeightsError

__all__ = [
    "TOKENS_FILE",
    "add_tokens",
    "input_tables",
    "learned_tokens",
    "load_tokens",
    "save_tokens",
    "token_parameters",
    "token_pieces",
    "token_rows",
]

TOKENS_FILE = "learned_embeds.safetensors"  # what load_textual_inversion looks for
_ONE = "text_encoder"
# Diffusers' names, where there are two text encoders: of SDXL's, and of FLUX.1's in its
# examples/advanced_diffusion_training/train_dreambooth_lora_flux_advanced.py.
_CLIP, _SECOND_CLIP, _T5 = "clip_l", "clip_g", "t5"
_FORMERLY = {_T5: _SECOND_CLIP}  # our own files of FLUX.1 before
_OLD_END = 2  # what the configuration of such a CLIP says


@dataclass(frozen=True, eq=False)
class _Part:
    """A text encoder with its tokenizer: most models have one, SDXL has two."""

    key: str
    tokenizer: Any
    encoder: Any
    place: str  # of the tokenizer in the pipeline

    @property
    def table(self) -> nn.Module:
        """The input embedding."""
        table: nn.Module = self.encoder.get_input_embeddings()
        return table

    @property
    def width(self) -> int:
        """Numbers a token."""
        return int(next(self.table.parameters()).shape[-1])


@dataclass(frozen=True, eq=False)
class _Learned:
    """What `add_tokens` did: nouns by token, and the rows by text encoder, in the same order."""

    nouns: Mapping[str, str]
    rows: Mapping[str, nn.Parameter]


class _Rows:
    """What an input embedding says of ids that it does not have."""

    def __init__(self, ids: Tensor, rows: nn.Parameter) -> None:
        self._ids, self._rows = ids, rows
        self._asked = ids

    def before(self, _: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """The table may end before the new ids: it is asked for its first row instead."""
        self._asked = arguments[0]
        new = torch.isin(self._asked, self._ids.to(self._asked.device))
        return (self._asked.masked_fill(new, 0), *arguments[1:])

    def after(self, _: nn.Module, arguments: tuple[Any, ...], said: Tensor) -> Tensor:
        """Our rows at the new ids; everywhere else what was said, to the bit."""
        found = self._asked[..., None] == self._ids.to(self._asked.device)
        rows = self._rows.to(said.device, said.dtype)[found.int().argmax(dim=-1)]
        return torch.where(found.any(dim=-1, keepdim=True), rows, said)


def add_tokens(backbone: Backbone, tokens: Mapping[str, str]) -> dict[str, nn.Parameter]:
    """Teach a backbone new words, each ONE token that means at first what its noun means.

    The embedding begins as the mean of those of the noun's tokens. A token is found as a whole
    word, in exactly this case, and takes the space before it along, as other words do; every
    other text is encoded as before. The pipeline gets a tokenizer of its own; the table of
    embeddings, and what is tied to it, is not touched. May be called again for further tokens.

    Args:
        backbone: changed in place.
        tokens: word -> noun, e.g. ``{"olis": "girl"}``.

    Returns:
        The rows to be trained, (len(tokens), D) float32, by text encoder: ``text_encoder``, or
        ``clip_l`` and ``clip_g``, or ``t5`` in its place, where there are two.

    Raises:
        RequestError: no token, one that is no word, or one that the tokenizer knows: to give
            "girl" another meaning would give it to every girl.

    Source: Textual Inversion, arXiv 2208.01618, Sec. 4.
    """
    parts = _parts(backbone)
    for token, noun in tokens.items():
        require_new_word([part.tokenizer for part in parts], token, noun)
    if not tokens:
        raise RequestError("no token: expected at least one, with its noun")
    first = {part.key: torch.stack([_meaning(part, n) for n in tokens.values()]) for part in parts}
    return _attach(backbone, parts, dict(tokens), first)


def _meaning(part: _Part, noun: str) -> Tensor:
    """(D,) float32: the mean of the embeddings of a noun's tokens."""
    table = part.table
    with torch.no_grad():
        ids = torch.tensor(pieces_of(part.tokenizer, noun), device=_device(table))
        rows: Tensor = table(ids)
    return rows.float().mean(dim=0)


def _attach(
    backbone: Backbone, parts: list[_Part], nouns: Mapping[str, str], first: Mapping[str, Tensor]
) -> dict[str, nn.Parameter]:
    from tokenizers import AddedToken

    words = [AddedToken(t, single_word=True, lstrip=True, normalized=False) for t in nouns]
    made = {}
    for part in parts:
        tokenizer = copy.deepcopy(part.tokenizer)
        tokenizer.add_tokens(words)
        setattr(backbone.pipeline, part.place, tokenizer)
        ids = torch.tensor(tokenizer.convert_tokens_to_ids(list(nouns)))
        rows = nn.Parameter(first[part.key].to(_device(part.table), torch.float32).clone())
        hooked = _Rows(ids, rows)
        for table in input_tables(part.encoder):
            table.register_forward_pre_hook(hooked.before)
            table.register_forward_hook(hooked.after)
        _find_the_end(part.encoder, tokenizer)
        made[part.key] = rows
    _all_learned(backbone).append(_Learned(nouns, made))
    return made


def input_tables(encoder: Any) -> list[nn.Module]:
    """The modules that make embeddings of ids: T5 has two with one weight, and asks the second."""
    weight = encoder.get_input_embeddings().weight
    tables = [module for module in encoder.modules() if isinstance(module, nn.Embedding)]
    return [table for table in tables if table.weight is weight]


def _find_the_end(encoder: nn.Module, tokenizer: Any) -> None:
    """Of a text by its id: an old CLIP takes the highest number for it, which a new word has."""
    for module in encoder.modules():
        if getattr(module, "eos_token_id", None) == _OLD_END:
            module.eos_token_id = tokenizer.eos_token_id


def learned_tokens(backbone: Backbone) -> dict[str, str]:
    """The words that were added, with their nouns; in order."""
    return {token: noun for held in _all_learned(backbone) for token, noun in held.nouns.items()}


def token_parameters(backbone: Backbone) -> dict[str, Tensor]:
    """All rows by text encoder, (tokens, D), in the order of `learned_tokens`."""
    held = _all_learned(backbone)
    keys = held[0].rows if held else {}
    return {key: torch.cat([one.rows[key] for one in held]) for key in keys}


def token_rows(backbone: Backbone) -> dict[str, nn.Parameter]:
    """What an optimizer is to step: the rows that `add_tokens` made, by text encoder.

    Names have the number of the call before them where there was more than one.
    """
    held = _all_learned(backbone)
    return {
        key if len(held) == 1 else f"{number}.{key}": row
        for number, one in enumerate(held)
        for key, row in one.rows.items()
    }


def save_tokens(
    backbone: Backbone, folder: Path, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write the learned tokens as ``learned_embeds.safetensors``.

    With one text encoder it holds a (1, D) tensor a token, under its name: a folder with one
    token loads with ``pipeline.load_textual_inversion(folder)``, of several each
    ``{token: tensor}`` does. With two it holds ``clip_l`` and ``clip_g`` (SDXL) or ``t5``
    (FLUX.1), (tokens, D) each, as those are passed around:
    ``load_textual_inversion(held["clip_l"], token=[...])``. The header holds ``nouns``, JSON of
    word to noun in order, and what ``metadata`` says (base model ...).

    Raises:
        RequestError: there is no learned token.
    """
    from safetensors.torch import save

    nouns = learned_tokens(backbone)
    if not nouns:
        raise RequestError("the model has no learned token; use add_tokens or load_tokens first")
    held = {key: rows.detach().cpu() for key, rows in token_parameters(backbone).items()}
    if set(held) == {_ONE}:
        held = {token: row[None].clone() for token, row in zip(nouns, held[_ONE], strict=True)}
    header = {"format": "pt", **(metadata or {}), "nouns": json.dumps(nouns)}
    path = make_folder(folder) / TOKENS_FILE
    write_atomic(path, save(held, header))
    return path


def load_tokens(backbone: Backbone, source: str | Path) -> list[str]:
    """Add the tokens of `save_tokens`, or of another program's file in that form; frozen.

    Args:
        backbone: changed in place.
        source: a folder, or the file in it.

    Returns:
        The words that can now be used.

    Raises:
        WeightsError: the file is missing, damaged, or of another model.
        RequestError: a token is known already.
    """
    from safetensors.torch import load_file

    path = Path(source).expanduser()
    path = path / TOKENS_FILE if path.is_dir() else path
    if path.suffix != ".safetensors" or not path.is_file():
        raise WeightsError(
            f"{path}: no such file; expected {TOKENS_FILE}, as save_tokens writes it"
        )
    read_safetensors_header(path)
    parts = _parts(backbone)
    nouns, rows = _read(path, load_file(path), parts)
    for token in nouns:
        require_new_word([part.tokenizer for part in parts], token, token)
    for values in _attach(backbone, parts, nouns, rows).values():
        values.requires_grad_(False)
    return list(nouns)


def _read(
    path: Path, held: Mapping[str, Tensor], parts: list[_Part]
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Nouns by token, and (tokens, D) by text encoder."""
    try:
        told = json.loads(read_safetensors_metadata(path).get("nouns", "null"))
        if len(parts) == 1:
            nouns = dict(told or dict.fromkeys(held, ""))
            rows = {_ONE: torch.stack([held[token].reshape(-1) for token in nouns])}
        else:
            nouns = dict(told)
            rows = {part.key: held[_stored_as(part.key, held)] for part in parts}
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: expected a row a token for {len(parts)} text encoders ({error}); "
            "the tokens were learned for another kind of model"
        ) from error
    for part in parts:
        expected = (len(nouns), part.width)
        if tuple(rows[part.key].shape) != expected:
            raise WeightsError(
                f"{path}: expected {expected} numbers for {part.key}, got "
                f"{tuple(rows[part.key].shape)}; the tokens were learned for another model"
            )
    return nouns, rows


def _stored_as(key: str, held: Mapping[str, Tensor]) -> str:
    """The name in a file, which may be one of before."""
    return key if key in held else _FORMERLY.get(key, key)


def token_pieces(backbone: Backbone, token: str) -> int:
    """Into how many pieces a word is split inside a prompt, at the most by any tokenizer.

    A name of several pieces is learned worse than one: its pieces stand in other words too.
    """
    return max(len(pieces_of(part.tokenizer, token)) for part in _parts(backbone))


def _parts(backbone: Backbone) -> list[_Part]:
    pipeline = backbone.pipeline
    first = _Part(_ONE, pipeline.tokenizer, pipeline.text_encoder, "tokenizer")
    if getattr(pipeline, "tokenizer_2", None) is None:
        return [first]
    other = _T5 if pipeline.text_encoder_2.config.model_type == "t5" else _SECOND_CLIP
    return [
        _Part(_CLIP, pipeline.tokenizer, pipeline.text_encoder, "tokenizer"),
        _Part(other, pipeline.tokenizer_2, pipeline.text_encoder_2, "tokenizer_2"),
    ]


def _all_learned(backbone: Backbone) -> list[_Learned]:
    """Kept on the pipeline's first text encoder, beside the rows."""
    encoder: Any = backbone.pipeline.text_encoder
    if not hasattr(encoder, "personae_tokens"):
        encoder.personae_tokens = []
    kept: list[_Learned] = encoder.personae_tokens
    return kept


def _device(table: nn.Module) -> torch.device:
    return next(table.parameters()).device

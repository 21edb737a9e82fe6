"""Compares an export, loaded again from its folder, with the memory that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from tokmem.errors import ExportError
from tokmem.export.probes import ARGUMENTS, QUERIES, TEXT, examples, probes, response, whole_encoder
from tokmem.export.spelling import escaped, is_tool
from tokmem.export.vocabulary import Vocabulary
from tokmem.log import logger, progress
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import input_embedding
from tokmem.records import Turn
from tokmem.strict_json import parse_json

# Largest difference of two logits, relative to the largest logit (at least 1). The weights are the same;
# 16-bit kernels round differently.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
_DO = "report it with what `tokmem doctor` says; --no-check exports all the same"


@torch.no_grad()
def check_logits(memory: TokMem, model: Callable[..., Any], tolerance: float | None = None) -> float:
    """Compares logits of queries, memory tokens and responses.

    Args:
        memory: the memory.
        model: the export as a model: `input_ids` (1, T) -> logits (1, T, at least W).
        tolerance: largest difference, relative to the largest logit; None takes that of the dtype.

    Returns:
        The largest difference, relative to the largest logit (at least 1).

    Raises:
        ExportError: a difference is too large.
    """
    dtype = input_embedding(memory.backbone.model).weight.dtype
    allowed = TOLERANCE[dtype] if tolerance is None else tolerance
    worst = 0.0
    compared = probes(memory)
    with progress(len(compared), "checking the export", unit="probe", leave=False) as bar:
        for probe in compared:
            ids = torch.tensor([probe.ids], device=memory.backbone.device)
            ours = memory.lm.logits(ids, torch.ones_like(ids))
            theirs = model(input_ids=ids).logits[..., : ours.shape[-1]].to(ours)
            known = ours.isfinite()
            scale = max(1.0, float(ours[known].abs().max()))
            worst = max(worst, float((ours[known] - theirs[known]).abs().max()) / scale)
            bar.update()
    if not worst <= allowed:
        raise ExportError(
            f"logits of the export differ from the bank's by {worst:.2g}", f"at most {allowed:.2g}", _DO
        )
    return worst


def check_tokens(memory: TokMem, vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerBase) -> None:
    """Checks that all texts have their ids, that each is read whole, and that decoders hide only free texts.

    Raises:
        ExportError: a text has another id, or is shown or hidden where it should not be.
    """
    # A tokenizer may have texts past the rows: transformers adds some where it reads a GGUF file.
    own = set(range(vocabulary.rows)) - set(vocabulary.ids.values())
    wanted = {text: i for text, i in memory.backbone.tokenizer.get_vocab().items() if i in own}
    wanted |= {text: token for token, text in vocabulary.named.items()}
    held = {text: token for text, token in tokenizer.get_vocab().items() if token < vocabulary.rows}
    wrong = {text: held.get(text) for text in {*held, *wanted} if held.get(text) != wanted.get(text)}
    _require("ids of texts", wrong, {text: wanted.get(text) for text in wrong})
    for name, text in vocabulary.texts.items():
        token = vocabulary.ids[name]
        _require(f"ids of {text}", tokenizer.encode(text, add_special_tokens=False), [token])
        shown = text if token in vocabulary.tools else ""
        written = str(tokenizer.decode([token], skip_special_tokens=True))
        _require(f"text of {token}", written.strip(), shown.strip())


def _require(what: str, got: Any, wanted: Any) -> None:
    if got != wanted:
        raise ExportError(f"{what} in the export: {got!r:.200}", f"{wanted!r:.200}", _DO)


def check_prompts(memory: TokMem, vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerBase) -> None:
    """Checks that prompts are those of the memory, and that calls of the history become memory tokens.

    Raises:
        ExportError: a prompt has other token ids.
    """
    encoder = whole_encoder(memory)
    for example in examples(memory):
        messages = [{"role": "user", "content": encoder.user_text("", example.query)}]
        _require(f"prompt of {example.query!r}", _ids(tokenizer, messages), encoder.prompt(example))
    for name, token in vocabulary.ids.items():
        if token in vocabulary.tools:
            call = {"function": {"name": escaped(name), "arguments": parse_json(ARGUMENTS)}}
            turns = [{"role": "user", "content": TEXT}, {"role": "assistant", "tool_calls": [call]}]
            written = _ids(tokenizer, [*turns, *turns[:1]])
            _require(f"memory token of {name} in a history", token in written, True)
            return


def _ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Any]) -> list[int]:
    """A chat as an engine encodes it, with a tool in the request."""
    tool = {"type": "function", "function": {"name": "other", "description": "", "parameters": {}}}
    ids = tokenizer.apply_chat_template(
        list(messages), tools=[tool], add_generation_prompt=True, tokenize=True, return_dict=False
    )
    return list(ids)


def check_parsing(memory: TokMem, vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerBase) -> None:
    """Reads calls, chains and plain answers as engines do: whole, token by token and letter by letter.

    Raises:
        ExportError: a response is read wrongly.
    """
    if not hasattr(tokenizer, "get_response_parser"):
        logger.warning(
            "this transformers reads no response_template: the reading of responses is not checked"
        )
        return
    asked = [{"role": "user", "content": QUERIES[0]}]
    prefix = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
    for names in _chains(memory, vocabulary):
        ids, wanted = _response_ids(memory, vocabulary, names), _message(memory, names)
        texts = [str(tokenizer.decode(ids[:end])) for end in range(len(ids) + 1)]
        pieces = [after[len(before) :] for before, after in pairwise(texts)]
        for way, parts in (("whole", texts[-1:]), ("by token", pieces), ("by letter", list(texts[-1]))):
            parser = tokenizer.get_response_parser(prefix=prefix)
            for part in parts:
                parser.feed(part)
            _require(f"response of {names or 'no procedure'}, read {way}", parser.finalize()[0], wanted)


def _chains(memory: TokMem, vocabulary: Vocabulary) -> list[list[str]]:
    """Procedures of the responses to read: none, each kind alone, and a chain of two calls."""
    tools = [name for name in memory.bank.names if vocabulary.ids[name] in vocabulary.tools]
    free = [name for name in memory.bank.names if name not in tools]
    return [[], *([free[:1]] if free else []), *([tools[:1], [tools[0], tools[-1]]] if tools else [])]


def _response_ids(memory: TokMem, vocabulary: Vocabulary, names: Sequence[str]) -> list[int]:
    """What the model writes: memory tokens and responses, and the end."""
    turns = [Turn(name, response(memory.bank.procedures[name])) for name in names]
    encoder = memory.encoder
    body = [i for turn in turns for i in (vocabulary.ids[turn.procedure], *encoder.response_ids(turn))]
    return [*(body or memory.chat.text_ids(TEXT)), memory.chat.stop]


def _message(memory: TokMem, names: Sequence[str]) -> dict[str, Any]:
    """The message that a client gets."""
    calls = [
        {"type": "function", "function": {"name": escaped(name), "arguments": parse_json(ARGUMENTS)}}
        for name in names
        if is_tool(memory.bank.procedures[name])
    ]
    return {"role": "assistant", **({"tool_calls": calls} if calls else {"content": TEXT})}

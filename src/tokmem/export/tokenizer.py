"""The tokenizer of an export: the backbone's, with the memory tokens in it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokmem.export.template import chat_template, response_template
from tokmem.export.vocabulary import Vocabulary
from tokmem.methods.tokmem import TokMem

TOKENIZER, CONFIG = "tokenizer.json", "tokenizer_config.json"


def write_tokenizer(memory: TokMem, vocabulary: Vocabulary, folder: Path) -> None:
    """Writes the tokenizer, its chat template and its response template.

    Args:
        memory: the memory.
        vocabulary: texts of the rows.
        folder: existing folder.
    """
    tokenizer = copy.deepcopy(memory.backbone.tokenizer)
    tokenizer.chat_template = chat_template(memory.chat, vocabulary.spelling)
    tokenizer.save_pretrained(folder)
    replaced = _replaced(memory, vocabulary)
    _edit(folder / TOKENIZER, lambda spec: _name_tokens(spec, vocabulary))
    template = response_template(memory.chat, vocabulary.spelling)
    _edit(folder / CONFIG, lambda config: _configure(config, replaced, template))


def _replaced(memory: TokMem, vocabulary: Vocabulary) -> set[str]:
    """The backbone's own tokens whose rows are memory tokens now."""
    ids = set(vocabulary.ids.values())
    return {text for text, token in memory.backbone.tokenizer.get_vocab().items() if token in ids}


def _edit(path: Path, change: Any) -> None:
    value = json.loads(path.read_text("utf-8"))
    change(value)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")


def _name_tokens(spec: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Gives rows their texts in the JSON of a fast tokenizer; each is matched whole."""
    named = vocabulary.named
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {named.get(token, text): token for text, token in model["vocab"].items()}
    else:  # a list of pairs of text and score
        model["vocab"] = [[named.get(i, text), score] for i, (text, score) in enumerate(model["vocab"])]
    added = {entry["id"]: entry for entry in spec["added_tokens"]}
    added |= {token: _added(token, text, token in vocabulary.tools) for token, text in named.items()}
    spec["added_tokens"] = [added[token] for token in sorted(added)]


def _added(token: int, text: str, tool: bool) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token, "content": text, **plain, "special": not tool}


def _configure(config: dict[str, Any], replaced: set[str], template: Mapping[str, Any]) -> None:
    """Takes replaced tokens out of the tokenizer's settings, and adds how responses are read."""
    for name in ("extra_special_tokens", "additional_special_tokens"):
        if isinstance(config.get(name), list):
            config[name] = [text for text in config[name] if _text(text) not in replaced]
    if "added_tokens_decoder" in config:
        decoder = config["added_tokens_decoder"]
        config["added_tokens_decoder"] = {k: v for k, v in decoder.items() if _text(v) not in replaced}
    config["response_template"] = dict(template)


def _text(token: Any) -> Any:
    return token["content"] if isinstance(token, dict) else token

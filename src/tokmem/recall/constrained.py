"""Grammar-constrained arguments: after a tool's memory token the model writes only JSON of its schema.

Each memory token opens the grammar of its procedure's schema. The next memory token or the stop token may
follow once the JSON value is complete. llguidance (https://github.com/guidance-ai/llguidance) computes which
tokens a grammar allows next. Each turn has its own grammar, because memory tokens are not in the tokenizer.

The JSON has the format of `json.dumps`: separators `", "` and `": "`, and properties in the schema's order.

Letter: V rows of the backbone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tokmem.errors import ConfigError, RecallError
from tokmem.records import Procedure

STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Guide:
    """The grammar of one response, from its first token to its last.

    Args:
        procedure: name of the procedure that responds.
        matcher: a matcher of llguidance, at its start.
        vocab: V.
        stops: ids that end a response.
    """

    def __init__(self, procedure: str, matcher: Any, vocab: int, stops: Tensor) -> None:
        self.procedure, self._matcher, self._stops = procedure, matcher, stops
        self._bits = torch.zeros(-(-vocab // 32), dtype=torch.int32)
        self._vocab = vocab

    @property
    def complete(self) -> bool:
        """Whether the tokens so far form a complete value of the schema."""
        return bool(self._matcher.is_accepting())

    def allowed(self) -> Tensor:
        """(V,) on the CPU: True for each ordinary token and stop token that may come next."""
        self._bits.zero_()
        self._matcher.unsafe_compute_mask_ptr(self._bits.data_ptr(), self._bits.nbytes)
        self._check()
        places = torch.arange(32, dtype=torch.int32)
        allowed = (self._bits[:, None] >> places & 1).flatten()[: self._vocab].bool()
        return allowed.index_fill(0, self._stops, self.complete)

    def accept(self, token: int) -> None:
        """Advances the grammar by a written token."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RecallError(
                f"the grammar of procedure {self.procedure!r} failed ({self._matcher.get_error()})",
                "a schema that llguidance can follow",
                "simplify the schema, or recall without constraints",
            )


class Guides:
    """Compiles the grammars of a bank's procedures, and opens them.

    Args:
        procedures: of the bank; a procedure without a schema has no grammar.
        tokenizer: the fast tokenizer of the backbone.
        vocab: V.
        stops: ids that end a response.

    Raises:
        ConfigError: llguidance is not installed, or it cannot read the tokenizer.
        RecallError: llguidance cannot compile the schema of a procedure.
    """

    def __init__(
        self,
        procedures: Iterable[Procedure],
        tokenizer: PreTrainedTokenizerBase,
        vocab: int,
        stops: Sequence[int],
    ) -> None:
        kind = _import_llguidance().LLMatcher
        self._tokens = _read_tokenizer(tokenizer, vocab)
        self._vocab, self._stops = vocab, torch.tensor([i for i in stops if i < vocab], dtype=torch.long)
        self._matchers = {
            procedure.name: self._matcher(kind, procedure)
            for procedure in procedures
            if procedure.parameters is not None
        }

    def _matcher(self, kind: Any, procedure: Procedure) -> Any:
        """Compiles the grammar of a procedure; each response takes a copy."""
        grammar = kind.grammar_from_json_schema(json.dumps(procedure.parameters), overrides=STYLE)
        refused, reasons = kind.validate_grammar_with_warnings(grammar, self._tokens)
        if refused:
            raise RecallError(
                f"the schema of procedure {procedure.name!r} ({'; '.join(reasons)})",
                "a JSON schema that llguidance reads",
                "correct the schema, or recall without constraints",
            )
        return kind(self._tokens, grammar)

    def open(self, procedure: str) -> Guide | None:
        """Opens the grammar of a procedure's response; None if the procedure has no schema."""
        matcher = self._matchers.get(procedure)
        return Guide(procedure, matcher.deep_copy(), self._vocab, self._stops) if matcher else None


@lru_cache(maxsize=1)  # takes a second for a large vocabulary
def _read_tokenizer(tokenizer: PreTrainedTokenizerBase, vocab: int) -> Any:
    """Converts the tokenizer for llguidance, padded to V tokens."""
    do = "recall without constraints, or with a backbone whose tokenizer is of the fast kind"
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigError(f"the slow tokenizer {type(tokenizer).__name__}", "a fast one", do)
    try:
        return _import_llguidance().hf.from_tokenizer(tokenizer, n_vocab=vocab)
    except ValueError as error:
        raise ConfigError(
            f"tokenizer {type(tokenizer).__name__} ({error})", "one that llguidance reads", do
        ) from error


def _import_llguidance() -> Any:
    try:
        import llguidance
        import llguidance.hf
    except ImportError as error:
        raise ConfigError(
            f"llguidance is not installed ({error})",
            "the package that constrained recall needs",
            "pip install 'tokmem[constrained]'",
        ) from error
    return llguidance

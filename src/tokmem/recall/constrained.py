"""Grammar-constrained arguments: after a tool's memory token only JSON of the tool's schema may be written.

The grammar of a chain is keyed by the memory tokens: each opens the grammar of its procedure's schema, and
only where that is complete may the next memory token or the stop follow. llguidance
(https://github.com/guidance-ai/llguidance) says which tokens a grammar allows next. A grammar a turn, rather
than one text for the chain, so that memory tokens need not be tokens of the tokenizer.

JSON is written as `json.dumps` does by default, `", "` and `": "` between, and in the schema's order of
properties. Letter: V rows of the backbone.
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
    """The grammar of one response, from its first token on.

    Args:
        procedure: whose response it is.
        matcher: llguidance's, at its start.
        vocab: V.
        stops: ids that end a response.
    """

    def __init__(self, procedure: str, matcher: Any, vocab: int, stops: Tensor) -> None:
        self.procedure, self._matcher, self._stops = procedure, matcher, stops
        self._bits = torch.zeros(-(-vocab // 32), dtype=torch.int32)
        self._vocab = vocab

    @property
    def complete(self) -> bool:
        """Whether what was written is a whole value of the schema."""
        return bool(self._matcher.is_accepting())

    def allowed(self) -> Tensor:
        """(V,) which ordinary tokens may come next, stop tokens among them; on the CPU."""
        self._bits.zero_()
        self._matcher.unsafe_compute_mask_ptr(self._bits.data_ptr(), self._bits.nbytes)
        self._check()
        places = torch.arange(32, dtype=torch.int32)
        allowed = (self._bits[:, None] >> places & 1).flatten()[: self._vocab].bool()
        return allowed.index_fill(0, self._stops, self.complete)

    def accept(self, token: int) -> None:
        """Takes note of a token that was written."""
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
    """Opens the grammars of a bank's procedures.

    Args:
        procedures: of the bank; those without a schema are free.
        tokenizer: the backbone's, a fast one.
        vocab: V.
        stops: ids that end a response.

    Raises:
        ConfigError: llguidance is not installed, or it does not read the tokenizer.
        RecallError: llguidance refuses a procedure's schema.
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
        """The compiled grammar of a procedure; responses take copies."""
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
        """The grammar of a procedure's response; None where it has no schema."""
        matcher = self._matchers.get(procedure)
        return Guide(procedure, matcher.deep_copy(), self._vocab, self._stops) if matcher else None


@lru_cache(maxsize=1)  # a second for a large vocabulary
def _read_tokenizer(tokenizer: PreTrainedTokenizerBase, vocab: int) -> Any:
    """llguidance's view of the tokenizer, padded to V."""
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
            f"no llguidance ({error})", "it, to constrain", "pip install 'tokmem[constrained]'"
        ) from error
    return llguidance

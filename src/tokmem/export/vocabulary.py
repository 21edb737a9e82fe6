"""The vocabulary of an export: which row has which text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokmem.errors import ExportError
from tokmem.export.spelling import Spelling, choose_spelling, is_tool, spell_all
from tokmem.methods.tokmem import TokMem
from tokmem.methods.tokmem_lora import TokMemLora


@dataclass(frozen=True)
class Vocabulary:
    """The rows of an export.

    Attributes:
        rows: number of rows, R.
        old: number of rows of the backbone, V.
        spelling: how tools are spelled.
        ids: token id of each procedure's memory token.
        texts: text of each procedure's memory token.
        tools: token ids of tools; a decoder that skips special tokens keeps their text.
        fillers: texts of rows that nothing uses, by token id.
    """

    rows: int
    old: int
    spelling: Spelling
    ids: Mapping[str, int]
    texts: Mapping[str, str]
    tools: frozenset[int]
    fillers: Mapping[int, str]

    @property
    def named(self) -> dict[int, str]:
        """All texts that the backbone's vocabulary does not have, by token id."""
        return {**self.fillers, **{self.ids[name]: text for name, text in self.texts.items()}}

    @property
    def past_end(self) -> list[str]:
        """Procedures whose row the backbone does not have."""
        return [name for name, token in self.ids.items() if token >= self.old]

    @property
    def new_fillers(self) -> list[int]:
        """Ids of rows past the backbone's end that nothing uses."""
        return [token for token in self.fillers if token >= self.old]


def plan_vocabulary(memory: TokMem, spelling: str | None = None) -> Vocabulary:
    """Plans the rows and texts of an export.

    Args:
        memory: the memory.
        spelling: name of a spelling; None chooses (see `choose_spelling`).

    Raises:
        ExportError: an engine cannot serve the bank, or a name cannot be spelled.
    """
    check_servable(memory)
    bank, tokenizer = memory.bank, memory.backbone.tokenizer
    held = tokenizer.get_vocab()
    chosen = choose_spelling(spelling, held, memory.call_style)
    texts = spell_all((bank.procedures[name] for name in bank.names), chosen, held)
    ids = {name: bank.slots.ids(name)[0] for name in bank.names}
    old = bank.slots.space.rows
    rows = max(old, max(ids.values()) + 1)
    unnamed = set(range(max(held.values()) + 1, rows)) - set(ids.values())
    return Vocabulary(
        rows,
        old,
        chosen,
        ids,
        texts,
        frozenset(ids[name] for name in bank.names if is_tool(bank.procedures[name])),
        {token: f"<|tokmem-unused:{token}|>" for token in sorted(unnamed)},
    )


def check_servable(memory: TokMem) -> None:
    """Refuses what a plain model cannot do.

    Raises:
        ExportError: the bank is empty, a procedure is several tokens wide, or the backbone is quantised, has
            an adapter beside it, or has no fast tokenizer.
    """
    bank = memory.bank
    if not len(bank):
        raise ExportError("an empty bank", "at least one procedure", "teach it one first")
    wide = next((name for name, ids in bank.memory.items() if len(ids) > 1), None)
    if wide is not None:
        raise ExportError(
            f"procedure {wide!r}, {len(bank.slots.ids(wide))} memory tokens wide",
            "procedures of one memory token: an engine forces no token after another",
            "train the procedure with width 1",
        )
    if isinstance(memory, TokMemLora):
        raise ExportError(
            "a bank that was trained beside an adapter",
            "a bank of a plain backbone",
            "merge the adapter into the backbone, and train the bank on that",
        )
    if getattr(memory.backbone.model, "is_quantized", False):
        raise ExportError(
            f"{memory.backbone.id}, loaded in few bits",
            "a backbone with whole weights",
            "leave --quantization",
        )
    if not memory.backbone.tokenizer.is_fast:
        raise ExportError(
            f"{type(memory.backbone.tokenizer).__name__} without a tokenizer.json", "a fast tokenizer"
        )

"""Memorises with memory tokens: independent runs train in one batch, as separate slots of one bank.

A run is a procedure's memory tokens and the sequences that they learn. The model reads memory tokens and
never predicts them.

Letters: R runs, K memory tokens of a run, N supervised positions, d hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from tokmem.errors import TrainingError
from tokmem.eval.perplexity import TokenTally
from tokmem.model.backbone import is_recurrent
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import Prefix, read_prefixes
from tokmem.records import Encoded
from tokmem.train.loss import MAX_LOGITS, token_losses
from tokmem.train.memorise import Forward, MemoriseSettings, RunRecord, tally_each, train_memories
from tokmem.train.step import frozen_prefix_states, plain_states


def memorise(
    lm: MemoryLM,
    runs: Sequence[Sequence[Encoded]],
    settings: MemoriseSettings,
    *,
    frozen_prefix: bool,
    dimension: int | None = None,
    desc: str = "memorising",
) -> list[RunRecord]:
    """Trains the memory tokens of each run on its sequences; the bank ends with the best rows of each run.

    Args:
        lm: a backbone that only reads the memory tokens of its bank (`writes=False`). The bank has one
            procedure for each run, in the order of the runs and all of one width.
        runs: the sequences of R runs; each holds the memory tokens of its own procedure.
        settings: how to train.
        frozen_prefix: read the tokens before the memory tokens once and without a graph; exact. There must be
            such tokens, and none of them may be a target.
        dimension: number of leading coordinates of each embedding that train; None trains all.
        desc: text beside the progress bar.

    Returns:
        R records.

    Raises:
        TrainingError: runs and procedures do not match, a sequence breaks the conditions above, or the loss
            is not finite.
    """
    return train_memories(MemoryTokens(lm, runs, frozen_prefix, dimension), settings, desc)


def tallies(lm: MemoryLM, examples: Sequence[Encoded], batch_size: int = 64) -> list[TokenTally]:
    """Measures how well the model, with the bank as it is, predicts the supervised tokens of each example."""
    out = []
    with torch.no_grad():
        for i in range(0, len(examples), batch_size):
            part = examples[i : i + batch_size]
            hidden, targets = plain_states(lm, part)
            losses = token_losses(lm.head, hidden, targets)
            out += tally_each(losses, _correct(lm, hidden, targets), [sum(e.supervised) for e in part])
    return out


class MemoryTokens:
    """The memory tokens of R runs: K rows of one bank for each run.

    Args:
        lm: as in `memorise`.
        runs: as in `memorise`.
        frozen_prefix: as in `memorise`.
        dimension: as in `memorise`.

    Raises:
        TrainingError: runs and procedures do not match, or a sequence breaks the conditions of `memorise`.
    """

    def __init__(
        self, lm: MemoryLM, runs: Sequence[Sequence[Encoded]], frozen_prefix: bool, dimension: int | None
    ) -> None:
        _check(lm, runs, frozen_prefix, dimension)
        self.lm, self.runs, self.dimension = lm, runs, dimension
        self.table = lm.read.steering
        prefixes: list[list[Prefix]] = [[] for _ in runs]
        if frozen_prefix and not is_recurrent(lm.model):
            prefixes = [read_prefixes(lm, [e.ids[: e.prefix] for e in run]) for run in runs]
        self.prefixes = prefixes

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The rows of all runs."""
        return [self.table.fresh]

    def rows(self) -> list[Tensor]:
        """Copies of the rows (K, d) of each run."""
        rows = self.table.fresh.detach()
        return list(rows.reshape(len(self.runs), -1, rows.shape[-1]).clone().unbind())

    def put(self, rows: Sequence[Tensor]) -> None:
        """Sets the rows (K, d) of each run."""
        with torch.no_grad():
            self.table.fresh.copy_(torch.cat(list(rows)))

    def tokens(self, run: int) -> int:
        """The number of supervised tokens in the sequences of a run."""
        return sum(sum(example.supervised) for example in self.runs[run])

    def forwards(self, active: Sequence[int], batch_size: int) -> Iterator[Forward]:
        """Yields forward passes over the sequences of the active runs; a batch may mix runs."""
        items = [(p, i) for p, run in enumerate(active) for i in range(len(self.runs[run]))]
        for start in range(0, len(items), batch_size):
            part = items[start : start + batch_size]
            examples = [self.runs[active[p]][i] for p, i in part]
            prefixes = [self.prefixes[active[p]][i] for p, i in part if self.prefixes[active[p]]]
            hidden, targets = (
                frozen_prefix_states(self.lm, examples, prefixes)
                if prefixes
                else plain_states(self.lm, examples)
            )
            losses = token_losses(self.lm.head, hidden, targets)
            counts = [sum(e.supervised) for e in examples]
            correct = partial(_correct, self.lm, hidden.detach(), targets)
            yield Forward([p for p, _ in part], counts, losses, correct)

    def mask_gradients(self) -> None:
        """Sets the gradient of coordinates that do not train to zero, so that they get no momentum."""
        gradient = self.table.fresh.grad
        if gradient is not None and self.dimension is not None:
            gradient[:, self.dimension :] = 0


def _check(
    lm: MemoryLM, runs: Sequence[Sequence[Encoded]], frozen_prefix: bool, dimension: int | None
) -> None:
    bank = lm.read
    widths = {len(ids) for ids in bank.memory.values()}
    if not runs or len(bank.fresh_names) != len(bank) or len(bank) != len(runs) or len(widths) != 1:
        raise TrainingError(
            f"{len(runs)} runs, {len(bank)} procedures ({len(bank.fresh_names)} trainable), "
            f"widths {sorted(widths)}",
            "a trainable procedure for each run, all of one width",
        )
    if dimension is not None and not 1 <= dimension <= bank.dim:
        raise TrainingError(f"dimension {dimension}", f"1 to the backbone's {bank.dim}", "correct it")
    for run, memory in zip(runs, bank.memory.values(), strict=True):
        for example in run:
            own = example.ids[example.prefix : example.prefix + len(memory)] == memory
            if not own or (
                frozen_prefix and (not example.prefix or any(example.supervised[: example.prefix]))
            ):
                raise TrainingError(
                    f"sequence {example.id!r} with {example.prefix} tokens before its memory tokens",
                    "the run's own memory tokens"
                    + (" behind a query without targets" if frozen_prefix else ""),
                )


def _correct(lm: MemoryLM, hidden: Tensor, targets: Tensor) -> Tensor:
    """(N,) whether each target is the model's first choice."""
    size = max(1, MAX_LOGITS // lm.head.model_rows)
    with torch.no_grad():
        picks = [lm.head.native(part).argmax(-1) for part in hidden.split(size)]
    return torch.cat(picks) == targets

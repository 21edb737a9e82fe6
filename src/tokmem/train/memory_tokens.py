"""Many independent runs of memorisation side by side, as separate slots of one bank in one batch.

A run is a procedure's memory tokens and the sequences that they are to hold. Memory tokens are read, never
predicted.

Letters: R runs, K memory tokens a run, N supervised positions, d hidden size.
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
    """Trains every run's memory tokens to hold its sequences; the bank ends with the best rows of each.

    Args:
        lm: a backbone that only reads the memory tokens of its bank (`writes=False`): a procedure a run, in
            their order, all of one width.
        runs: R runs' sequences, each with the memory tokens of its own procedure.
        settings: how to train.
        frozen_prefix: read what stands before the memory tokens once and without a graph. Exact; there must
            be something there, and it may hold no target.
        dimension: only so many leading coordinates of each embedding train; None: all.
        desc: shown beside the progress bar.

    Returns:
        R records.

    Raises:
        TrainingError: runs and procedures do not match, a sequence cannot be read in this way, or the loss is
            not finite.
    """
    return train_memories(MemoryTokens(lm, runs, frozen_prefix, dimension), settings, desc)


def tallies(lm: MemoryLM, examples: Sequence[Encoded], batch_size: int = 64) -> list[TokenTally]:
    """How well the supervised tokens of each example are predicted, as the bank stands now."""
    out = []
    with torch.no_grad():
        for i in range(0, len(examples), batch_size):
            part = examples[i : i + batch_size]
            hidden, targets = plain_states(lm, part)
            losses = token_losses(lm.head, hidden, targets)
            out += tally_each(losses, _correct(lm, hidden, targets), [sum(e.supervised) for e in part])
    return out


class MemoryTokens:
    """The memory tokens of R runs: K rows of one bank each.

    Args:
        lm: as for `memorise`, which says what the others are too.
        runs: R runs' sequences.
        frozen_prefix: whether what stands before the memory tokens is read once.
        dimension: how many leading coordinates train.

    Raises:
        TrainingError: as `memorise`, but for the loss.
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
        """(K, d) of each run, copies."""
        rows = self.table.fresh.detach()
        return list(rows.reshape(len(self.runs), -1, rows.shape[-1]).clone().unbind())

    def put(self, rows: Sequence[Tensor]) -> None:
        """Sets what `rows` reads."""
        with torch.no_grad():
            self.table.fresh.copy_(torch.cat(list(rows)))

    def tokens(self, run: int) -> int:
        """Supervised tokens of a run."""
        return sum(sum(example.supervised) for example in self.runs[run])

    def forwards(self, active: Sequence[int], batch_size: int) -> Iterator[Forward]:
        """The sequences of the active runs, whatever their runs are, in one batch."""
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
        """From the first step on, so that coordinates which do not train have no momentum either."""
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

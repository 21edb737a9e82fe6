"""The objective of TokMem: Eq. 3 over the fresh rows of a bank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tokmem.data.collate import on_device
from tokmem.errors import TrainingError
from tokmem.files import cache_folder
from tokmem.log import logger
from tokmem.model.backbone import is_recurrent
from tokmem.model.fingerprint import fingerprint
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.placed import is_divided
from tokmem.model.prefix import Prefix, suitable_tokens
from tokmem.model.prefix_tree import pack
from tokmem.records import Encoded
from tokmem.seeds import stream
from tokmem.train.loss import MAX_LOGITS, LossSum, memory_loss
from tokmem.train.objective import Piece, supervised_tokens
from tokmem.train.optim import Group
from tokmem.train.prefix_cache import PrefixCache, Usage
from tokmem.train.prefix_files import PrefixFiles
from tokmem.train.step import frozen_prefix_states, plain_states, portions


class BankObjective:
    """Eq. 3 over the fresh rows of a bank.

    Args:
        lm: the frozen backbone and its bank. If it only reads memory tokens, they train as a soft prompt.
        frozen_prefix: read queries once and without a graph.
        cache_bytes: most bytes of memory for prefixes that later epochs need.
        share: read beginnings that prompts share once.
        disk_bytes: most bytes on disk for prefixes that later runs need.
        disk_folder: folder of these prefixes; None takes the user's cache folder.
        negatives: for each example, also draw a query state that the bank keeps of an earlier procedure, and
            add its routing as one more supervised position: the state must still choose its procedure. The
            state is a constant, so only the new addresses learn from it.
        renorm: rescale the new rows after each step (Eqs. 5-6).
        seed: of the random draws.
    """

    def __init__(
        self,
        lm: MemoryLM,
        *,
        frozen_prefix: bool,
        cache_bytes: int,
        share: bool = True,
        disk_bytes: int = 0,
        disk_folder: Path | None = None,
        negatives: bool = False,
        renorm: bool = False,
        seed: int = 0,
    ) -> None:
        self.lm, self.frozen_prefix, self.renorm, self.seed = lm, frozen_prefix, renorm, seed
        files = None
        if disk_bytes and is_divided(lm.model):
            logger.warning("no prefixes are kept on disk: the backbone is divided among devices")
        elif disk_bytes and frozen_prefix and not is_recurrent(lm.model):  # reads every weight
            files = PrefixFiles(lm, disk_folder or cache_folder("prefixes"), disk_bytes)
        self.cache = PrefixCache(lm, cache_bytes, share=share, files=files)
        self.states, self.calls_for = lm.bank.frozen_states()
        self.negatives = negatives and len(self.states) > 0

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """The fresh rows of each table."""
        return [table.fresh for table in self.lm.read.tables]

    @property
    def groups(self) -> Sequence[Group]:
        """One group at the rate of the run."""
        return [Group(self.parameters)]

    @property
    def usage(self) -> Usage | None:
        """The use of the prefix cache so far; None on the plain path."""
        return self.cache.usage if self.frozen_prefix else None

    def begin(self, train: Sequence[Encoded], validation: Sequence[Encoded]) -> None:
        """Plans the prefixes; takes the plain path if the backbone keeps a recurrent state.

        Raises:
            TrainingError: there are no examples or no fresh rows, a target lies inside a frozen prefix, or a
                prefix is empty.
        """
        fresh = len(self.lm.read.fresh_names)
        if not train or not fresh:
            raise TrainingError(
                f"{len(train)} examples and {fresh} trainable procedures",
                "at least one of each",
                "add procedures to the bank before training (rows of earlier stages stay frozen)",
            )
        given = (*train, *validation)
        bare = next((e for e in given if not e.prefix), None)
        if bare is not None and self.frozen_prefix:
            raise TrainingError(
                f"example {bare.id!r} begins with its first memory token",
                "at least one token before it",
                "set frozen_prefix=False: nothing stands before the memory tokens to be read once",
            )
        early = next((e for e in given if any(e.supervised[: e.prefix])), None)
        if early is not None and self.frozen_prefix:
            raise TrainingError(
                f"example {early.id!r} has targets before its first memory token",
                "targets in memory tokens and responses only",
                "set frozen_prefix=False: such a loss needs the plain path",
            )
        if self.frozen_prefix and is_recurrent(self.lm.model):
            self.frozen_prefix = False
            logger.warning(
                "%s keeps a recurrent state: training takes the plain path", type(self.lm.model).__name__
            )
        if self.frozen_prefix:
            self.cache.begin([*train, *validation])

    def losses(self, pieces: Sequence[Piece]) -> Iterator[LossSum]:
        """Yields Eq. 3 for the micro-batches of one optimizer step, with the negatives if there are any.

        With frozen prefixes, as many micro-batches as suit the device go through the model together; one sum
        stands for them.
        """
        if not self.frozen_prefix:
            for piece in pieces:
                for number, part in enumerate(portions(piece.examples, self.lm.device)):
                    loss = self.score(part, *plain_states(self.lm, part))
                    yield loss if number else self._with_negatives(loss, [piece])
            return
        for chosen in self._merged([p.examples for p in pieces]):
            some = [pieces[i] for i in chosen]
            examples = [e for p in some for e in p.examples]
            prefixes = [x for p in some for x in self._prefixes(p)]
            loss = self.score(examples, *frozen_prefix_states(self.lm, examples, prefixes))
            yield self._with_negatives(loss, some)

    def weight(self, examples: Sequence[Encoded]) -> float:
        """The number of their supervised tokens."""
        return supervised_tokens(examples)

    def score(self, examples: Sequence[Encoded], hidden: Tensor, tokens: Tensor) -> LossSum:
        """The summed loss of examples, from the states (N, d) before their N supervised tokens."""
        return memory_loss(self.lm.head, hidden, tokens)

    def _merged(self, parts: Sequence[Sequence[Encoded]]) -> list[list[int]]:
        """Groups parts that go through the model together, by their lengths, the bank and the device.

        A group has at most four times the tokens that suit the device, at most an eighth of them in suffixes,
        and at most `MAX_LOGITS` logits of memory tokens. A single part may exceed this.
        """
        most, rows = 4 * suitable_tokens(self.lm), len(self.lm.bank)
        costs = []
        for part in parts:
            suffix = sum(len(e.ids) - e.prefix for e in part)
            logits = rows * sum(sum(e.supervised) for e in part)
            costs.append(max(sum(len(e.ids) for e in part), 8 * suffix, -(-most * logits // MAX_LOGITS)))
        return pack(costs, most)

    def _prefixes(self, piece: Piece) -> list[Prefix]:
        states = self.cache.window(piece.key, piece.window, keep=piece.again)
        return [states[i] for i in piece.places]

    def _with_negatives(self, loss: LossSum, pieces: Sequence[Piece]) -> LossSum:
        if not self.negatives:
            return loss
        earlier = [self._earlier(p.turns or range(len(p.examples)), p.draw) for p in pieces]
        return replace(loss, total=loss.total + torch.stack(earlier).sum())

    def _earlier(self, turns: Sequence[int], draw: tuple[int, int]) -> Tensor:
        """The summed routing loss of query states that are drawn for the given examples of a micro-batch."""
        rng = stream(self.seed, "negatives", *draw)
        drawn = [rng.randrange(len(self.states)) for _ in range(max(turns) + 1)]
        chosen = on_device([drawn[turn] for turn in turns], self.lm.device)
        states = self.states.to(self.lm.device)[chosen].to(self.lm.model.dtype)
        return memory_loss(self.lm.head, states, self.calls_for.to(self.lm.device)[chosen]).total

    def after_step(self) -> None:
        """Rescales the new rows, if `renorm` is set."""
        if self.renorm:
            self.lm.bank.renorm()

    def validation(self, examples: Sequence[Encoded], size: int, window: int) -> Iterator[LossSum]:
        """Yields Eq. 3 on held-out examples, window by window."""
        for start in range(0, len(examples), window):
            held = examples[start : start + window]
            if self.frozen_prefix:
                states = self.cache.window(("validation", start), held)
                for chosen in self._merged([[e] for e in held]):
                    some = [held[i] for i in chosen]
                    prefixes = [states[i] for i in chosen]
                    yield self.score(some, *frozen_prefix_states(self.lm, some, prefixes))
                continue
            for part in (held[i : i + size] for i in range(0, len(held), size)):
                yield self.score(part, *plain_states(self.lm, part))

    def identity(self) -> tuple[Mapping[str, Any], Sequence[Tensor]]:
        """The fingerprint of the backbone, and every row."""
        rows = [part for table in self.lm.read.tables for part in (table.frozen, table.fresh)]
        facts = {"backbone": fingerprint(self.lm.model), "renorm": self.renorm, "negatives": self.negatives}
        return facts, [*rows, self.states] if self.negatives else rows

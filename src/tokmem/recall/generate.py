"""Recall: generates turns for prompts.

One prefill routes a prompt; the response is decoded from the keys and values of that prefill. If the backbone
can be packed, prompts are read without padding, shared beginnings are read once, and a waiting prompt takes
the place of a finished one. Otherwise padded batches of similar length run one after the other. Other prompts
change the states of a prompt only by the rounding of matrix products.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tokmem.errors import ConfigError, RecallError
from tokmem.log import progress
from tokmem.model.backbone import is_recurrent, most_positions
from tokmem.model.memory_lm import MemoryLM
from tokmem.model.prefix import suitable_tokens
from tokmem.recall.constrained import Guides
from tokmem.recall.padded import decode_padded
from tokmem.recall.parse import split_turns
from tokmem.recall.prompts import PromptReader
from tokmem.recall.rows import Row
from tokmem.recall.running import decode_running
from tokmem.recall.settings import RecallSettings
from tokmem.recall.writer import Writer
from tokmem.records import Forced, Route
from tokmem.seeds import stream


@dataclass
class Generation:
    """The generated ids of one prompt.

    Attributes:
        text: ids before the first memory token.
        turns: (procedure, response ids) of each turn.
        route: the route of the prompt; None with an empty bank.
        finished: whether a stop token ended the generation.
        routes: for each turn the route that chose its memory token.
    """

    text: list[int]
    turns: list[tuple[str, list[int]]]
    route: Route | None
    finished: bool
    routes: list[Route]


class Recaller:
    """Generates for many prompts.

    Args:
        lm: the backbone and its bank.
        stops: ids that end a response.
        settings: how to recall.
        guides: grammars of the procedures' responses; required if `settings.guided`.

    Raises:
        RecallError: the backbone keeps a recurrent state, which padding would change, and `batch_size` is
            above 1.
        ConfigError: the settings ask for constrained recall, but there are no guides.
    """

    def __init__(
        self, lm: MemoryLM, stops: Sequence[int], settings: RecallSettings, guides: Guides | None = None
    ) -> None:
        if is_recurrent(lm.model) and settings.batch_size > 1:
            raise RecallError(
                f"{type(lm.model).__name__} keeps a recurrent state and batch_size is {settings.batch_size}",
                "batch_size 1 for such a backbone",
            )
        if settings.guided and guides is None:
            raise ConfigError("constrained recall without guides", "the procedures' grammars", "give Guides")
        self.lm, self.settings = lm, settings
        self._positions = most_positions(lm.model)
        self._writer = Writer(lm, frozenset(stops), settings, guides if settings.guided else None)
        self._forced_ids = frozenset(i for ids in lm.bank.memory.values() for i in ids[1:])

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        procedures: Sequence[Sequence[Forced]] | None = None,
        *,
        limits: Sequence[int] | None = None,
        desc: str = "recall",
    ) -> list[Generation]:
        """Generates for each prompt, in order.

        Args:
            prompts: token ids of each prompt, which end where its first memory token will stand.
            procedures: for each prompt the procedures to force. The first opens the response; each later one
                comes when the model would recall a procedure or stop. Those of a tuple come one right after
                the other, before one response. If none is given, no memory token is written. None lets the
                model choose.
            limits: for each prompt the most tokens to write, at least 1; `max_new_tokens` applies too.
            desc: text beside the progress bar.

        Raises:
            BankError: a forced procedure is not in the bank.
            RecallError: the number of prompts differs from that of `procedures` or `limits`, a limit is below
                1, or a prompt is longer than the positions that the backbone has learned.
        """
        if procedures is not None and len(procedures) != len(prompts):
            raise RecallError(
                f"procedures for {len(procedures)} of {len(prompts)} queries",
                "a sequence of procedures for each query",
            )
        if limits is not None and len(limits) != len(prompts):
            raise RecallError(f"{len(limits)} limits for {len(prompts)} queries", "a limit for each query")
        if limits is not None and min(limits, default=1) < 1:
            raise RecallError(f"a limit of {min(limits)} tokens", "at least 1", "raise it")
        rows = [
            self._row(
                index,
                prompt,
                None if procedures is None else procedures[index],
                None if limits is None else limits[index],
            )
            for index, prompt in enumerate(prompts)
        ]
        with torch.inference_mode(), progress(len(prompts), desc, unit="query") as bar:
            for done in self._decode(rows):
                bar.update(done)
        return [self._result(row) for row in rows]

    def stream(
        self, prompt: Sequence[int], procedures: Sequence[Forced] | None = None
    ) -> Iterator[Generation]:
        """Generates for one prompt. Yields what has been written so far, after each token.

        Args:
            prompt: token ids of the prompt, which ends where its first memory token will stand.
            procedures: procedures to force, as in a call of the recaller.

        Raises:
            BankError: a forced procedure is not in the bank.
            RecallError: the prompt is longer than the positions that the backbone has learned.
        """
        row = self._row(0, prompt, procedures)
        steps = self._decode([row])
        while True:
            with torch.inference_mode():  # not around the yield: the caller must not inherit the mode
                if next(steps, None) is None:
                    return
            yield self._result(row)

    def _row(
        self,
        index: int,
        prompt: Sequence[int],
        procedures: Sequence[Forced] | None = None,
        limit: int | None = None,
    ) -> Row:
        """Makes the row of a prompt; `index` is the prompt's place among all prompts."""
        room, positions = self.settings.max_new_tokens, self._positions
        if positions is not None and len(prompt) > positions:
            raise RecallError(
                f"a prompt of {len(prompt)} tokens",
                f"at most {positions}: the backbone has learned no more positions",
                "shorten it, or set a smaller max_length",
            )
        if positions is not None:  # the last token is written and not read
            room = min(room, positions - len(prompt) + 1)
        for forced in procedures or ():
            for name in (forced,) if isinstance(forced, str) else forced:
                self.lm.bank.slots.ids(name)  # refuses an unknown one before anything is generated
        return Row(
            tuple(prompt),
            room if limit is None else min(room, limit),
            stream(self.settings.seed, "recall", index),
            None if procedures is None else deque(procedures),
        )

    def _decode(self, rows: Sequence[Row]) -> Iterator[int]:
        """Decodes every row. Yields after each step how many have finished in it."""
        longest = self.lm.longest_packed if self.settings.continuous else 0
        fits = [len(row.prompt) + row.most <= longest for row in rows]
        packed = sorted((row for row, fit in zip(rows, fits, strict=True) if fit), key=lambda row: row.prompt)
        size, share = self.settings.batch_size, self.settings.shared_prefixes
        reader = PromptReader(self.lm, [row.prompt for row in packed], share, suitable_tokens(self.lm))
        yield from decode_running(self.lm, self._writer, packed, reader, size)
        padded = sorted(
            (row for row, fit in zip(rows, fits, strict=True) if not fit), key=lambda row: len(row.prompt)
        )
        for start in range(0, len(padded), size):
            yield from decode_padded(self.lm, self._writer, padded[start : start + size])

    def _result(self, row: Row) -> Generation:
        text, turns = split_turns(row.ids, self._writer.heads, self._forced_ids)
        return Generation(text, turns, row.route, row.finished, row.routes)

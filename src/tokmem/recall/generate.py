"""Recall: prompts in, generated turns out.

One prefill routes a prompt, and its response is decoded from the keys and values of that prefill. Where the
backbone allows it, prompts are read without padding, what they begin with alike is read once, and a finished
row gives its place to a waiting prompt; else padded batches of similar length run one after the other. A
prompt's answer hangs on the prompts beside it by no more than the rounding of the matrix products.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tokmem.errors import ConfigError, RecallError
from tokmem.log import progress
from tokmem.model.backbone import is_recurrent
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
from tokmem.records import Route
from tokmem.seeds import stream


@dataclass
class Generation:
    """What was generated for one prompt.

    Attributes:
        text: ids before the first memory token.
        turns: (procedure, response ids).
        route: how the prompt was routed; None with an empty bank.
        finished: whether a stop token ended it.
        routes: how each turn's memory token was chosen, one a turn.
    """

    text: list[int]
    turns: list[tuple[str, list[int]]]
    route: Route | None
    finished: bool
    routes: list[Route]


class Recaller:
    """Generates for many prompts.

    Args:
        lm: backbone and bank.
        stops: ids that end a response.
        settings: how to recall.
        guides: grammars of the procedures' responses; needed where `settings.guided`.

    Raises:
        RecallError: the backbone keeps a recurrent state, so that padded prompts cannot share a batch.
        ConfigError: recall is to be constrained, and there are no guides.
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
        self._writer = Writer(lm, frozenset(stops), settings, guides if settings.guided else None)
        self._forced_ids = frozenset(i for ids in lm.bank.memory.values() for i in ids[1:])

    def __call__(
        self,
        prompts: Sequence[Sequence[int]],
        procedures: Sequence[Sequence[str]] | None = None,
        *,
        limits: Sequence[int] | None = None,
        desc: str = "recall",
    ) -> list[Generation]:
        """Generates for each prompt, in order.

        Args:
            prompts: token ids up to where the first memory token will stand.
            procedures: procedures to force, a sequence a prompt: the first opens the response, each next one
                stands where the model would recall another or stop. None lets the model choose.
            limits: most tokens to write, at least 1, a number a prompt; the settings' limit holds beside it.
            desc: shown beside the progress bar.

        Raises:
            BankError: a forced procedure is not in the bank.
            RecallError: there are more or fewer prompts than sequences of procedures, or than limits.
        """
        if procedures is not None and len(procedures) != len(prompts):
            raise RecallError(
                f"procedures for {len(procedures)} of {len(prompts)} queries",
                "a sequence of procedures for each query",
            )
        if limits is not None and len(limits) != len(prompts):
            raise RecallError(f"{len(limits)} limits for {len(prompts)} queries", "a limit for each query")
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

    def stream(self, prompt: Sequence[int], procedures: Sequence[str] | None = None) -> Iterator[Generation]:
        """Generates for one prompt. Yields what has been written so far, after each token.

        Args:
            prompt: token ids up to where the first memory token will stand.
            procedures: procedures to force, as in a call of the recaller.

        Raises:
            BankError: a forced procedure is not in the bank.
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
        procedures: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Row:
        """A prompt under way; `index` is its place among the prompts."""
        most = self.settings.max_new_tokens
        return Row(
            tuple(prompt),
            most if limit is None else min(most, limit),
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

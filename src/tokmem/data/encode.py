"""Encodes examples as token ids: query, each turn's memory token and response, end of the turn (Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, cast, get_args

from tokmem.data.chat import Chat
from tokmem.data.fields import did_you_mean
from tokmem.errors import ConfigError, DataError
from tokmem.log import logger
from tokmem.records import Encoded, Example, Turn

PromptMode = Literal["instruction+query", "query"]


def as_mode(prompt: str) -> PromptMode:
    """Checks the name of a prompt mode.

    Raises:
        ConfigError: there is no such mode.
    """
    if prompt not in get_args(PromptMode):
        raise ConfigError(f"prompt={prompt!r}", "'instruction+query' or 'query'", "correct it")
    return cast(PromptMode, prompt)


def user_text(mode: PromptMode, instruction: str, query: str) -> str:
    """Returns the text of a user's turn in a prompt mode."""
    return query if mode == "query" or not instruction else f"{instruction}\n\n{query}"


class Encoder:
    """Turns examples into token ids, and marks the positions that the loss reads (Eqs. 2-3).

    Args:
        chat: the chat format of the backbone.
        memory: the ids of each procedure's memory token, by procedure name. If there are several, the model
            predicts the first, and the rest are forced.
        prompt: whether the user's text is the instruction and the query, or the query alone.
        max_length: the most tokens in a sequence; the end of a longer query is cut.
        ends: text behind each response of a procedure, by procedure name. The model learns to write it, and
            `response_of` takes it off an answer.

    Attributes:
        truncated: how many queries were cut so far.

    Raises:
        ConfigError: ``prompt`` is not a known mode, or ``max_length`` is not positive.
    """

    def __init__(
        self,
        chat: Chat,
        memory: Mapping[str, tuple[int, ...]],
        *,
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
        ends: Mapping[str, str] | None = None,
    ) -> None:
        if max_length < 1:
            raise ConfigError(f"max_length={max_length}", "at least 1 token", "raise it")
        self.chat = chat
        self.memory = memory
        self.mode = as_mode(prompt)
        self.max_length = max_length
        self.ends = ends or {}
        self.truncated = 0
        self._told = 0

    def prompt(self, example: Example) -> list[int]:
        """Returns the ids up to the memory token, at most ``max_length`` of them.

        Raises:
            DataError: the query is empty, or cannot be cut short enough.
        """
        return self._prompt(example, body=0)

    def encode_prompt(self, example: Example) -> Encoded:
        """Encodes the prompt alone, which holds no target of the loss.

        Raises:
            DataError: as :meth:`prompt`.
        """
        ids = self.prompt(example)
        return Encoded(ids=tuple(ids), supervised=(False,) * len(ids), prefix=len(ids), id=example.id)

    def encode(self, example: Example) -> Encoded:
        """Encodes the whole sequence; the loss reads memory tokens (first ids), responses and the tail.

        Raises:
            DataError: the query is empty, there is no turn, a procedure has no memory token, or the sequence
                cannot be cut short enough.
        """
        body: list[int] = []
        supervised: list[bool] = []
        for turn in _with_turns(example).turns:
            memory = self._memory_ids(turn.procedure, example)
            response = self.response_ids(turn)
            body += [*memory, *response]
            supervised += [True] + [False] * (len(memory) - 1) + [True] * len(response)
        body += self.chat.tail
        supervised += [True] * len(self.chat.tail)
        prompt = self._prompt(example, len(body))
        return Encoded(
            ids=(*prompt, *body),
            supervised=(*[False] * len(prompt), *supervised),
            prefix=len(prompt),
            id=example.id,
        )

    def encode_all(self, examples: Iterable[Example]) -> list[Encoded]:
        """Encodes examples, and reports how many were cut."""
        encoded = [self.encode(example) for example in examples]
        self.report_cuts()
        return encoded

    def response_ids(self, turn: Turn) -> list[int]:
        """The ids that the model writes after a turn's memory token: the response, and the text behind it.

        Behind an empty response there is none: the turn shares that of a later one.
        """
        if not turn.response:
            return []
        return self.chat.text_ids(turn.response + self.ends.get(turn.procedure, ""))

    def response_of(self, procedure: str, written: str, *, whole: bool = True) -> str:
        """Takes the text behind a response off what was written; `whole` is False while more may come."""
        end = self.ends.get(procedure, "")
        sizes = (len(end),) if whole else range(len(end), 0, -1)
        begun = next((end[:size] for size in sizes if size and written.endswith(end[:size])), "")
        return written.removesuffix(begun)

    def encode_plain(self, example: Example) -> Encoded:
        """Encodes the sequence without memory tokens: the prompt, the first turn's response, then the tail.

        Raises:
            DataError: as :meth:`encode`, memory tokens aside.
        """
        body = [*self.chat.text_ids(_with_turns(example).turns[0].response), *self.chat.tail]
        prompt = self._prompt(example, len(body))
        ids = (*prompt, *body)
        supervised = (*[False] * len(prompt), *[True] * len(body))
        return Encoded(ids=ids, supervised=supervised, prefix=len(ids), id=example.id)

    def _memory_ids(self, procedure: str, example: Example) -> tuple[int, ...]:
        ids = self.memory.get(procedure, ())
        if not ids:
            raise DataError(
                f"example {_name(example)}: no memory token for procedure {procedure!r}"
                f"{did_you_mean(procedure, self.memory)}",
                "a procedure of the bank",
                "add the procedure to the bank, or correct its name",
            )
        return ids

    def report_cuts(self) -> None:
        """Warns of the queries that were cut since the last report."""
        if cut := self.truncated - self._told:
            logger.warning("%d queries were cut to fit %d tokens", cut, self.max_length)
        self._told = self.truncated

    def length(self, example: Example) -> int:
        """Counts the tokens of the whole prompt, with nothing cut.

        Raises:
            DataError: the query is empty.
        """
        user, demonstrations = self._texts(example)
        return len(self.chat.prompt_ids(user, demonstrations))

    def user_text(self, instruction: str, query: str) -> str:
        """Returns the text of a user's turn in this prompt mode."""
        return user_text(self.mode, instruction, query)

    def _texts(self, example: Example) -> tuple[list[int], list[tuple[list[int], list[int]]]]:
        """Encodes the user's text, and each demonstration's query and response."""
        if not example.query.strip():
            raise DataError(f"example {_name(example)}: empty query", "some text", "remove the example")
        demonstrations = []
        for shown in example.demonstrations:
            instruction = example.instruction if shown.instruction is None else shown.instruction
            query = self.chat.text_ids(self.user_text(instruction, shown.query))
            demonstrations.append((query, self.chat.text_ids(shown.response)))
        return self.chat.text_ids(self.user_text(example.instruction, example.query)), demonstrations

    def _prompt(self, example: Example, body: int) -> list[int]:
        """Encodes the prompt and cuts its query so that ``body`` more tokens fit after it."""
        user, demonstrations = self._texts(example)
        ids = self.chat.prompt_ids(user, demonstrations)
        excess = len(ids) + body - self.max_length
        if excess <= 0:
            return ids
        instruction = len(user) - len(self.chat.text_ids(example.query)) if self.mode != "query" else 0
        if len(user) - excess <= max(instruction, 0):
            raise DataError(
                f"example {_name(example)}: {len(ids)} prompt tokens ({len(user)} of them the user's text, "
                f"{instruction} the instruction), {body} tokens after it: {excess} over max_length "
                f"{self.max_length}",
                "at least one token of the query left after cutting",
                "raise max_length, show fewer demonstrations, or leave the example out",
            )
        self.truncated += 1
        return self.chat.prompt_ids(user[: len(user) - excess], demonstrations)


def _with_turns(example: Example) -> Example:
    if not example.turns:
        raise DataError(f"example {_name(example)}: no turns", "a procedure and its response", "add a turn")
    return example


def _name(example: Example) -> str:
    return repr(example.id) if example.id else f"with query {example.query[:40]!r}"

"""The records that flow through the system. All are frozen; none knows a model or a tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Procedure:
    """A reusable skill that one entry of the bank stands for.

    Attributes:
        name: unique within a bank.
        description: what it does, in a sentence; may start the memory token and names it to people.
        parameters: JSON schema of its arguments, for tools.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Turn:
    """One procedure and its response."""

    procedure: str
    response: str


@dataclass(frozen=True)
class Call:
    """A tool and the arguments it is called with.

    Attributes:
        name: of the tool, which is a procedure.
        arguments: values by argument name, as JSON gives them.
    """

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ParsedCall:
    """What was read as a call.

    Attributes:
        call: the call; None where no JSON object of arguments could be read.
        name: of the tool; empty where none could be read.
        text: as it was written.
        error: why it is no call, or why the tool's schema refuses its arguments; None where it is valid.
    """

    call: Call | None
    name: str
    text: str
    error: str | None = None


@dataclass(frozen=True)
class Demonstration:
    """A solved query that stands before another one in a prompt.

    Attributes:
        query: the user's text.
        response: what was answered.
        instruction: stands before the demonstration's query; None takes that of the example it is shown for.
    """

    query: str
    response: str
    instruction: str | None = None


@dataclass(frozen=True)
class Example:
    """A query and the turns that answer it.

    Attributes:
        query: the user's text.
        turns: procedures and responses, in order; at least one for training.
        instruction: what the procedure asks for in words; may be empty.
        references: every acceptable response of the first turn; empty means its response alone.
        demonstrations: solved queries to show before this one (few-shot).
        id: stable name of the example within its corpus.
    """

    query: str
    turns: tuple[Turn, ...] = ()
    instruction: str = ""
    references: tuple[str, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    id: str = ""

    @property
    def accepted(self) -> tuple[str, ...]:
        """The responses that count as right for the first turn."""
        return self.references or tuple(turn.response for turn in self.turns[:1])


@dataclass(frozen=True)
class Encoded:
    """An example as token ids (Eq. 2).

    Attributes:
        ids: the whole sequence, from the template's first token to the end of the last turn.
        supervised: for each position, whether its token is a target of the loss (Eq. 3).
        prefix: how many tokens stand before the first memory token (all of them where there is none).
        id: the example's id.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    prefix: int
    id: str = ""


@dataclass(frozen=True)
class Choice:
    """A candidate procedure for a query and its probability among memory tokens (Eq. 4)."""

    procedure: str
    probability: float


@dataclass(frozen=True)
class Route:
    """Where a query was routed.

    Attributes:
        choices: the top-k procedures, the most probable first (Eq. 4).
        rejected: whether no procedure fits: by its fit where there is one, else whether the argmax over the
            whole vocabulary is no memory token.
        memory_mass: probability of all memory tokens together, against the whole vocabulary.
        fit: how well the nearest procedure fits, at most 1, where addresses are computed from statistics:
            1 - d_m^2 / d_0^2 with the Mahalanobis distances to its mean and to the common one; else None.
    """

    choices: tuple[Choice, ...]
    rejected: bool
    memory_mass: float
    fit: float | None = None

    @property
    def procedure(self) -> str:
        """The most probable procedure."""
        return self.choices[0].procedure


@dataclass(frozen=True)
class Answer:
    """What recall made of a query.

    Attributes:
        query: the user's text.
        turns: recalled procedures and their responses, in order; empty where the query was rejected.
        text: plain text before the first memory token (the whole response where the query was rejected).
        route: how the first memory token was chosen, or whose demonstrations were found; None where nothing
            was asked which procedure it is.
        finished: whether the end of the turn was reached within the allowed new tokens.
        prompt_tokens: length of the prompt in tokens.
        routes: how each turn's memory token was chosen, one a turn (where it was forced: how it would have
            been); empty where nothing was recorded.
    """

    query: str
    turns: tuple[Turn, ...] = ()
    text: str = ""
    route: Route | None = None
    finished: bool = True
    prompt_tokens: int = 0
    routes: tuple[Route, ...] = ()

    @property
    def response(self) -> str:
        """The first turn's response, or the plain text where there is no turn."""
        return self.turns[0].response if self.turns else self.text


_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols without any ink
_INVISIBLE_KINDS = ("Cc", "Cf", "Cs", "Me", "Mn", "Zl", "Zp", "Zs")


def has_visible_text(text: str) -> bool:
    """Returns whether a text shows anything; blanks, controls and characters of zero width do not."""
    return any(c not in _INVISIBLE and unicodedata.category(c) not in _INVISIBLE_KINDS for c in text)

"""The records that flow through the system. All are frozen; none refers to a model or a tokenizer."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

from tokmem.errors import DataError
from tokmem.strict_json import parse_json


@dataclass(frozen=True)
class Procedure:
    """A reusable skill; one entry of the bank stands for it.

    Attributes:
        name: name, unique within a bank.
        description: a sentence that says what it does. A memory token may start from it.
        parameters: JSON schema of the arguments of a tool.
        joins: whether it is a composition token.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    joins: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _require_text(self, "name", "description")

    def renamed(self, old: str, new: str) -> Procedure:
        """Replaces its name by `new` if it is `old`."""
        return replace(self, name=new) if self.name == old else self

    def among(self, names: Collection[str]) -> Procedure:
        """Returns the procedure as a bank of only these procedures holds it."""
        return self


@dataclass(frozen=True)
class Composition(Procedure):
    """A composition token: it joins the procedures before it, and no query chooses it.

    Attributes:
        pairs: the procedures that it has learned to join, two or more together.
    """

    pairs: tuple[tuple[str, ...], ...] = ()
    joins: ClassVar[bool] = True

    def renamed(self, old: str, new: str) -> Procedure:
        """Replaces the name `old` by `new`, as its own name and in its pairs.

        A pair that would name a procedure twice goes: one of its procedures was removed before.
        """
        pairs = (tuple(new if name == old else name for name in pair) for pair in self.pairs)
        kept = tuple(pair for pair in pairs if len({*pair}) == len(pair))
        return replace(self, name=new if self.name == old else self.name, pairs=kept)

    def among(self, names: Collection[str]) -> Procedure:
        """Forgets pairs whose procedures are not all there: others may take their names."""
        return replace(self, pairs=tuple(pair for pair in self.pairs if {*pair} <= {*names}))

    def joins_any_of(self, names: Collection[str]) -> bool:
        """Whether procedures that it has learned to join are all among `names`."""
        return any({*pair} <= {*names} for pair in self.pairs)


# A procedure that recall is told to use; several together share one response, which follows their tokens.
Forced: TypeAlias = str | tuple[str, ...]


@dataclass(frozen=True)
class Turn:
    """One procedure and its response."""

    procedure: str
    response: str

    def __post_init__(self) -> None:
        _require_text(self, "procedure", "response")


@dataclass(frozen=True)
class Call:
    """A tool and the arguments it is called with.

    Attributes:
        name: name of the tool, which is a procedure.
        arguments: JSON values by argument name.
    """

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ParsedCall:
    """The result of parsing a call.

    Attributes:
        call: the call; None if no JSON object of arguments could be read.
        name: name of the tool; empty if none could be read.
        text: the text of the call.
        error: why the text is no call, or why the tool's schema refuses the arguments; None if it is valid.
    """

    call: Call | None
    name: str
    text: str
    error: str | None = None


@dataclass(frozen=True)
class Demonstration:
    """A solved query that a prompt shows before another query.

    Attributes:
        query: the user's text.
        response: the answer.
        instruction: text before the demonstration's query; None takes the instruction of the example.
    """

    query: str
    response: str
    instruction: str | None = None


@dataclass(frozen=True)
class Example:
    """A query and the turns that answer it.

    Attributes:
        query: the user's text.
        turns: procedures and responses, in order; training needs at least one.
        instruction: the request of the procedure in words; may be empty.
        references: all acceptable responses of the first turn; empty accepts only its response.
        demonstrations: solved queries to show before this one (few-shot).
        id: stable name of the example within its corpus.
    """

    query: str
    turns: tuple[Turn, ...] = ()
    instruction: str = ""
    references: tuple[str, ...] = ()
    demonstrations: tuple[Demonstration, ...] = ()
    id: str = ""

    def __post_init__(self) -> None:
        _require_text(self, "query", "instruction", "id")

    @property
    def accepted(self) -> tuple[str, ...]:
        """The responses that count as correct for the first turn."""
        return self.references or tuple(turn.response for turn in self.turns[:1])


@dataclass(frozen=True)
class Encoded:
    """An example as token ids (Eq. 2).

    Attributes:
        ids: the whole sequence, from the first token of the template to the end of the last turn.
        supervised: for each position whether its token is a target of the loss (Eq. 3).
        prefix: number of tokens before the first memory token; all tokens if there is none.
        id: id of the example.
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
    """The route of a query.

    Attributes:
        choices: the top-k procedures, the most probable first (Eq. 4).
        rejected: whether no procedure fits. The fit decides if there is one; otherwise whether the argmax
            over the whole vocabulary is an ordinary token.
        memory_mass: probability of all memory tokens together, under the whole vocabulary.
        fit: how well the nearest procedure fits, at most 1, if addresses are computed from statistics:
            1 - d_m^2 / d_0^2 with the Mahalanobis distances to its mean and to the common mean; else None.
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
    """The answer to a query.

    Attributes:
        query: the user's text.
        turns: recalled procedures and their responses, in order. Empty if the query was rejected, except that
            in chain mode a response may still call a procedure later.
        text: plain text before the first memory token; the whole response if there is none.
        route: the route that chose the first memory token, or the procedure of the retrieved demonstrations;
            None if the method does not route.
        finished: whether the response ended within the allowed new tokens.
        prompt_tokens: length of the prompt in tokens.
        routes: for each turn the route that chose its memory token, or would have chosen it if the token was
            forced; empty if none was recorded.
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
        """The response of the first turn that has one, or the plain text if there is no turn."""
        return next((t.response for t in self.turns if t.response), "") if self.turns else self.text

    def __str__(self) -> str:
        """The response; of several turns, the transcript."""
        return self.response if len(self.turns) < 2 else self.transcript

    @property
    def transcript(self) -> str:
        """A line for each turn, with its procedure and response; the plain text if there is no turn."""
        return "\n".join(f"{turn.procedure}: {turn.response}" for turn in self.turns) or self.text

    @property
    def procedure(self) -> str | None:
        """The first recalled procedure; None if the query was rejected."""
        return self.turns[0].procedure if self.turns else None

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The most probable procedures of the first memory token, best first."""
        return self.route.choices if self.route else ()

    @property
    def probability(self) -> float | None:
        """Probability of the best procedure among memory tokens (Eq. 4); None without a route."""
        return self.route.choices[0].probability if self.route else None

    @property
    def rejected(self) -> bool:
        """Whether no procedure fits the query; `Route` says what decides."""
        return self.route is not None and self.route.rejected

    @property
    def memory_mass(self) -> float | None:
        """Probability of all memory tokens together against the whole vocabulary; None without a route."""
        return self.route.memory_mass if self.route else None

    @property
    def calls(self) -> tuple[Call, ...]:
        """The turns whose response is a JSON object, as calls of tools."""
        found = ((turn.procedure, _json_object(turn.response)) for turn in self.turns)
        return tuple(Call(name, arguments) for name, arguments in found if arguments is not None)


def _require_text(record: object, *names: str) -> None:
    """Refuses fields of a record that are no text."""
    for name in names:
        value = getattr(record, name)
        if not isinstance(value, str):
            got = f"{type(record).__name__}.{name} is {type(value).__name__} {value!r:.40}"
            raise DataError(got, "text", "write it as a string")


def _json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is, or None."""
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols without any ink
_INVISIBLE_KINDS = ("Cc", "Cf", "Cs", "Me", "Mn", "Zl", "Zp", "Zs")


def has_visible_text(text: str) -> bool:
    """Returns whether a text shows anything; blanks, controls and characters of zero width do not."""
    return any(c not in _INVISIBLE and unicodedata.category(c) not in _INVISIBLE_KINDS for c in text)


def counted(number: int, what: str = "procedure") -> str:
    """Writes a number of things, such as "1 procedure" or "2 procedures"."""
    return f"{number} {what}{'' if number == 1 else 's'}"

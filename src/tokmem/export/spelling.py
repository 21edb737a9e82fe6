"""Spellings: the text that a memory token has in an exported vocabulary.

The text of a vocabulary row is free. A tool's memory token is spelled as the engines' own parsers of tool
calls expect the start of a call, so that nothing has to be installed beside an engine.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import quote, unquote

from tokmem.errors import ExportError
from tokmem.records import Procedure

SpellingName = Literal["mistral", "private"]
FREE_OPENS, FREE_CLOSES = "<|tokmem:", "|>"
LONGEST_TOOL, LONGEST = 64, 256  # letters; chat-completions clients take no longer name of a tool
_SAFE = "_-./:"


@dataclass(frozen=True)
class Spelling:
    """How tools are spelled: `opens`, the name, `closes`; the JSON object of the arguments follows.

    Attributes:
        name: name of the spelling.
        opens: text before a tool's name.
        closes: text after it.
    """

    name: SpellingName
    opens: str
    closes: str

    def spell(self, procedure: Procedure) -> str:
        """Spells the memory token of a procedure.

        Raises:
            ExportError: no engine can carry the name.
        """
        name, tool = escaped(procedure.name), is_tool(procedure)
        longest = LONGEST_TOOL if tool else LONGEST
        if len(name) > longest:
            raise ExportError(
                f"{procedure.name!r:.60}, a name of {len(name)} letters",
                f"at most {longest}" + (", which is what clients of engines accept" if tool else ""),
                "give it a shorter name: tokmem bank rename",
            )
        return f"{self.opens}{name}{self.closes}" if tool else f"{FREE_OPENS}{name}{FREE_CLOSES}"


SPELLINGS: Mapping[str, Spelling] = {
    "mistral": Spelling("mistral", "[TOOL_CALLS]", "[ARGS]"),
    "private": Spelling("private", "<|tokmem|>", "<|args|>"),
}


# A tool's name in any spelling: a group for each of the two.
_SPELLED = re.compile(
    "|".join(rf"{re.escape(s.opens)}([^\s\[\]<>|]+){re.escape(s.closes)}" for s in SPELLINGS.values())
)


def is_tool(procedure: Procedure) -> bool:
    """Whether a procedure is a tool: it has a schema of its arguments, and its response is a JSON object."""
    return procedure.parameters is not None


def escaped(name: str) -> str:
    """A name with only letters, digits and ``_-./:``; others are percent-encoded, so no two names meet."""
    return "".join(
        letter if letter.isalnum() or letter in _SAFE else quote(letter, safe="") for letter in name
    )


def unescaped(name: str) -> str:
    """The name that `escaped` wrote."""
    return unquote(name)


def spelled_calls(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Reads calls in a text, as an engine gives them that was asked without tools.

    Args:
        text: what the model wrote, with the texts of memory tokens in it.

    Returns:
        The text before the first call, and for each call the procedure's name and the text after it.
    """
    before, *calls = re.split(_SPELLED, text)
    names = (unescaped(one or other) for one, other in zip(calls[::3], calls[1::3], strict=True))
    return before, list(zip(names, calls[2::3], strict=True))


def choose_spelling(name: str | None, vocabulary: Container[str]) -> Spelling:
    """Finds a spelling by its name.

    Args:
        name: name of a spelling; None takes `mistral`, or `private` if the backbone itself has its markers.
        vocabulary: tokens of the backbone.

    Raises:
        ExportError: there is no such spelling, or the backbone gives its markers another meaning.
    """
    if name is None:
        name = "private" if SPELLINGS["mistral"].opens in vocabulary else "mistral"
    if name not in SPELLINGS:
        raise ExportError(f"spelling {name!r}", f"one of {', '.join(get_args(SpellingName))}")
    spelling = SPELLINGS[name]
    if spelling.opens in vocabulary:
        raise ExportError(
            f"spelling {name}, and a backbone whose own token is {spelling.opens}",
            "markers that the backbone does not use",
            "leave the spelling out: one that fits is chosen",
        )
    return spelling


def spell_all(
    procedures: Iterable[Procedure], spelling: Spelling, vocabulary: Container[str]
) -> dict[str, str]:
    """Spells the memory tokens of procedures.

    Args:
        procedures: procedures of a bank.
        spelling: how tools are spelled.
        vocabulary: tokens of the backbone.

    Returns:
        The text of each procedure's memory token, by the procedure's name.

    Raises:
        ExportError: no engine can carry a name, or a text is taken.
    """
    texts: dict[str, str] = {}
    for procedure in procedures:
        text = spelling.spell(procedure)
        if text in vocabulary:
            raise ExportError(
                f"procedure {procedure.name!r}, spelled {text}, which the backbone has as a token already",
                "a text that is free",
                "rename the procedure, or export over the backbone that has no memory tokens in it",
            )
        texts[procedure.name] = text
    return texts

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

from tokmem.data.calls.text import HERMES_END, CallStyle
from tokmem.errors import ExportError
from tokmem.records import Procedure

SpellingName = Literal["mistral", "hermes", "private"]
FREE_OPENS, FREE_CLOSES = "<|tokmem:", "|>"
LONGEST_TOOL, LONGEST = 64, 256  # letters; chat-completions clients take no longer name of a tool
_SAFE = "_-./:"


@dataclass(frozen=True)
class Spelling:
    """How tools are spelled: `opens`, the name, `closes`, the JSON object of the arguments, and `ends`.

    The memory token has the text up to the arguments. The model writes the rest: it must have learned `ends`.

    Attributes:
        name: name of the spelling.
        opens: text before a tool's name.
        closes: text after it.
        ends: text after the arguments.
    """

    name: SpellingName
    opens: str
    closes: str
    ends: str = ""

    def spell(self, procedure: Procedure) -> str:
        """Spells the memory token of a procedure.

        Raises:
            ExportError: no engine can carry the name.
        """
        name, tool = escaped(procedure.name), is_tool(procedure)
        longest = LONGEST_TOOL if tool else LONGEST
        if len(name) > longest:
            raise ExportError(
                f"{procedure.name!r:.60}, which is spelled with {len(name)} letters",
                f"at most {longest}" + (", which is what clients of engines accept" if tool else ""),
                "give it a shorter name: tokmem bank rename",
            )
        return f"{self.opens}{name}{self.closes}" if tool else f"{FREE_OPENS}{name}{FREE_CLOSES}"


SPELLINGS: Mapping[str, Spelling] = {
    "mistral": Spelling("mistral", "[TOOL_CALLS]", "[ARGS]"),
    "hermes": Spelling("hermes", '<tool_call>\n{"name": "', '", "arguments": ', HERMES_END),
    "private": Spelling("private", "<|tokmem|>", "<|args|>"),
}


NAME = r"[^\s\[\]<>|\"]+"  # a tool's name as it is spelled, for regular expressions
# A call's beginning in any spelling: a group for the name in each.
_SPELLED = re.compile(
    "|".join(rf"{re.escape(s.opens)}({NAME}){re.escape(s.closes)}" for s in SPELLINGS.values())
)


def is_tool(procedure: Procedure) -> bool:
    """Whether a procedure is a tool: it has a schema of its arguments, and its response is a JSON object."""
    return procedure.parameters is not None


def escaped(name: str) -> str:
    """Percent-encodes a name. ASCII letters, digits and ``_-./:~`` stay as they are.

    Different names stay different. Byte-level tokenizers would read other letters of an added token as bytes.
    """
    return quote(name, safe=_SAFE)


def unescaped(name: str) -> str:
    """The name that `escaped` wrote."""
    return unquote(name)


def spelled_calls(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Reads calls in a text, as an engine gives them that was asked without tools.

    Args:
        text: what the model wrote, with the texts of memory tokens in it.

    Returns:
        The text before the first call, and for each call the procedure's name and its arguments.
    """
    starts = list(_SPELLED.finditer(text))
    bounds = [*(match.start() for match in starts), len(text)]
    calls = []
    for match, stop in zip(starts, bounds[1:], strict=True):
        spelled = zip(SPELLINGS.values(), match.groups(), strict=True)
        spelling, name = next((spelling, name) for spelling, name in spelled if name)
        calls.append((unescaped(name), text[match.end() : stop].strip().removesuffix(spelling.ends)))
    return text[: bounds[0]], calls


def choose_spelling(name: str | None, vocabulary: Container[str], style: CallStyle = "plain") -> Spelling:
    """Finds a spelling by its name.

    Args:
        name: name of a spelling; None takes that of the calls' style: `hermes`, or `mistral`, or `private` if
            the backbone itself has the markers of `mistral`.
        vocabulary: tokens of the backbone.
        style: how the bank's calls end.

    Raises:
        ExportError: there is no such spelling, the backbone gives its markers another meaning, or the bank's
            calls end otherwise.
    """
    if name is None:
        plain = "private" if SPELLINGS["mistral"].opens in vocabulary else "mistral"
        name = "hermes" if style == "hermes" else plain
    if name not in SPELLINGS:
        raise ExportError(f"spelling {name!r}", f"one of {', '.join(get_args(SpellingName))}")
    spelling = SPELLINGS[name]
    if bool(spelling.ends) != (style == "hermes"):
        raise ExportError(
            f"spelling {name}, and a bank trained with call_style {style}",
            "hermes for banks of call_style hermes, and for no other",
            "train the bank with the call style that the spelling needs",
        )
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

"""Joins queries into one that reads well: a sentence each, with connectors between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tokmem.data.calls.xlam import XlamRow

_WORD = re.compile(r"[^\W\d_]+")
_FIRST_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_ENDED = re.compile(r"[.!?\u2026]['\"\u2019\u201d)]*$")
_QUESTION = re.compile(
    r"(what|who|where|why|how|which|whose|is|are|am|does|did|can|could|would|should"
    r"|(do|when) (i|is|does|do|you|we))\b",
    re.IGNORECASE,
)


class Joiner:
    """Joins the queries of rows.

    The place of a query decides whether its first letter is upper or lower case. Two kinds of first words
    stay as they are: words of an argument, which must be copied exactly, and names, which the corpus never
    writes in lower case.

    Args:
        queries: all queries of the corpus; their words tell which words are names.
    """

    def __init__(self, queries: Iterable[str]) -> None:
        self._small = {word for query in queries for word in _WORD.findall(query) if word.islower()}

    def join(self, rows: Sequence[XlamRow], connectors: Sequence[str]) -> str:
        """Joins the queries in order.

        Args:
            rows: rows with the queries.
            connectors: one fewer than rows, one to put before each query but the first.

        Returns:
            The joined query.
        """
        sentences = [_with_end_mark(self._with_first_letter(rows[0], large=True))]
        for row, connector in zip(rows[1:], connectors, strict=True):
            sentences.append(
                f"{connector.strip()} {_with_end_mark(self._with_first_letter(row, large=False))}"
            )
        return " ".join(sentences)

    def _with_first_letter(self, row: XlamRow, *, large: bool) -> str:
        match = _FIRST_WORD.match(row.query)
        if match is None or match[0] in _argument_words([call.arguments for call in row.calls]):
            return row.query
        word, rest = match[0], row.query[match.end() :]
        if large or re.match(r"i\b", word):
            return word[0].upper() + word[1:] + rest
        is_name = re.split("['\u2019]", word)[0].lower() not in self._small or word[1:] != word[1:].lower()
        return row.query if is_name or re.match(r"I\b", word) else word[0].lower() + word[1:] + rest


def _argument_words(value: Any) -> set[str]:
    """Collects the words of every text in the arguments."""
    if isinstance(value, str):
        return set(_FIRST_WORD.findall(value))
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(_argument_words, items))


def _with_end_mark(query: str) -> str:
    """Ends a query with a full stop or a question mark, unless it ends with a mark already."""
    if _ENDED.search(query):
        return query
    return query.rstrip(",;:- ") + ("?" if _QUESTION.match(query) else ".")

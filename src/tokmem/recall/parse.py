"""Splits generated ids into turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def split_turns(
    ids: Sequence[int], heads: Mapping[int, str], forced: frozenset[int]
) -> tuple[list[int], list[tuple[str, list[int]]]]:
    """Splits generated ids at memory tokens.

    Args:
        ids: generated ids, without the stop token.
        heads: maps the first memory id of each procedure to its name.
        forced: later ids of procedures several tokens wide; they are part of no response.

    Returns:
        the ids before the first memory token, and (procedure, response ids) of each turn.
    """
    text: list[int] = []
    turns: list[tuple[str, list[int]]] = []
    for token in ids:
        if token in heads:
            turns.append((heads[token], []))
        elif token not in forced:
            (turns[-1][1] if turns else text).append(token)
    return text, turns

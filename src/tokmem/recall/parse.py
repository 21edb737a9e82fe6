"""Generated ids back into turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def split_turns(
    ids: Sequence[int], heads: Mapping[int, str], forced: frozenset[int]
) -> tuple[list[int], list[tuple[str, list[int]]]]:
    """Splits generated ids at memory tokens.

    Args:
        ids: generated ids, without the stop token.
        heads: procedure of each first memory id.
        forced: later ids of wide procedures, which are not part of any response.

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

from __future__ import annotations

from tokmem.recall.parse import split_turns

HEADS, FORCED = {90: "a", 92: "b"}, frozenset({91})


def test_ids_split_at_memory_tokens() -> None:
    assert split_turns([90, 91, 5, 6, 92, 90, 91, 7], HEADS, FORCED) == (
        [],
        [("a", [5, 6]), ("b", []), ("a", [7])],
    )


def test_what_stands_before_the_first_memory_token_is_text() -> None:
    assert split_turns([5, 6, 92, 7], HEADS, FORCED) == ([5, 6], [("b", [7])])
    assert split_turns([5], HEADS, FORCED) == ([5], [])
    assert split_turns([], HEADS, FORCED) == ([], [])

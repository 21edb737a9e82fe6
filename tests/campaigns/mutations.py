"""Strategies that damage a file: its bytes, its length, or the structure of what it holds."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Changes = st.SearchStrategy[bytes]
DEEP: Any = None
for _ in range(300):
    DEEP = [DEEP]
# What a careless or a hostile writer would put in the place of any value.
JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 1 << 31, 1 << 63, -(1 << 70), 10**400, 1.5, -0.0, 1e308),
    *("", " ", "x", "0", "null", "\0", "\u200b", "\ud800", "../../x", "a" * 5000, "é", "<|im_end|>"),
    *([], {}, [None], [[]], [0, 0], ["", ""], {"": None}, {"x": {"y": [1]}}, DEEP, {"x": DEEP}),
)
TOKENS = (
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"{", b"}", b"[" * 2000, b'"', b",", b":", b"\\ud800"),
    *(b"NaN", b"1e999", b"-", b"9" * 5000, b"null", b"!!python/object:x", b"&a", b"*a", b"<<: ", b"\t"),
)


def damaged(whole: bytes) -> Changes:
    """One to four changes of bytes: some are replaced, inserted, removed or repeated."""
    place = st.integers(0, len(whole))
    change = st.tuples(
        st.sampled_from(("replace", "insert", "remove", "repeat")),
        place,
        st.one_of(st.integers(0, 16), place),
        st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from(TOKENS)),
    )
    return st.lists(change, min_size=1, max_size=4).map(lambda changes: _apply(whole, changes))


def cut(whole: bytes) -> Changes:
    """The beginning of a file."""
    return st.integers(0, max(len(whole) - 1, 0)).map(lambda length: whole[:length])


def _apply(data: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, start, length, new in changes:
        before, part, after = data[:start], data[start : start + length], data[start + length :]
        if kind == "replace":
            data = before + new + data[start + len(new) :]
        elif kind == "insert":
            data = before + new + part + after
        elif kind == "remove":
            data = before + after
        else:
            data = before + part + part + after
    return data


def altered(value: Any) -> st.SearchStrategy[Any]:
    """One to three changes of a JSON value: entries are replaced, removed, renamed, repeated or wrapped."""
    leaf = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8))
    any_value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
    change = st.tuples(
        st.integers(0, 1 << 20),
        st.sampled_from(("put", "put", "remove", "rename", "repeat", "wrap", "swap")),
        st.one_of(st.sampled_from(JUNK), any_value),
    )
    return st.lists(change, min_size=1, max_size=3).map(lambda changes: _altered(value, changes))


def _altered(value: Any, changes: list[tuple[int, str, Any]]) -> Any:
    root = [copy.deepcopy(value)]
    for number, kind, new in changes:
        places = _places(root)
        holder, key = places[number % len(places)]
        other, its_key = places[number // 7 % len(places)]
        if kind == "remove" and holder is not root:
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        elif kind == "repeat" and isinstance(holder, list) and holder is not root:
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == "wrap":
            holder[key] = [holder[key]]
        elif kind == "swap":
            holder[key] = copy.deepcopy(other[its_key])
        else:
            holder[key] = copy.deepcopy(new)
    return root[0]


def _places(root: list[Any]) -> list[tuple[Any, Any]]:
    """All pairs of a container and a key or index in it, however deep up to 50 levels."""
    found: list[tuple[Any, Any]] = []
    level: list[Any] = [root]
    for _ in range(50):
        inner = [(c, k) for c in level for k in (list(c) if isinstance(c, dict) else range(len(c)))]
        found += inner
        level = [c[k] for c, k in inner if isinstance(c[k], (dict, list))]
    return found


def as_json(value: Any) -> bytes:
    """JSON text, also of what JSON does not know, such as half of a surrogate pair."""
    return json.dumps(value).encode()


def json_file(whole: bytes) -> Changes:
    """Changes of a JSON file."""
    return _any(whole, altered(json.loads(whole)).map(as_json))


def json_lines(whole: bytes) -> Changes:
    """Changes of a file of JSON lines."""
    rows = [json.loads(line) for line in whole.splitlines()]
    lines = altered(rows).map(lambda new: new if isinstance(new, list) else [new])
    return _any(whole, lines.map(lambda new: b"\n".join(map(as_json, new))))


def safetensors_file(whole: bytes) -> Changes:
    """Changes of a safetensors file: a length, a header in JSON, numbers."""
    size = int.from_bytes(whole[:8], "little")
    header, rest = json.loads(whole[8 : 8 + size]), whole[8 + size :]

    def joined(new: Any) -> bytes:
        text = as_json(new)
        return len(text).to_bytes(8, "little") + text + rest

    return _any(whole, altered(header).map(joined))


def bytes_file(whole: bytes) -> Changes:
    """Changes of a file without a structure that is known here."""
    return _any(whole, damaged(whole))


def _any(whole: bytes, structured: Changes) -> Changes:
    """Half of the changes are of the structure, the others of bytes and length."""
    return st.one_of(structured, structured, damaged(whole), cut(whole))


FILES: dict[str, Callable[[bytes], Changes]] = {
    ".json": json_file,
    ".jsonl": json_lines,
    ".safetensors": safetensors_file,
}

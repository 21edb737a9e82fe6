"""The strict JSON reader: each refusal is a ValueError with a reason."""

from __future__ import annotations

import json

import pytest

from tokmem.strict_json import MAX_DEPTH, decode_utf8, nests_deeper, parse_json


def nested(depth: int) -> str:
    return '{"a":[' * (depth // 2) + "[" * (depth % 2) + "]" * (depth % 2) + "]}" * (depth // 2)


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, True, "é \U0001f600"]}, [], "x", 3])
def test_json_is_read_as_the_standard_module_reads_it(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert (
            parse_json(text)
            == parse_json(text.encode())
            == parse_json(b"\xef\xbb\xbf" + text.encode())
            == value
        )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no text"),
        (b" \n", "there is no text"),
        ("{", "Expecting property name"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("[1e999]", "the number 1e999 is too large"),
        ("1" * 5000, "digits"),
        ('[{"a": 1, "b": 2, "a": 3}]', "the key 'a' stands twice in one object"),
        (nested(MAX_DEPTH + 1), f"it nests deeper than {MAX_DEPTH} levels"),
        ("[" * 200_000, f"it nests deeper than {MAX_DEPTH} levels"),
        ('["\\ud83d"]', "half of a surrogate pair"),
        ('{"\\uDE00": 1}', "half of a surrogate pair"),
        ("[1]".encode("utf-16"), "the text is in UTF-16, not in UTF-8"),
        ("[1]".encode("utf-16-le"), "the text is in UTF-16, not in UTF-8"),
        ("[1]".encode("utf-16-be"), "the text is in UTF-16, not in UTF-8"),
        ("[1]".encode("utf-32"), "the text is in UTF-32, not in UTF-8"),
        (b'["\xe9"]', "byte 2 is not UTF-8"),
    ],
)
def test_other_text_is_refused_with_a_reason(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_values_may_nest_as_deep_as_the_limit_says() -> None:
    assert json.loads(nested(MAX_DEPTH)) == parse_json(nested(MAX_DEPTH))
    assert not nests_deeper([[1], 2], 2)
    assert nests_deeper({"a": {"b": []}}, 2)
    assert not nests_deeper(3, 0)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert decode_utf8("\ufeffä".encode()) == "ä"

"""The texts of memory tokens."""

from __future__ import annotations

import pytest

from tokmem.errors import ExportError
from tokmem.export.spelling import (
    SPELLINGS,
    Spelling,
    choose_spelling,
    escaped,
    spell_all,
    spelled_calls,
    unescaped,
)
from tokmem.records import Procedure

MISTRAL = SPELLINGS["mistral"]


def test_tools_begin_a_call_and_free_text_procedures_do_not() -> None:
    procedures = [Procedure("weather", parameters={}), Procedure("in_words")]
    assert spell_all(procedures, MISTRAL, ()) == {
        "weather": "[TOOL_CALLS]weather[ARGS]",
        "in_words": "<|tokmem:in_words|>",
    }
    assert SPELLINGS["private"].spell(procedures[0]) == "<|tokmem|>weather<|args|>"


def test_names_that_would_break_a_spelling_are_escaped_and_never_meet() -> None:
    names = ["a b", "a%20b", 'say "no"', "f[0]", "x|>y", "<|im_end|>", "zwölf", "math.add"]
    texts = [escaped(name) for name in names]
    assert len(set(texts)) == len(names)
    assert not set("".join(texts)) & set(' "[]<>|\\\n')
    assert (texts[0], texts[1], *texts[-2:]) == ("a%20b", "a%2520b", "zw%C3%B6lf", "math.add")
    assert [unescaped(text) for text in texts] == names


@pytest.mark.parametrize(("length", "parameters"), [(65, {}), (300, None)])
def test_a_long_name_is_refused(length: int, parameters: dict[str, object] | None) -> None:
    assert MISTRAL.spell(Procedure("n" * 64, parameters=parameters))
    with pytest.raises(ExportError, match="shorter name"):
        MISTRAL.spell(Procedure("n" * length, parameters=parameters))


def test_a_text_that_the_backbone_has_is_refused() -> None:
    with pytest.raises(ExportError, match="which the backbone has as a token already"):
        spell_all([Procedure("x")], MISTRAL, {"<|tokmem:x|>"})


def test_the_spelling_is_one_that_the_backbone_does_not_use() -> None:
    assert choose_spelling(None, {"a"}).name == "mistral"
    assert choose_spelling(None, {"[TOOL_CALLS]"}).name == "private"
    with pytest.raises(ExportError, match="whose own token"):
        choose_spelling("mistral", {"[TOOL_CALLS]"})
    with pytest.raises(ExportError, match="one of mistral, hermes, private"):
        choose_spelling("openai", ())


def test_hermes_needs_calls_that_learned_their_end() -> None:
    assert choose_spelling(None, (), "hermes").name == "hermes"
    with pytest.raises(ExportError, match="spelling hermes, and a bank trained with call_style plain"):
        choose_spelling("hermes", ())
    with pytest.raises(ExportError, match="spelling mistral, and a bank trained with call_style hermes"):
        choose_spelling("mistral", (), "hermes")


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=list(SPELLINGS))
def test_calls_in_a_text_are_read_back(spelling: Spelling) -> None:
    calls = [("a b", '{"c": {"d": 1}}'), ("e", "{}")]
    text = "".join(
        spelling.spell(Procedure(name, parameters={})) + arguments + spelling.ends
        for name, arguments in calls
    )
    assert spelled_calls(f"Well: {text}") == ("Well: ", calls)
    assert spelled_calls("Well.") == ("Well.", [])

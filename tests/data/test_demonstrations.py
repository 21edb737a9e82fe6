from __future__ import annotations

import logging

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tokmem.data import Chat, Encoder
from tokmem.data.demonstrations import demonstration, fit_demonstrations, only_turn, refuse_demonstrations
from tokmem.errors import DataError
from tokmem.records import Demonstration, Example, Turn

SHOWN = tuple(Demonstration(f"query {name}", f"response {name}") for name in "abc")
EXAMPLE = Example("which city?", (Turn("capital", "Paris"),), "name it", demonstrations=SHOWN)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(tiny_tokenizer(LLAMA))


def fitting(chat: Chat, count: int, drop: str) -> Encoder:
    """An encoder for whose prompts so many demonstrations are just short enough."""
    kept = SHOWN[:count] if drop == "last" else SHOWN[len(SHOWN) - count :]
    short = Example(EXAMPLE.query, instruction="name it", demonstrations=kept)
    return Encoder(chat, {}, max_length=Encoder(chat, {}).length(short))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("drop", ["first", "last"])
def test_as_many_are_kept_as_fit(chat: Chat, drop: str, count: int, caplog: pytest.LogCaptureFixture) -> None:
    encoder = fitting(chat, count, drop)
    with caplog.at_level(logging.WARNING, "tokmem"):
        (fitted,) = fit_demonstrations(encoder, [EXAMPLE], drop)
    assert fitted.demonstrations == (SHOWN[:count] if drop == "last" else SHOWN[3 - count :])
    assert (fitted.query, fitted.turns) == (EXAMPLE.query, EXAMPLE.turns)
    assert len(encoder.prompt(fitted)) == encoder.max_length
    assert encoder.truncated == 0
    assert (f"{3 - count} demonstrations of 1 queries" in caplog.text) == (count < 3)


def test_the_log_counts_over_all_queries(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    encoder = fitting(chat, 2, "last")
    bare = Example("which?", instruction="name it")
    with caplog.at_level(logging.WARNING, "tokmem"):
        fitted = fit_demonstrations(encoder, [EXAMPLE, bare, EXAMPLE], "last")
    assert fitted[1] is bare
    assert f"2 demonstrations of 2 queries were dropped to fit {encoder.max_length} tokens" in caplog.text


def test_a_query_that_is_too_long_by_itself_is_left_to_the_encoder(chat: Chat) -> None:
    bare = Encoder(chat, {}).length(Example(EXAMPLE.query, instruction="name it"))
    encoder = Encoder(chat, {}, max_length=bare - 1)
    (fitted,) = fit_demonstrations(encoder, [EXAMPLE], "last")
    assert fitted.demonstrations == ()
    assert len(encoder.prompt(fitted)) == bare - 1
    assert encoder.truncated == 1


def test_an_example_of_one_turn_is_a_demonstration() -> None:
    assert demonstration(EXAMPLE) == Demonstration("which city?", "Paris", None)
    assert demonstration(EXAMPLE, "say it").instruction == "say it"
    assert only_turn(EXAMPLE).procedure == "capital"
    for turns in ((), (Turn("a", "x"), Turn("b", "y"))):
        with pytest.raises(DataError, match=f"'which': {len(turns)} turns"):
            only_turn(Example("which", turns))


def test_demonstrations_of_the_corpus_are_refused() -> None:
    refuse_demonstrations([Example("which")])
    with pytest.raises(DataError, match=r"'which city\?': 3 demonstrations.*few_shot 0"):
        refuse_demonstrations([Example("which"), EXAMPLE])

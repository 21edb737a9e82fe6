"""The placement says where memory tokens stand; there they are not targets of the loss."""

from __future__ import annotations

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder
from tokmem.data.placement import PrefixEncoder, insert_memory, memory_position
from tokmem.errors import ConfigError, DataError
from tokmem.records import Encoded, Example, Turn

EXAMPLE = Example("France", (Turn("capital", "Paris"),), "a country", id="one")
MEMORY = {"capital": (900, 901)}


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(tiny_tokenizer(LLAMA))


@pytest.mark.parametrize(("placement", "at"), [("infix", 3), ("prefix", 1), ("before_bos", 0)])
def test_position(placement, at):
    assert memory_position(placement, [2, 7, 8], 2) == at


def test_without_a_bos_the_prefix_is_first():
    assert memory_position("prefix", [7, 8], 2) == 0
    assert memory_position("prefix", [7, 8], None) == 0


def test_inserted_tokens_are_no_targets():
    plain = Encoded((2, 7, 8, 9), (False, False, True, True), 2, "x")
    assert insert_memory(plain, (90, 91), 1) == Encoded(
        (2, 90, 91, 7, 8, 9), (False, False, False, False, True, True), 1, "x"
    )


@pytest.mark.parametrize(("placement", "at"), [("prefix", 1), ("before_bos", 0)])
def test_encoder_differs_from_the_plain_one_by_the_memory_alone(chat, placement, at):
    encoder, plain = PrefixEncoder(chat, MEMORY, placement=placement), Encoder(chat, {})
    assert plain.prompt(EXAMPLE)[0] == chat.bos
    encoded, without = encoder.encode(EXAMPLE), plain.encode_plain(EXAMPLE)
    assert encoded.prefix == at
    assert encoded.ids == (*without.ids[:at], 900, 901, *without.ids[at:])
    assert [i for i, on in zip(encoded.ids, encoded.supervised, strict=True) if on] == [
        i for i, on in zip(without.ids, without.supervised, strict=True) if on
    ]
    prompt = encoder.prompt(EXAMPLE)
    assert tuple(prompt) == encoded.ids[: len(prompt)]
    assert not any(encoded.supervised[: len(prompt)])
    assert encoded.supervised[len(prompt)]


def test_memory_counts_towards_the_length(chat):
    whole = len(PrefixEncoder(chat, MEMORY).encode(EXAMPLE).ids)
    encoder = PrefixEncoder(chat, MEMORY, max_length=whole - 1)
    assert len(encoder.encode(EXAMPLE).ids) == whole - 1
    assert encoder.truncated == 1


def test_what_cannot_be_placed_is_refused(chat):
    with pytest.raises(ConfigError, match="placement 'infix'"):
        PrefixEncoder(chat, MEMORY, placement="infix")
    encoder = PrefixEncoder(chat, MEMORY)
    with pytest.raises(DataError, match="2 turns"):
        encoder.encode(Example("q", EXAMPLE.turns * 2))
    with pytest.raises(DataError, match="names no procedure"):
        encoder.prompt(Example("q", id="bare"))
    with pytest.raises(DataError, match="close: capital"):
        encoder.encode(Example("q", (Turn("capitol", "r"),)))


def test_plain_chat_and_system_prompt(chat):
    tokenizer = tiny_tokenizer(LLAMA)
    plain = Chat(tokenizer, plain=True)
    assert plain.decode(plain.prompt_ids(plain.text_ids("hello"))) == "hello\n"
    assert plain.fingerprint != chat.fingerprint
    told = Chat(tokenizer, "be brief", plain=True)
    assert told.decode(told.prompt_ids(told.text_ids("hello"))) == "be brief\n\nhello\n"

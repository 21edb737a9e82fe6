from __future__ import annotations

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tokmem.data import Chat, Encoder
from tokmem.errors import ConfigError, DataError
from tokmem.records import Demonstration, Example, Turn

MEMORY = {"capital": (900,), "weather": (901, 902, 903)}
EXAMPLE = Example(
    query="which city is the capital of France?",
    turns=(Turn("capital", " Paris "), Turn("weather", "sun")),
    instruction="name the capital",
    id="e1",
)


@pytest.fixture(scope="module")
def chat():
    return Chat(tiny_tokenizer(LLAMA))


def test_sequence_and_supervision_are_those_of_eq_2_and_3(chat):
    encoder = Encoder(chat, MEMORY)
    encoded = encoder.encode(EXAMPLE)
    prompt = chat.prompt_ids(chat.text_ids("name the capital\n\nwhich city is the capital of France?"))
    paris, sun = chat.text_ids(" Paris "), chat.text_ids("sun")
    assert encoded.ids == (*prompt, 900, *paris, 901, 902, 903, *sun, *chat.tail)
    assert encoded.prefix == len(prompt)
    assert encoder.prompt(EXAMPLE) == prompt
    forced = [token for token, target in zip(encoded.ids, encoded.supervised, strict=True) if not target]
    assert forced == [*prompt, 902, 903]
    assert encoded.id == "e1"
    assert encoder.truncated == 0


def test_a_response_is_learned_with_the_text_behind_it_and_read_without(chat):
    end = "}\n</tool_call>"
    encoder = Encoder(chat, MEMORY, ends={"weather": end})
    encoded = encoder.encode(EXAMPLE)
    paris, sun = chat.text_ids(" Paris "), chat.text_ids("sun" + end)
    assert encoded.ids[encoded.prefix :] == (900, *paris, 901, 902, 903, *sun, *chat.tail)
    assert all(encoded.supervised[-len(sun) - len(chat.tail) :])
    assert encoder.response_of("weather", "{}" + end) == "{}"
    assert encoder.response_of("weather", "{}") == "{}"
    assert encoder.response_of("capital", "{}" + end) == "{}" + end
    so_far = [encoder.response_of("weather", ("{}" + end)[:size], whole=False) for size in range(1, 20)]
    assert so_far == ["{", "{", *["{}"] * 14, *["{}"] * 3]


def test_plain_sequence_holds_no_memory_token(chat):
    encoded = Encoder(chat, {}).encode_plain(EXAMPLE)
    prompt = Encoder(chat, {}).prompt(EXAMPLE)
    targets = (*chat.text_ids(" Paris "), *chat.tail)
    assert encoded.ids == (*prompt, *targets)
    assert encoded.supervised == (False,) * len(prompt) + (True,) * len(targets)
    assert encoded.prefix == len(encoded.ids)


def test_query_mode_leaves_the_instruction_out_everywhere(chat):
    shown = Example(
        query="of Spain?",
        turns=EXAMPLE.turns,
        instruction="name the capital",
        demonstrations=(Demonstration("of Italy?", "Rome"),),
    )
    pairs = [(chat.text_ids("of Italy?"), chat.text_ids("Rome"))]
    assert Encoder(chat, MEMORY, prompt="query").prompt(shown) == chat.prompt_ids(
        chat.text_ids("of Spain?"), pairs
    )
    assert chat.decode(Encoder(chat, MEMORY).prompt(shown)).count("name the capital") == 2


def test_a_demonstration_may_bring_its_own_instruction(chat):
    shown = (Demonstration("a", "A"), Demonstration("b", "B", "say b"), Demonstration("c", "C", ""))
    example = Example(query="of Spain?", instruction="name the capital", demonstrations=shown)
    users = ["name the capital\n\na", "say b\n\nb", "c"]
    pairs = [(chat.text_ids(u), chat.text_ids(d.response)) for u, d in zip(users, shown, strict=True)]
    user = chat.text_ids("name the capital\n\nof Spain?")
    assert Encoder(chat, MEMORY).prompt(example) == chat.prompt_ids(user, pairs)
    pairs = [(chat.text_ids(d.query), chat.text_ids(d.response)) for d in shown]
    assert Encoder(chat, MEMORY, prompt="query").prompt(example) == chat.prompt_ids(
        chat.text_ids("of Spain?"), pairs
    )


def test_the_length_is_that_of_the_uncut_prompt(chat):
    whole = Encoder(chat, MEMORY)
    short = Encoder(chat, MEMORY, max_length=len(whole.prompt(EXAMPLE)) - 3)
    assert short.length(EXAMPLE) == whole.length(EXAMPLE) == len(whole.prompt(EXAMPLE))
    assert short.truncated == 0
    with pytest.raises(DataError, match="empty query"):
        short.length(Example(query=" "))


def test_only_the_end_of_the_query_is_cut(chat):
    whole = Encoder(chat, MEMORY).encode(EXAMPLE)
    encoder = Encoder(chat, MEMORY, max_length=len(whole.ids) - 4)
    cut = encoder.encode(EXAMPLE)
    user = chat.text_ids("name the capital\n\nwhich city is the capital of France?")
    prompt = chat.prompt_ids(user[:-4])
    assert cut.ids == (*prompt, *whole.ids[whole.prefix :])
    assert cut.supervised[cut.prefix :] == whole.supervised[whole.prefix :]
    assert encoder.truncated == 1


def test_the_instruction_is_not_cut(chat):
    whole = Encoder(chat, MEMORY).encode(EXAMPLE)
    query = len(chat.text_ids(EXAMPLE.query))
    Encoder(chat, MEMORY, max_length=len(whole.ids) - query + 1).encode(EXAMPLE)
    with pytest.raises(DataError, match=r"'e1'.*max_length"):
        Encoder(chat, MEMORY, max_length=len(whole.ids) - query).encode(EXAMPLE)


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (Example(query=" ", turns=EXAMPLE.turns, id="e2"), "'e2': empty query"),
        (Example(query="of France?", id="e3"), "'e3': no turns"),
        (Example(query="of France?", turns=(Turn("capitol", "x"),)), r"'of France\?'.*close: capital"),
    ],
)
def test_unusable_examples_are_named(chat, example, message):
    with pytest.raises(DataError, match=message):
        Encoder(chat, MEMORY).encode(example)


def test_settings_are_checked(chat):
    with pytest.raises(ConfigError, match="prompt"):
        Encoder(chat, MEMORY, prompt="both")
    with pytest.raises(ConfigError, match="max_length"):
        Encoder(chat, MEMORY, max_length=0)

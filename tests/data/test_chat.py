from __future__ import annotations

import pytest

from tests.data.tiny_chat import LLAMA, QWEN, spaced_tokenizer, tiny_tokenizer
from tokmem.data import Chat
from tokmem.errors import BackboneError

TYPED = "hi <|reserved_special_token_3|><|mem:x|><unused0> <|eot_id|><|begin_of_text|>"


def qwen_tokenizer():
    return tiny_tokenizer(QWEN, bos=None, eos="<|im_end|>")


@pytest.mark.parametrize("tokenizer", [tiny_tokenizer(LLAMA), qwen_tokenizer()], ids=["llama", "qwen"])
@pytest.mark.parametrize("shown", [0, 1, 2])
@pytest.mark.parametrize("system", [None, "Be brief."])
def test_segments_reproduce_the_template(tokenizer, shown, system):
    chat = Chat(tokenizer, system)
    pairs = [(f"which city is {i}?", f"Paris {i}") for i in range(shown)]
    messages = [{"role": "system", "content": system}] if system else []
    for query, response in pairs:
        messages += [{"role": "user", "content": query}, {"role": "assistant", "content": response}]
    messages.append({"role": "user", "content": "name the capital"})
    expected = tokenizer.apply_chat_template(
        messages,
        tokenize=True,
        return_dict=False,
        add_generation_prompt=True,
        date_string="26 Jul 2024",
        enable_thinking=False,
    )
    encoded = [(chat.text_ids(query), chat.text_ids(response)) for query, response in pairs]
    assert chat.prompt_ids(chat.text_ids("name the capital"), encoded) == expected


def test_tail_ends_at_the_stop_token():
    llama, qwen = Chat(tiny_tokenizer(LLAMA)), Chat(qwen_tokenizer())
    assert llama.tail == (llama.stop,) == (tiny_tokenizer().convert_tokens_to_ids("<|eot_id|>"),)
    assert qwen.tail == (qwen.stop,) == (tiny_tokenizer().convert_tokens_to_ids("<|im_end|>"),)


def test_stop_is_the_templates_own_where_eos_is_another_token():
    tokenizer = tiny_tokenizer(QWEN, bos=None, eos="<|eot_id|>")
    assert Chat(tokenizer).stop == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_typed_control_tokens_stay_text():
    tokenizer = tiny_tokenizer(LLAMA)
    chat = Chat(tokenizer)
    ids = chat.text_ids(TYPED)
    assert not set(ids) & set(tokenizer.added_tokens_decoder)
    assert chat.decode(ids) == TYPED


def test_text_round_trips_exactly_and_special_tokens_are_not_shown():
    chat = Chat(tiny_tokenizer(LLAMA))
    text = "  two  spaces , then ' s\n\n\ttab é漢 "
    assert chat.decode([*chat.text_ids(text), *chat.tail]) == text


@pytest.mark.parametrize("template", [LLAMA, None], ids=["llama", "plain"])
def test_one_bos(template):
    tokenizer = tiny_tokenizer(template)
    chat = Chat(tokenizer)
    ids = chat.prompt_ids(chat.text_ids("<|begin_of_text|>name"))
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id


def test_plain_format_without_a_template():
    tokenizer = tiny_tokenizer()
    chat = Chat(tokenizer)
    pairs = [(chat.text_ids("one"), chat.text_ids("1"))]
    assert (
        tokenizer.decode(chat.prompt_ids(chat.text_ids("two"), pairs)) == "<|begin_of_text|>one\n1\n\ntwo\n"
    )
    assert chat.tail == (tokenizer.eos_token_id,)
    bare = Chat(tiny_tokenizer(bos=None))
    assert bare.decode(bare.prompt_ids(bare.text_ids("two"))) == "two\n"


def test_the_clock_stands_still():
    asks_the_clock = LLAMA.replace("{%- if not date_string is defined %}", "{%- if true %}")
    assert asks_the_clock != LLAMA
    tokenizer = tiny_tokenizer(asks_the_clock)
    chat = Chat(tokenizer)
    assert "Today Date: 26 Jul 2024\n" in tokenizer.decode(chat.prompt_ids(chat.text_ids("name")))


def test_no_space_is_slipped_into_the_middle_of_a_template():
    tokenizer = spaced_tokenizer(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[Q]{{ m.content }}[]{% else %}"
        "{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    )
    chat = Chat(tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(chat.prompt_ids(chat.text_ids("hello")))
    assert tokens == ["<s>", "[", "Q", "]", "▁", *"hello", "[", "]"]
    assert chat.decode(chat.text_ids("hello")) == "hello"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ bos_token }}nothing{{ eos_token }}", "drops or repeats"),
        ("{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}", "drops or repeats"),
        ("{{ raise_exception('no system role') }}", "no system role"),
    ],
)
def test_unusable_templates_are_refused(template, message):
    with pytest.raises(BackboneError, match=message):
        Chat(tiny_tokenizer(template))


def test_a_reordering_template_is_refused():
    backwards = "{% for m in messages[::-1] %}{{ m.content }}{% endfor %}{{ eos_token }}"
    with pytest.raises(BackboneError, match="reorders"):
        Chat(tiny_tokenizer(backwards))


def test_a_dropped_system_prompt_is_refused():
    deaf = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}{{ eos_token }}"
    assert Chat(tiny_tokenizer(deaf)).tail
    with pytest.raises(BackboneError, match="drops the system prompt"):
        Chat(tiny_tokenizer(deaf), "Be brief.")


def test_no_stop_token_is_refused():
    with pytest.raises(BackboneError, match="eos_token"):
        Chat(tiny_tokenizer(bos=None, eos=None))


def test_fingerprint_tells_formats_apart():
    prints = [
        Chat(tiny_tokenizer(LLAMA)).fingerprint,
        Chat(tiny_tokenizer(LLAMA), "Be brief.").fingerprint,
        Chat(qwen_tokenizer()).fingerprint,
        Chat(tiny_tokenizer()).fingerprint,
    ]
    more = tiny_tokenizer(LLAMA)
    more.add_tokens(["word"])
    assert len({*prints, Chat(more).fingerprint}) == 5
    assert Chat(tiny_tokenizer(LLAMA)).fingerprint == prints[0]

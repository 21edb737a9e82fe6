"""A tiny backbone that has learned a few answers by heart, and a bank of the memory tokens in them.

Its choices are sure, so that an engine's rounding changes none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from tests.tiny_gguf import chat_tokenizer, tiny_tied_llama, write_gguf
from tokmem.bank.bank import Bank
from tokmem.bank.slots import IdSpace
from tokmem.data.calls.text import CallStyle
from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder
from tokmem.export.probes import TEXT
from tokmem.methods.memory_settings import call_ends
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import load_backbone
from tokmem.records import Example, Procedure, Turn

PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
MINUTES = {"type": "object", "properties": {"minutes": {"type": "number"}}, "required": ["minutes"]}
PROCEDURES = (
    Procedure("weather.now", "Gives the weather of a place.", PLACE),
    Procedure("set timer", "Starts a timer.", MINUTES),
    Procedure("shout it", "Writes a word in capitals."),
)
LIMA, TEN = Turn("weather.now", '{"place": "Lima"}'), Turn("set timer", '{"minutes": 2.50}')
CASES = {
    "single": Example("weather in Lima?", (LIMA,)),
    "chain of two": Example("a timer, then the weather!", (TEN, LIMA)),
    "chain of three": Example("weather; timer; weather.", (LIMA, TEN, LIMA)),
    "free text": Example("shout cat", (Turn("shout it", "CAT"),)),
    "plain": Example("which city is the capital of Peru?"),
}
# A call and its result in the history, and the question after it.
ASKED, RESULT, AGAIN = CASES["single"].query, '{"sky": "grey"}', "and a timer"


def memorised(folder: Path, style: CallStyle = "plain") -> TokMem:
    """Trains the backbone, writes it as `folder/tiny.gguf`, and gives a memory on it."""
    tokenizer = chat_tokenizer()
    old, names = len(tokenizer), [procedure.name for procedure in PROCEDURES]
    ids = {name: (old + i,) for i, name in enumerate(names)}
    whole = tiny_tied_llama(old + len(ids))
    _learn(whole, list(_texts(Encoder(Chat(tokenizer), ids, ends=call_ends(style, PROCEDURES)))))
    rows = whole.get_input_embeddings().weight.detach()
    model = tiny_tied_llama(old)
    model.load_state_dict({k: v[:old] if len(v) == len(rows) else v for k, v in whole.state_dict().items()})
    path = folder / "tiny.gguf"
    write_gguf(path, kind="F32", model=model)
    bank = Bank(rows.shape[1], IdSpace(old, ()), policy="append")
    bank.add(PROCEDURES, rows[old:, None].clone())
    return TokMem(load_backbone(str(path)), bank=bank, prompt="query", call_style=style)


def _texts(encoder: Encoder) -> Iterator[list[int]]:
    """The answers to learn: of each case, and of a conversation with a call in its history."""
    chat = encoder.chat
    for example in CASES.values():
        text = [*chat.text_ids(TEXT), *chat.tail] if not example.turns else []
        yield encoder.prompt(example) + text if text else list(encoder.encode(example).ids)
    call = encoder.encode(CASES["single"]).ids[: -len(chat.tail)]
    template = chat.tokenizer.encode(
        f"<|im_end|>\n<|im_start|>tool\n{RESULT}<|im_end|>\n<|im_start|>user\n{AGAIN}<|im_end|>\n"
        + chat.generation_prompt.partition("\n")[2],
        add_special_tokens=False,
    )
    body = encoder.encode(Example(AGAIN, (TEN,)))
    yield [*_as_history(list(call), chat), *template, *body.ids[body.prefix :]]


def _as_history(ids: list[int], chat: Chat) -> list[int]:
    """The ids without the empty thoughts that the template puts before the last answer only."""
    thoughts = chat.tokenizer.encode("<think>\n\n</think>\n\n", add_special_tokens=False)
    size = len(thoughts)
    found = [i for i in range(len(ids)) if ids[i : i + size] == thoughts]
    return ids[: found[-1]] + ids[found[-1] + size :]


def _learn(model: torch.nn.Module, texts: list[list[int]]) -> None:
    size = max(map(len, texts))
    ids = torch.tensor([text + [0] * (size - len(text)) for text in texts])
    labels = torch.tensor([text[1:] + [-100] * (size - len(text)) for text in texts])
    optimizer = torch.optim.AdamW(model.requires_grad_().parameters(), lr=3e-3)
    for _ in range(400):
        loss = cross_entropy(model(input_ids=ids).logits[:, :-1].flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.01:
            break
    model.requires_grad_(False)

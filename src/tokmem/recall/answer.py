"""Answers examples: makes their prompts, generates, and decodes what was generated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import PreTrainedModel

from tokmem.data.chat import Chat
from tokmem.data.encode import Encoder
from tokmem.errors import ConfigError
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.constrained import Guides
from tokmem.recall.generate import Generation, Recaller
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Example, Forced, Turn


def answer_examples(
    lm: MemoryLM,
    encoder: Encoder,
    examples: Sequence[Example],
    settings: RecallSettings,
    procedures: Sequence[Sequence[Forced]] | None = None,
) -> list[Answer]:
    """Recalls the query of each example, in order.

    Args:
        lm: the backbone and its bank; with an empty bank the backbone answers alone.
        encoder: makes the prompts and holds the chat format.
        examples: only query, instruction and demonstrations are read.
        settings: how to recall.
        procedures: for each example the procedures to force; None lets the model choose.

    Raises:
        ConfigError: the settings ask for constrained recall, but llguidance is not installed, or it cannot
            read the tokenizer, or calls have a text behind them.
        RecallError: llguidance cannot compile the schema of a procedure.
    """
    prompts = [encoder.prompt(example) for example in examples]
    encoder.report_cuts()
    generations = _recaller(lm, encoder, settings)(prompts, procedures)
    return [
        _answer(example, len(prompt), generation, encoder)
        for example, prompt, generation in zip(examples, prompts, generations, strict=True)
    ]


def stream_answer(
    lm: MemoryLM,
    encoder: Encoder,
    example: Example,
    settings: RecallSettings,
    procedures: Sequence[Forced] | None = None,
) -> Iterator[Answer]:
    """Recalls one query. Yields the answer so far, after each token; the last is the whole answer.

    Args:
        lm: backbone and bank.
        encoder: makes the prompt and holds the chat format.
        example: only query, instruction and demonstrations are read.
        settings: how to recall.
        procedures: procedures to force; None lets the model choose.

    Raises:
        ConfigError: as `answer_examples`.
        RecallError: as `answer_examples`.
    """
    prompt = encoder.prompt(example)
    encoder.report_cuts()
    generation = None
    for generation in _recaller(lm, encoder, settings).stream(prompt, procedures):
        yield _answer(example, len(prompt), generation, encoder, whole=generation.finished)
    if encoder.ends and generation is not None and not generation.finished:
        yield _answer(example, len(prompt), generation, encoder)


def _recaller(lm: MemoryLM, encoder: Encoder, settings: RecallSettings) -> Recaller:
    """Builds a recaller with the stop ids of chat format and backbone, and with guides if it needs them."""
    chat, guides = encoder.chat, None
    stops = stop_ids(lm.model, chat)
    if settings.guided and encoder.ends:
        raise ConfigError(
            "constrained recall of calls in the style hermes",
            "calls in the style plain, which end with their JSON object",
            "leave --constrained out",
        )
    if settings.guided:
        guides = Guides(lm.bank.procedures.values(), chat.tokenizer, lm.head.model_rows, stops)
    return Recaller(lm, stops, settings, guides)


def stop_ids(model: PreTrainedModel, chat: Chat) -> tuple[int, ...]:
    """The ids that end a response: the template's stop token and the backbone's end-of-text ids."""
    config = model.generation_config
    eos = config.eos_token_id if config is not None else None
    return tuple({chat.stop, *(eos if isinstance(eos, list) else [] if eos is None else [eos])})


def _answer(
    example: Example, prompt_tokens: int, generation: Generation, encoder: Encoder, *, whole: bool = True
) -> Answer:
    chat, last = encoder.chat, len(generation.turns) - 1
    return Answer(
        query=example.query,
        turns=tuple(
            Turn(name, encoder.response_of(name, chat.decode(ids), whole=whole or place < last))
            for place, (name, ids) in enumerate(generation.turns)
        ),
        text=chat.decode(generation.text),
        route=generation.route,
        finished=generation.finished,
        prompt_tokens=prompt_tokens,
        routes=tuple(generation.routes),
    )

"""Tools in the prompt: no training; each prompt describes tools, all that fit or retrieved ones."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from tokmem.bank.bank import Bank
from tokmem.config import Config, check_least, setting
from tokmem.data.calls.schema import signature
from tokmem.data.chat import Chat
from tokmem.data.demonstrations import demonstration, refuse_demonstrations
from tokmem.data.encode import Encoder
from tokmem.data.fields import did_you_mean, parse_object, read_bytes, take
from tokmem.errors import ConfigError, RecallError
from tokmem.files import atomic_write_json, damaged
from tokmem.log import Callbacks
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup
from tokmem.methods.retrieval.pool import Pool, route_of
from tokmem.methods.retrieval.text_encoder import (
    DEFAULT_RETRIEVER,
    SentenceEncoder,
    TextEncoder,
    shared_encoder,
)
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Demonstration, Example, Procedure, Route, Turn
from tokmem.seeds import stream

FILE = "tools.json"
HEADING = "Tools:"


def prompt_room(max_length: int, recall: RecallSettings) -> int:
    """Most tokens in a prompt that leave room for its answer.

    Raises:
        ConfigError: there are none.
    """
    room = max_length - recall.max_new_tokens
    if room < 1:
        raise ConfigError(
            f"max_length {max_length} and max_new_tokens {recall.max_new_tokens}",
            "room for a prompt before the answer",
            "raise max_length",
        )
    return room


@dataclass(frozen=True)
class ToolPromptSettings(Config):
    """Which tools a prompt shows, and how many demonstrations."""

    few_shot: int = setting(2, "demonstrations before a query")
    use_rag: bool = setting(False, "method icl shows retrieved tools, not all that fit: method rag")
    retrieval_k: int = setting(5, "tools to retrieve")
    retriever: str = setting(DEFAULT_RETRIEVER, "a sentence-transformers id or folder")

    def __post_init__(self) -> None:
        check_least(vars(self), {"few_shot": 0, "retrieval_k": 1})


class ToolPrompt(Method):
    """The untrained backbone; the prompt describes tools and shows how calls are written.

    A prompt holds demonstrations, then in the user's turn a line for each tool (`signature`) and the query.

    Args:
        backbone: a loaded backbone.
        retriever: chooses the tools whose lines are most similar to the query: a text encoder, or the hub id
            or folder of a sentence-transformers model. None shows as many tools as fit, in their order.
        retrieval_k: tools to retrieve.
        few_shot: demonstrations, drawn from the first stage's training examples; one has several calls.
            Examples have one turn that holds the calls as text, one a line.
        max_length: most tokens in a prompt and its answer; the last tools are left out until it fits.
        recall: how to generate.
        seed: of the choice of demonstrations.

    Raises:
        ConfigError: ``retrieval_k`` is below 1, ``few_shot`` below 0, the answer alone fills ``max_length``,
            or the retriever cannot be had.
    """

    forces = True
    retrieves = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        retriever: str | TextEncoder | None = None,
        retrieval_k: int = 5,
        few_shot: int = 2,
        max_length: int = 1024,
        recall: RecallSettings | None = None,
        seed: int = 0,
    ) -> None:
        for name, value, least in (("retrieval_k", retrieval_k, 1), ("few_shot", few_shot, 0)):
            if value < least:
                raise ConfigError(f"{name} {value}", f"at least {least}")
        self.lm = MemoryLM(backbone.model, Bank(backbone.dim, backbone.id_space()))
        self.recall = recall or RecallSettings()
        room = prompt_room(max_length, self.recall)
        self.encoder = Encoder(Chat(backbone.tokenizer), {}, max_length=room)
        self.retrieval_k, self.few_shot, self.seed = retrieval_k, few_shot, seed
        if isinstance(retriever, str):
            retriever = SentenceEncoder(retriever, device=backbone.device)
        self.pool = Pool(retriever, lambda example: example.query) if retriever else None
        self.tools: dict[str, Procedure] = {}
        self.shown: tuple[Demonstration, ...] = ()
        self.counts: tuple[int, ...] = ()

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name, and how many tools the last free prompts held."""
        tools = {"fewest_tools_shown": min(self.counts), "most_tools_shown": max(self.counts)}
        retrieval = (
            {"retriever": self.pool.encoder.name, "retrieval_k": self.retrieval_k} if self.pool else {}
        )
        return {"few_shot": self.few_shot, **retrieval, **(tools if self.counts else {})}

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Adds tools to those that may be shown; nothing is trained.

        Raises:
            DataError: an example has no turn or several, or demonstrations of its own.
        """
        refuse_demonstrations(train)
        started = perf_counter()
        if not self.shown:
            self.shown = tuple(demonstration(e, instruction="") for e in self._drawn(train))
        self._add(procedures)
        return Learned(perf_counter() - started)

    def _drawn(self, train: Sequence[Example]) -> list[Example]:
        """The examples to show; the first has several calls if there is such an example."""
        order = stream(self.seed, "tool prompt").sample(list(train), len(train))
        first = [e for e in order if "\n" in e.turns[0].response][:1]
        return (first + [e for e in order if e not in first])[: self.few_shot]

    def _add(self, procedures: Sequence[Procedure]) -> None:
        self.tools |= {tool.name: tool for tool in procedures}
        if self.pool is not None:
            self.pool.add([Example(signature(tool), (Turn(tool.name, ""),)) for tool in procedures])

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each query; `forced` shows only the tools that its turns name.

        If tools are retrieved, the route names them, the most similar first.

        Raises:
            RecallError: no tool was learned, or, `forced`, not one that is named.
        """
        if not self.tools:
            raise RecallError("no tools to show", "at least one", "learn some first")
        if not examples:
            return []
        routes = self._retrieve(examples)
        chosen = [
            list(self._named(example)) if forced else [c.procedure for c in route.choices] if route else None
            for example, route in zip(examples, routes, strict=True)
        ]
        fitted = [self._fit(e, names) for e, names in zip(examples, chosen, strict=True)]
        if not forced:
            self.counts = tuple(count for _, count in fitted)
        answers = answer_examples(self.lm, self.encoder, [e for e, _ in fitted], self.recall)
        return [replace(answer, route=route) for answer, route in zip(answers, routes, strict=True)]

    def _retrieve(self, examples: Sequence[Example]) -> list[Route | None]:
        if self.pool is None:
            return [None] * len(examples)
        hits = self.pool.nearest(self.pool.embed([e.query for e in examples]), self.retrieval_k)
        return [route_of(found) for found in hits]

    def _named(self, example: Example) -> dict[str, None]:
        names = dict.fromkeys(turn.procedure for turn in example.turns)
        for name in names:
            if name not in self.tools:
                raise RecallError(f"tool {name!r}{did_you_mean(name, self.tools)}", "one that was learned")
        return names

    def _fit(self, example: Example, names: Sequence[str] | None) -> tuple[Example, int]:
        """The example with as many of these tools as fit (None: of all tools), and their number."""
        lines = [signature(self.tools[name]) for name in (self.tools if names is None else names)]

        def too_long(count: int) -> bool:
            return self.encoder.length(self._with(example, lines[:count])) > self.encoder.max_length

        count = bisect_left(range(1, len(lines) + 1), True, key=too_long)
        return self._with(example, lines[:count]), count

    def _with(self, example: Example, lines: Sequence[str]) -> Example:
        instruction = "\n".join((HEADING, *lines))
        return replace(example, instruction=instruction, demonstrations=self.shown)

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes the tools and the demonstrations."""
        tools, shown = map(asdict, self.tools.values()), map(asdict, self.shown)
        atomic_write_json(folder / FILE, {"tools": list(tools), "demonstrations": list(shown)})

    def restore(self, folder: Path) -> None:
        """Loads what `save` wrote.

        Raises:
            DataError: it is missing or damaged.
        """
        path = folder / FILE
        facts = parse_object(read_bytes(path), str(path))
        shown, tools = (take(facts, key, list, str(path)) for key in ("demonstrations", "tools"))
        try:
            self.shown = tuple(Demonstration(**fields) for fields in shown)
            self._add([Procedure(**fields) for fields in tools])
        except (TypeError, ValueError) as error:
            raise damaged(path, str(error), "learn the tools again") from error


def _build(setup: Setup, own: ToolPromptSettings) -> Method:
    return ToolPrompt(
        setup.backbone,
        retriever=_encoder(setup, own),
        retrieval_k=own.retrieval_k,
        few_shot=own.few_shot,
        max_length=setup.max_length,
        recall=setup.recall,
        seed=setup.seed,
    )


def _encoder(setup: Setup, own: ToolPromptSettings) -> TextEncoder | None:
    return shared_encoder(own.retriever, str(setup.backbone.device)) if own.use_rag else None


def _check(setup: Setup, own: ToolPromptSettings, procedures: Sequence[Procedure]) -> None:
    """Loads the text encoder that answers will need."""
    _encoder(setup, own)


SPECS = tuple(
    MethodSpec(
        name,
        ToolPrompt,
        ToolPromptSettings,
        _build,
        variable={"compositional": ("use_rag", "retrieval_k", "few_shot")},
        sections=("prompting",),
        fixed=fixed,
        check=_check,
    )
    for name, fixed in (("icl", {}), ("rag", {"use_rag": True}))
)

"""In-context learning: no training; demonstrations of the right procedure stand before each query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokmem.bank.bank import Bank
from tokmem.config import Config, check_least, setting
from tokmem.data.chat import Chat
from tokmem.data.demonstrations import demonstration, fit_demonstrations, only_turn, refuse_demonstrations
from tokmem.data.encode import Encoder, PromptMode
from tokmem.data.fields import did_you_mean, expect, parse_object, read_bytes, take
from tokmem.errors import ConfigError, DataError, RecallError
from tokmem.files import recover_folder, replace_folder
from tokmem.log import Callbacks, logger
from tokmem.methods.protocol import Learned, Method, MethodSpec, Setup
from tokmem.model.backbone import Backbone
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.answer import answer_examples
from tokmem.recall.settings import RecallSettings
from tokmem.records import Answer, Demonstration, Example, Procedure
from tokmem.seeds import stream

FILE = "demonstrations.json"


@dataclass(frozen=True)
class IclSettings(Config):
    """How many demonstrations a query gets."""

    few_shot: int = setting(3, "demonstrations of the query's own procedure before a query")

    def __post_init__(self) -> None:
        check_least(vars(self), {"few_shot": 1})


class Icl(Method):
    """The untrained backbone with demonstrations of the query's own procedure.

    The method is told the right procedure, so methods that route do not compete with it on equal terms. All
    queries of a procedure see the same demonstrations.

    Args:
        backbone: a loaded backbone.
        few_shot: demonstrations before a query, k; fewer if a procedure has fewer training examples.
        prompt: whether prompts hold instruction and query, or the query alone. Demonstrations have the same
            form, with the query's instruction.
        max_length: most tokens in a sequence; the last demonstrations are dropped until a prompt fits.
        recall: how to generate.
        seed: of the choice of demonstrations.

    Raises:
        ConfigError: ``few_shot`` is below 1.
    """

    continual = False

    def __init__(
        self,
        backbone: Backbone,
        *,
        few_shot: int = 3,
        prompt: PromptMode = "instruction+query",
        max_length: int = 1024,
        recall: RecallSettings | None = None,
        seed: int = 0,
    ) -> None:
        if few_shot < 1:
            raise ConfigError(
                f"few_shot {few_shot}", "at least 1 demonstration", "raise it, or use method base"
            )
        self.lm = MemoryLM(backbone.model, Bank(backbone.dim, backbone.id_space()))
        self.encoder = Encoder(Chat(backbone.tokenizer), {}, prompt=prompt, max_length=max_length)
        self.recall = recall or RecallSettings()
        self.few_shot, self.seed = few_shot, seed
        self.demonstrations: dict[str, tuple[Demonstration, ...]] = {}

    @property
    def notes(self) -> dict[str, Any]:
        """The settings that a result must name."""
        return {"few_shot": self.few_shot, "demonstrations": "of the right procedure"}

    def learn(
        self,
        procedures: Sequence[Procedure],
        train: Sequence[Example],
        validation: Sequence[Example],
        *,
        checkpoint: Path | None = None,
        callbacks: Callbacks = (),
    ) -> Learned:
        """Chooses demonstrations of each procedure from its training examples; nothing is trained.

        A procedure that was learned before gets new ones.

        Raises:
            DataError: a procedure has no training example; or an example has no turn or several,
                demonstrations, or a procedure that is not among these.
        """
        refuse_demonstrations(train)
        pools: dict[str, list[Example]] = {p.name: [] for p in procedures}
        for example in train:
            name = only_turn(example).procedure
            if name not in pools:
                raise DataError(
                    f"example {example.id!r} of procedure {name!r}{did_you_mean(name, pools)}",
                    "a procedure of this stage",
                )
            pools[name].append(example)
        chosen = {}
        for name, pool in pools.items():
            if not pool:
                raise DataError(
                    f"no training example of {name!r}", "at least one to show", "raise train_size"
                )
            if len(pool) < self.few_shot:
                logger.warning("%s: %d demonstrations of %d", name, len(pool), self.few_shot)
            shown = stream(self.seed, "icl", name).sample(pool, min(self.few_shot, len(pool)))
            chosen[name] = tuple(demonstration(example) for example in shown)
        self.demonstrations |= chosen
        return Learned()

    def answer(self, examples: Sequence[Example], *, forced: bool = False) -> list[Answer]:
        """Answers each query after demonstrations of its own procedure; `forced` has no effect.

        Raises:
            DataError: an example has no turn or several, or demonstrations of its own.
            RecallError: its procedure was not learned.
        """
        refuse_demonstrations(examples)
        shown = [replace(e, demonstrations=self._demonstrations(e)) for e in examples]
        fitted = fit_demonstrations(self.encoder, shown, drop="last")
        return answer_examples(self.lm, self.encoder, fitted, self.recall)

    def _demonstrations(self, example: Example) -> tuple[Demonstration, ...]:
        name = only_turn(example).procedure
        if name not in self.demonstrations:
            raise RecallError(
                f"no demonstrations of {name!r}{did_you_mean(name, self.demonstrations)}",
                "a procedure that was learned",
                "learn it first",
            )
        return self.demonstrations[name]

    def save(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Writes the chosen demonstrations."""
        stored = {
            "few_shot": self.few_shot,
            "seed": self.seed,
            "demonstrations": {
                name: [{"query": d.query, "response": d.response} for d in shown]
                for name, shown in self.demonstrations.items()
            },
            "training": dict(training or {}),
        }
        with replace_folder(folder, (FILE,)) as draft:
            (draft / FILE).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")

    def restore(self, folder: Path) -> None:
        """Loads the demonstrations that `save` wrote.

        Raises:
            ConfigError: they were chosen with another ``few_shot`` or seed.
            DataError: there are none, or the file is damaged.
        """
        recover_folder(folder)
        path = folder / FILE
        raw = parse_object(read_bytes(path), str(path))
        for name, wanted in (("few_shot", self.few_shot), ("seed", self.seed)):
            if raw.get(name) != wanted:
                raise ConfigError(
                    f"{path}: {name} {raw.get(name)}", f"{name} {wanted}", "use the run's settings"
                )
        stored = take(raw, "demonstrations", dict, str(path))
        self.demonstrations = {
            name: tuple(_shown(item, f"{path}: {name}") for item in expect(items, list, f"{path}: {name}"))
            for name, items in stored.items()
        }


def _shown(item: object, where: str) -> Demonstration:
    raw = expect(item, dict, where)
    return Demonstration(take(raw, "query", str, where), take(raw, "response", str, where))


def _build(setup: Setup, own: IclSettings) -> Method:
    return Icl(
        setup.backbone,
        few_shot=own.few_shot,
        prompt=setup.prompt,
        max_length=setup.max_length,
        recall=setup.recall,
        seed=setup.seed,
    )


SPECS = (
    MethodSpec(
        "icl",
        Icl,
        IclSettings,
        _build,
        variable={"atomic": ("few_shot",)},
        sections=("demonstrations",),
    ),
)

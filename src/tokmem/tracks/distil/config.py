"""The settings of the distillation track, and the parts of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from tokmem.config import Config, check_filled, check_least, check_once, same_as, setting
from tokmem.errors import ConfigError
from tokmem.methods.lessons.settings import LessonSettings
from tokmem.methods.lessons.teach import file_name
from tokmem.model.settings import BackboneConfig
from tokmem.tracks.atomic.data import DataConfig
from tokmem.tracks.checks import check_order_seed
from tokmem.tracks.variants import Types, Variant
from tokmem.train.settings import FitSettings

# The methods, and the settings that a variant may change. They learn from a teacher, not from examples: no
# method of `methods/registry.py` takes part.
_RATE: Types = {"lr": float}
_OWN: Types = {**_RATE, "tokens": int}
RANKS: Mapping[str, int] = {"lora_r1": 1, "lora_r8": 8}
METHODS: Mapping[str, Types] = {
    "lesson": {**_OWN, "hard": float, "anchor": float, "own_epochs": int},
    "prompt_tuning": _OWN,
    "hard": _OWN,
    "references": _OWN,
    **dict.fromkeys(RANKS, _RATE),
}


@dataclass(frozen=True)
class PromptsConfig(DataConfig):
    """Which tasks. Their queries come without responses; those of the test measure, also by right outputs."""

    train_size: int | None = setting(80, "queries of each task that teach; none: all (jsonl)")
    val_size: int | None = setting(0, "queries of each task that are left out")
    test_size: int | None = setting(20, "queries of each task that measure; none: all (jsonl)")
    seed: int = setting(0, "of the generated inputs (procedures), and of which queries measure")


@dataclass(frozen=True)
class LessonConfig(Config):
    """How teachers answer, and how students start."""

    teacher_temperature: float = same_as(LessonSettings, "teacher_temperature")
    max_new_tokens: int = same_as(LessonSettings, "max_new_tokens")
    top_k: int = same_as(LessonSettings, "top_k")
    start_tries: int = same_as(LessonSettings, "start_tries")
    hard: float = same_as(LessonSettings, "hard")
    anchor: float = same_as(LessonSettings, "anchor")
    own_epochs: int = same_as(LessonSettings, "own_epochs")

    def __post_init__(self) -> None:
        LessonSettings(**vars(self))  # checks them


@dataclass(frozen=True)
class DistilConfig(Config):
    """One experiment of the distillation track."""

    track: Literal["distil"] = setting("distil", "the track")
    name: str = setting("distil", "names the run and its result file")
    data: PromptsConfig = field(default_factory=PromptsConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    methods: tuple[str, ...] = setting(
        ("lesson", "prompt_tuning"), "methods to compare; `hard+tokens=1` changes a setting of one"
    )
    tokens: tuple[int, ...] = setting((1, 8), "numbers of memory tokens, or of virtual tokens, to try")
    seeds: tuple[int, ...] = setting((0,), "of starting weights and order; each has its own rows")
    lesson: LessonConfig = field(default_factory=LessonConfig)
    training: FitSettings = field(default_factory=FitSettings)
    lora_lr: float = setting(1e-3, "AdamW's rate for LoRA; all others take training.lr")

    def __post_init__(self) -> None:
        check_filled(vars(self), ("methods", "tokens", "seeds"))
        check_once(vars(self), ("methods", "tokens", "seeds"))
        check_least(vars(self), {"tokens": 1, "lora_lr": 0})
        check_least(vars(self.data), {"train_size": 1, "test_size": 1})
        check_order_seed(self.training)
        for variant in self.variants:
            self.fit(variant, self.seeds[0])
            self.settings(variant, 0.5)
            check_least({"tokens": variant.changes.get("tokens")}, {"tokens": 1})
        _check_parts(self.parts(("",)))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """What the experiment compares.

        Raises:
            ConfigError: an unknown method or setting.
        """
        return tuple(Variant.parse(text, METHODS) for text in self.methods)

    def parts(self, tasks: Sequence[str]) -> list[DistilPart]:
        """Each task with each variant, number of tokens and seed."""
        return [
            DistilPart(place, task, variant, tokens, seed)
            for place, task in enumerate(tasks)
            for variant in self.variants
            for tokens in self._tokens(variant)
            for seed in self.seeds
        ]

    def _tokens(self, variant: Variant) -> Sequence[int]:
        """The numbers of tokens of a variant; an adapter has none."""
        if variant.method in RANKS:
            return (0,)
        return (variant.changes["tokens"],) if "tokens" in variant.changes else self.tokens

    def settings(self, variant: Variant, held_out: float) -> LessonSettings:
        """The settings of a lesson.

        Args:
            variant: may change some.
            held_out: share of the task's queries that measure.
        """
        own = {name: value for name, value in variant.changes.items() if hasattr(self.lesson, name)}
        given = {**vars(self.lesson), **own}
        return LessonSettings(held_out=held_out, seed=self.data.seed, **given)

    def fit(self, variant: Variant, seed: int) -> FitSettings:
        """How a variant trains."""
        rate = self.lora_lr if variant.method in RANKS else self.training.lr
        return variant.with_rate(replace(self.training, lr=rate, seed=seed))


class DistilPart(NamedTuple):
    """A task, by its place and name, with a variant, its number of tokens, and a seed."""

    place: int
    task: str
    variant: Variant
    tokens: int
    seed: int

    @property
    def name(self) -> str:
        """Names its files."""
        return f"{self.place:03d}-{file_name(self.task)}-{self.label}-{self.tokens}-{self.seed}"

    @property
    def label(self) -> str:
        """The method's name in rows, which tell the number of tokens in an entry of its own."""
        return "+".join(p for p in self.variant.name.split("+") if not p.startswith("tokens="))


def _check_parts(parts: Sequence[DistilPart]) -> None:
    """Refuses parts that would share a row.

    Raises:
        ConfigError: two of them have the same label, tokens and seed.
    """
    seen = set[tuple[str, int, int]]()
    for part in parts:
        if (key := (part.label, part.tokens, part.seed)) in seen:
            raise ConfigError(
                f"{part.label} with {part.tokens} tokens twice in methods", "once", "remove one"
            )
        seen.add(key)

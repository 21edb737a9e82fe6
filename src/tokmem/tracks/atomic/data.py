"""Which corpus a run reads: generated procedures, Super-NaturalInstructions, or a file of your own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tokmem.config import Config, check_least, setting
from tokmem.data import SPLITS, Corpus, SniSpec, load_jsonl, load_tasks
from tokmem.data.choose import choose_procedures
from tokmem.errors import ConfigError
from tokmem.mini.corpus import procedures_corpus
from tokmem.mini.everyday import EVERYDAY
from tokmem.mini.procedures import DEMO, SETTINGS
from tokmem.model.backbone import Backbone

Source = Literal["procedures", "sni", "jsonl"]
FamilySet = Literal["everyday", "demo", "settings", "held_out"]
FAMILIES = {"everyday": EVERYDAY, "demo": DEMO, "settings": SETTINGS, "held_out": (*SETTINGS, *DEMO)}
PAPER = SniSpec()


@dataclass(frozen=True)
class DataConfig(Config):
    """Which corpus, and how much of it. A size of none is the paper's (jsonl: all examples)."""

    source: Source = setting("procedures", "'procedures' (generated), 'sni' or 'jsonl'")
    families: FamilySet = setting(
        "demo", "which generated procedures: everyday (for a real model), or ones held out from mini"
    )
    tasks_dir: str = setting("", "folder of Super-NaturalInstructions task files (sni)")
    corpus: str = setting("", "your own JSON lines file (jsonl)")
    tasks: tuple[str, ...] = setting((), "procedures to take; none: all, in their own order")
    num_tasks: int | None = setting(None, "how many procedures; none: all")
    train_size: int | None = setting(
        None, f"training examples of each procedure; none: {PAPER.train_size}, or all (jsonl)"
    )
    val_size: int | None = setting(
        None, f"validation examples of each procedure; none: {PAPER.val_size}, or all (jsonl)"
    )
    test_size: int | None = setting(
        None, f"test examples of each procedure; none: {PAPER.test_size}, or all (jsonl)"
    )
    few_shot: int = setting(0, "demonstrations before each query (sni)")
    max_instruction_tokens: int | None = setting(None, "drop examples with longer prompts (sni)")
    seed: int = setting(0, "of the generated inputs (procedures)")

    def __post_init__(self) -> None:
        least = dict.fromkeys(("train_size", "val_size", "test_size", "few_shot"), 0)
        check_least(vars(self), {**least, "num_tasks": 1, "max_instruction_tokens": 1})
        needed = {"sni": "tasks_dir", "jsonl": "corpus"}.get(self.source)
        if needed and not getattr(self, needed):
            raise ConfigError(
                f"source {self.source} without {needed}", "where the corpus is", f"give {needed}"
            )
        only = {"tasks_dir": "sni", "corpus": "jsonl", "few_shot": "sni", "max_instruction_tokens": "sni"}
        for name, source in only.items():
            if getattr(self, name) and source != self.source:
                raise ConfigError(
                    f"{name} with source {self.source}", f"source {source}", "leave one of them out"
                )

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of the splits; the paper's if none is given."""
        names = ("train_size", "val_size", "test_size")
        given = {name: getattr(self, name) for name in names}
        return {name: getattr(PAPER, name) if size is None else size for name, size in given.items()}


def load_corpus(config: DataConfig, backbone: Backbone) -> Corpus:
    """Reads or generates the corpus that a config names.

    Raises:
        ConfigError: a generated procedure has too few inputs for the sizes.
        DataError: the corpus cannot be used, or lacks a procedure that the config names.
    """
    if config.source == "jsonl":
        corpus = load_jsonl(Path(config.corpus))
        names = choose_procedures(corpus.names, config.tasks, config.num_tasks)
        sizes = (config.train_size, config.val_size, config.test_size)
        return corpus.part(names, dict(zip(SPLITS, sizes, strict=True)))
    if config.source == "procedures":
        names = choose_procedures(corpus_names(config), config.tasks, config.num_tasks)
        picked = [family for family in FAMILIES[config.families] if family.name in names]
        return procedures_corpus(picked, **config.sizes, seed=config.seed)
    spec = SniSpec(
        num_tasks=config.num_tasks,
        max_instruction_tokens=config.max_instruction_tokens,
        few_shot=config.few_shot,
        tasks=config.tasks,
        **config.sizes,
    )
    encode = partial(backbone.tokenizer.encode, add_special_tokens=False, verbose=False)
    return load_tasks(Path(config.tasks_dir), spec, lambda text: len(encode(text)))


def corpus_names(config: DataConfig) -> tuple[str, ...]:
    """All procedures that a corpus offers, also those that a config leaves out.

    Raises:
        DataError: the corpus cannot be read.
    """
    if config.source == "jsonl":
        return load_jsonl(Path(config.corpus)).names
    if config.source == "procedures":
        return tuple(family.name for family in FAMILIES[config.families])
    return tuple(sorted(path.stem for path in Path(config.tasks_dir).glob("task*.json")))


def check_corpus(config: DataConfig) -> None:
    """Checks a corpus without a backbone: a file of your own as a whole, of task files only the names.

    Raises:
        DataError: the corpus cannot be read, or lacks procedures that the config asks for.
    """
    if names := corpus_names(config):
        choose_procedures(names, config.tasks, config.num_tasks)

"""The settings of the reasoning task."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tokmem.config import Config, check_least, check_once, setting
from tokmem.data import Corpus
from tokmem.data.gsm8k import load_gsm8k
from tokmem.errors import ConfigError
from tokmem.methods.registry import methods_of
from tokmem.mini.corpus import arithmetic_corpus
from tokmem.tracks.capacity import CapacityConfig
from tokmem.tracks.variants import MethodVariant, parse_variants


@dataclass(frozen=True)
class ProblemsConfig(Config):
    """Which word problems, and how many of them."""

    source: Literal["arithmetic", "gsm8k"] = setting("arithmetic", "'arithmetic' (generated) or 'gsm8k'")
    train_file: str = setting("", "problems to learn from, JSON lines as published (gsm8k)")
    test_file: str = setting("", "problems to measure on, JSON lines as published (gsm8k)")
    train_sizes: tuple[float, ...] = setting(
        (1.0,), "numbers of problems to learn from; up to 1: a share of all"
    )
    test_size: int | None = setting(None, "problems to measure on; none: all (gsm8k)")
    seed: int = setting(0, "of the generated problems (arithmetic)")

    def __post_init__(self) -> None:
        if not self.train_sizes or not all(0 < size < math.inf for size in self.train_sizes):
            raise ConfigError(f"train_sizes {list(self.train_sizes)}", "sizes above 0")
        check_least(vars(self), {"test_size": 1})
        check_once(vars(self), ("train_sizes",))
        if {bool(self.train_file), bool(self.test_file)} != {self.source == "gsm8k"}:
            raise ConfigError(
                f"source {self.source} with train_file {self.train_file!r}, test_file {self.test_file!r}",
                "both files for gsm8k, none for arithmetic",
            )

    def load(self) -> Corpus:
        """Reads or draws the problems.

        Raises:
            ConfigError: problems are to be generated, and it is not said how many; or the file holds fewer
                than `test_size`.
            DataError: a file cannot be used.
        """
        if self.source == "gsm8k":
            return load_gsm8k(Path(self.train_file), Path(self.test_file), self.test_size)
        if self.test_size is None or max(self.train_sizes) <= 1:
            raise ConfigError(
                f"train_sizes {list(self.train_sizes)}, test_size {self.test_size}",
                "numbers of problems to generate",
                "give a test_size and a training size above 1",
            )
        return arithmetic_corpus(int(max(self.train_sizes)), self.test_size, self.seed)


@dataclass(frozen=True)
class ReasonConfig(CapacityConfig):
    """One experiment of the reasoning task."""

    task: Literal["reason"] = setting("reason", "reason through word problems")
    problems: ProblemsConfig = field(default_factory=ProblemsConfig)
    system_prompt: str = setting("", "before each word problem; empty: the template's own default")
    chat_template: bool = setting(True, "whether word problems are asked in the backbone's chat format")
    max_length: int = setting(1024, "most tokens in a sequence")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least(vars(self), {"max_length": 1})
        for variant in self.variants:
            variant.with_rate(self.training)

    @property
    def variants(self) -> tuple[MethodVariant, ...]:
        """What the experiment compares; a method that trains may have a learning rate of its own.

        Raises:
            ConfigError: an unknown method or setting.
        """
        rate = {name: {"lr": float} for name, spec in methods_of("reason").items() if spec.trains}
        return parse_variants(self.methods, "reason", rate)

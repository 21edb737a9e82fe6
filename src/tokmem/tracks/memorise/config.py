"""The settings of the memorisation task, and the parts of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal, NamedTuple

from tokmem.config import Config, check_filled, check_least, check_once, setting
from tokmem.data.passages import MarkerKind, Passages, read_passages
from tokmem.data.placement import BeforeQuery, Placement
from tokmem.errors import ConfigError
from tokmem.methods.peft_prompts import KINDS
from tokmem.tracks.capacity import CapacityConfig
from tokmem.tracks.variants import Types, Variant
from tokmem.train.memorise import MemoriseSettings

# The methods, and the settings that a variant may change. These hold passages, not procedures: no method of
# `methods/registry.py` takes part.
_OWN: Types = {"lr": float, "embeddings": int}
METHODS: Mapping[str, Types] = {
    "tokmem": _OWN,
    "prefix": {**_OWN, "placement": BeforeQuery},
    **dict.fromkeys(KINDS, _OWN),
}


@dataclass(frozen=True)
class PassagesConfig(Config):
    """What is memorised, and in what portions."""

    file: str = setting("", "CSV with a text column, or any text file; none: the bundled passages")
    column: str = setting("text", "the CSV column that holds the passages")
    sequence_length: int = setting(128, "tokens in a sequence")
    sequences: tuple[int, ...] = setting((8, 16, 32), "numbers of sequences to try that one memory holds")
    runs: int = setting(5, "runs with different starting passages, trained side by side; results are means")
    dimensions: tuple[int, ...] = setting(
        (), "numbers of leading coordinates to try: only these of each embedding train"
    )
    dimension_embeddings: int = setting(1, "embeddings of a memory, for `dimensions`")
    id_method: MarkerKind = setting("word", "what marks a sequence: random words, or a hash of its content")
    id_length: int = setting(1, "words in a marker, or groups of eight digits")

    def __post_init__(self) -> None:
        check_filled(vars(self), ("sequences",))
        sizes = ("sequence_length", "sequences", "runs", "dimensions", "dimension_embeddings", "id_length")
        check_least(vars(self), dict.fromkeys(sizes, 1))
        check_once(vars(self), ("sequences", "dimensions"))

    def read(self) -> Passages:
        """Reads the passages of the file, or the bundled ones.

        Raises:
            DataError: the file cannot be used.
        """
        if self.file:
            return read_passages(Path(self.file), self.column)
        with as_file(files("tokmem.mini") / "passages.csv") as path:
            return read_passages(path)


@dataclass(frozen=True)
class MemoriseConfig(CapacityConfig):
    """One experiment of the memorisation task; its one seed draws passages and starting rows."""

    task: Literal["memorise"] = setting("memorise", "memorise passages")
    passages: PassagesConfig = field(default_factory=PassagesConfig)
    memorise: MemoriseSettings = field(default_factory=MemoriseSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.seeds) > 1:
            raise ConfigError(
                f"seeds {list(self.seeds)}", "one: passages.runs says how many runs there are", "leave one"
            )
        for variant in self.variants:
            variant.with_rate(self.memorise)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """What the experiment compares.

        Raises:
            ConfigError: an unknown method or setting.
        """
        return tuple(Variant.parse(text, METHODS) for text in self.methods)

    @property
    def parts(self) -> list[PassagePart]:
        """Every number of embeddings, or the one that a variant names, for every size; then the dimensions.

        Raises:
            ConfigError: a variant names no number of embeddings, or one that another part has.
        """
        own = {v.name: v.changes["embeddings"] for v in self.variants if "embeddings" in v.changes}
        check_least(own, dict.fromkeys(own, 1))
        parts = [
            PassagePart(variant, embeddings, sequences, None)
            for variant in self.variants
            for sequences in self.passages.sequences
            for embeddings in ((own[variant.name],) if variant.name in own else self.embeddings)
        ]
        labels = [(part.label, part.embeddings, part.sequences) for part in parts]
        if twice := next((label for label in labels if labels.count(label) > 1), None):
            raise ConfigError(f"{twice[0]} with {twice[1]} embeddings twice in methods", "once", "remove one")
        largest, few = max(self.passages.sequences), self.passages.dimension_embeddings
        ours = [v for v in self.variants if v.method not in KINDS and v.name not in own]
        return parts + [PassagePart(v, few, largest, d) for v in ours for d in self.passages.dimensions]


class PassagePart(NamedTuple):
    """A variant with its embeddings, its sequences, and the number of coordinates that train (None: all)."""

    variant: Variant
    embeddings: int
    sequences: int
    dimension: int | None

    @property
    def name(self) -> str:
        """Names its files."""
        shape = f"{self.variant.name}-{self.embeddings}-{self.sequences}"
        return shape if self.dimension is None else f"{shape}-d{self.dimension}"

    @property
    def label(self) -> str:
        """The name in rows, which tell the number of embeddings in an entry of its own."""
        return "+".join(p for p in self.variant.name.split("+") if not p.startswith("embeddings="))

    @property
    def placement(self) -> Placement:
        """Where the memory tokens stand."""
        if self.variant.method == "tokmem":
            return "infix"
        return self.variant.changes.get("placement", "prefix")

"""Memorisation: passages compressed into a few embeddings and written out again from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from tokmem.bank.bank import Bank
from tokmem.bank.init import wide_rows
from tokmem.config import check_least, check_once, setting
from tokmem.data.chat import Chat
from tokmem.data.passages import (
    MarkedSequence,
    MarkerKind,
    Passages,
    choose_runs,
    cut,
    mark,
    read_passages,
)
from tokmem.data.placement import Placement, insert_memory, memory_position
from tokmem.errors import ConfigError
from tokmem.eval.memorisation import Drift, bits_gained, drift, recovered
from tokmem.eval.perplexity import TokenTally
from tokmem.methods.peft_memory import PeftMemory
from tokmem.methods.peft_prompts import Kind, PeftPrompt
from tokmem.model.backbone import Backbone, input_embedding
from tokmem.model.memory_lm import MemoryLM
from tokmem.recall.generate import Recaller
from tokmem.records import Encoded, Procedure
from tokmem.seeds import generator
from tokmem.tracks.summary import grouped_means
from tokmem.tracks.variants import Variant
from tokmem.train.memorise import MemoriseSettings, RunRecord, train_memories
from tokmem.train.memory_tokens import memorise, tallies

if TYPE_CHECKING:
    from tokmem.tracks.capacity import CapacityConfig

METHODS: Mapping[str, Mapping[str, Any]] = {
    "tokmem": {"lr": float, "embeddings": int},
    "prefix": {"lr": float, "embeddings": int, "placement": Placement},
    "peft_prompt": {"lr": float, "embeddings": int},
    "peft_prefix": {"lr": float, "embeddings": int},
}
PEFT: Mapping[str, Kind] = {"peft_prompt": "prompt_tuning", "peft_prefix": "prefix_tuning"}
KEYS = ("method", "embeddings", "sequences", "tokens", "dimension")
MEASURES = (
    *("perplexity", "untrained_perplexity", "token_accuracy", "recovered_sequences", "recovered_tokens"),
    *("steps_to_90", "best_step", "bits_gained", "bits_per_embedding"),
    *("norm_start", "norm", "angle", "cosine", "train_seconds"),
)
SHARE = 0.9  # of the best perplexity: Steps@90%Best


@dataclass(frozen=True)
class PassagesConfig:
    """What is memorised, and in what portions."""

    file: str = setting("", "CSV with a text column, or any text file; none: the bundled passages")
    column: str = setting("text", "the CSV column that holds the passages")
    sequence_length: int = setting(128, "tokens in a sequence")
    sequences: tuple[int, ...] = setting((8, 16, 32), "sequences that one memory holds, number after number")
    runs: int = setting(5, "runs with different starting passages, trained side by side; results are means")
    dimensions: tuple[int, ...] = setting(
        (), "also train only so many leading coordinates of each embedding, number after number"
    )
    dimension_embeddings: int = setting(1, "embeddings a memory where `dimensions` are tried")
    id_method: MarkerKind = setting("word", "what marks a sequence: random words, or a hash of its content")
    id_length: int = setting(1, "words in a marker, or groups of eight digits")

    def __post_init__(self) -> None:
        if not self.sequences:
            raise ConfigError("no sequences", "at least one")
        sizes = ("sequence_length", "sequences", "runs", "dimensions", "dimension_embeddings", "id_length")
        check_least(vars(self), dict.fromkeys(sizes, 1))
        check_once(vars(self), ("sequences", "dimensions"))

    def read(self) -> Passages:
        """The passages of the file, or the bundled ones.

        Raises:
            DataError: the file cannot be used.
        """
        if self.file:
            return read_passages(Path(self.file), self.column)
        with as_file(files("tokmem.mini") / "passages.csv") as path:
            return read_passages(path)


class Trained(NamedTuple):
    """What became of a part.

    Attributes:
        records: of each run.
        written: of each run the ids that were written for each sequence.
        seconds: of training, a run.
    """

    records: list[RunRecord]
    written: list[list[list[int]]]
    seconds: float


class Part(NamedTuple):
    """One way to memorise: a method, so many embeddings, so many sequences, so many coordinates trained."""

    variant: Variant
    embeddings: int
    sequences: int
    dimension: int | None

    @property
    def name(self) -> str:
        """Of its files."""
        shape = f"{self.variant.name}-{self.embeddings}-{self.sequences}"
        return shape if self.dimension is None else f"{shape}-d{self.dimension}"

    @property
    def label(self) -> str:
        """Of its rows, which say the number of embeddings by themselves."""
        return "+".join(p for p in self.variant.name.split("+") if not p.startswith("embeddings="))

    @property
    def placement(self) -> Placement:
        """Where the memory tokens stand."""
        if self.variant.method == "tokmem":
            return "infix"
        return self.variant.changes.get("placement", "prefix")


def prepare(config: CapacityConfig, variants: Sequence[Variant], backbone: Backbone) -> Memorisation:
    """Reads, cuts and marks the passages.

    Raises:
        ConfigError: a placement or dimension does not exist.
        DataError: the passages cannot be used, or there are too few.
    """
    return Memorisation(config, variants, backbone)


class Memorisation:
    """Every part of an experiment, over the same passages.

    Attributes:
        parts: names, in order.
        facts: what a summary says beside its rows.
        checksum: of the passages' file.
    """

    def __init__(self, config: CapacityConfig, variants: Sequence[Variant], backbone: Backbone) -> None:
        given = config.passages
        self.config, self.backbone, self.chat = config, backbone, Chat(backbone.tokenizer)
        self.recall = replace(config.recall, max_new_tokens=given.sequence_length)
        passages = given.read()
        cuts = cut(passages.texts, self.chat.text_ids, given.sequence_length)
        seed = config.seeds[0]
        chosen = choose_runs(cuts, given.runs, max(given.sequences), seed)
        self.runs = [
            mark(run, given.id_method, given.id_length, seed, number) for number, run in enumerate(chosen)
        ]
        self._parts = {part.name: part for part in _parts(config, variants)}
        if any(d >= backbone.dim for d in given.dimensions):
            raise ConfigError(
                f"dimensions {list(given.dimensions)}",
                f"each below the backbone's {backbone.dim}: all of them are trained anyway",
            )
        self.parts = tuple(self._parts)
        self.checksum = passages.checksum
        counts = {"passages": len(passages.texts), "sequences": len(cuts), "runs": given.runs}
        self.facts = {"examples": counts, "sequence_length": given.sequence_length}

    def run(self, part: str, out: Path) -> list[dict[str, Any]]:
        """Trains all runs of a part and writes their sequences out from memory: a row a run."""
        chosen = self._parts[part]
        lm = self._reader()
        untrained = [tallies(lm, self._encoded(run, (), chosen)) for run in self._runs(chosen)]
        lr = chosen.variant.changes.get("lr", self.config.memorise.lr)
        learn = self._with_peft if chosen.variant.method in PEFT else self._side_by_side
        records, written, seconds = learn(chosen, replace(self.config.memorise, lr=lr))
        return [
            self._row(chosen, record, sum(before, TokenTally()), run, texts) | {"train_seconds": seconds}
            for record, before, run, texts in zip(
                records, untrained, self._runs(chosen), written, strict=True
            )
        ]

    def _reader(self) -> MemoryLM:
        """The backbone with an empty bank, which it reads and never predicts."""
        bank = Bank(self.backbone.dim, self.backbone.id_space())
        return MemoryLM(self.backbone.model, bank, writes=False)

    def _side_by_side(self, part: Part, settings: MemoriseSettings) -> Trained:
        """All runs as slots of one bank; each has its share of the time."""
        lm = self._reader()
        lm.read.add([Procedure(f"run {number}") for number in range(len(self.runs))], self._start(part))
        memory = lm.read.memory.values()
        runs = [self._encoded(run, ids, part) for run, ids in zip(self._runs(part), memory, strict=True)]
        training, started = self.config.training, perf_counter()
        with nullcontext() if training.packed_rows else lm.padded():
            records = memorise(
                lm,
                runs,
                settings,
                frozen_prefix=training.frozen_prefix and part.placement == "infix",
                dimension=part.dimension,
                desc=part.name,
            )
        seconds = (perf_counter() - started) / len(runs)
        return Trained(records, self._write(lm, runs), seconds)

    def _with_peft(self, part: Part, settings: MemoriseSettings) -> Trained:
        """One run after the other, for PEFT's model has one prompt."""
        records, written, spent = [], [], 0.0
        starts = self._start(part)
        for number, (run, start) in enumerate(zip(self._runs(part), starts, strict=True)):
            prompt = PeftPrompt(
                self.backbone,
                PEFT[part.variant.method],
                width=part.embeddings,
                recall=self.recall,
                seed=generator(self.config.seeds[0], "memorise", number).initial_seed(),
            )
            memory = PeftMemory(prompt, self._encoded(run, (), part))
            if prompt.kind == "prompt_tuning":  # it starts where all memory tokens do
                memory.put([start])
            started = perf_counter()
            records += train_memories(memory, settings, f"{part.name} run {number}")
            spent += perf_counter() - started
            prompts = [e.ids[: e.supervised.index(True)] for e in memory.sequences]
            written.append([ids for ids, _ in prompt.write(prompts)])
        return Trained(records, written, spent / len(records))

    def summarise(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Means over runs, and what was written from memory by the best run of each part."""
        means = grouped_means(rows, KEYS, MEASURES)
        shown = []
        for row in means:
            members = [r for r in rows if all(r[key] == row[key] for key in KEYS)]
            row["seeds"] = len(members)
            best = max(members, key=lambda r: r["recovered_tokens"])
            shown.append(
                {key: row[key] for key in KEYS}
                | {name: best[name] for name in ("recovered_tokens", "written")}
            )
        return {"rows": means, "memorised": shown}

    def _runs(self, part: Part) -> list[list[MarkedSequence]]:
        """Smaller portions are the beginnings of larger ones."""
        return [run[: part.sequences] for run in self.runs]

    def _encoded(self, run: Sequence[MarkedSequence], memory: Sequence[int], part: Part) -> list[Encoded]:
        """BOS, marker, memory tokens (where the placement says) and the sequence, which alone is a target."""
        examples = []
        for sequence in run:
            bos = self.chat.bos
            query = [*([] if bos is None else [bos]), *self.chat.text_ids(sequence.marker)]
            flags = (*[False] * len(query), *[True] * len(sequence.ids))
            plain = Encoded((*query, *sequence.ids), flags, len(query), sequence.marker)
            examples.append(insert_memory(plain, memory, memory_position(part.placement, query, bos)))
        return examples

    def _start(self, part: Part) -> Tensor:
        """(R, K, d) starting rows: the same for every method, and for a run whatever the others are."""
        weight = input_embedding(self.backbone.model).weight
        rows = [
            wide_rows(
                self.config.start,
                weight,
                [()],
                part.embeddings,
                generator=generator(self.config.seeds[0], "memorise", number),
            )
            for number in range(len(self.runs))
        ]
        return torch.cat(rows)

    def _write(self, lm: MemoryLM, runs: Sequence[Sequence[Encoded]]) -> list[list[list[int]]]:
        """What the model writes greedily after each marker and memory, as many tokens as the sequence has."""
        prompts = [e.ids[: e.supervised.index(True)] for run in runs for e in run]
        written = iter(Recaller(lm, (), self.recall)(prompts, desc="writing"))
        return [[next(written).text for _ in run] for run in runs]

    def _row(
        self,
        part: Part,
        record: RunRecord,
        untrained: TokenTally,
        run: Sequence[MarkedSequence],
        written: Sequence[Sequence[int]],
    ) -> dict[str, Any]:
        best = record.best
        right = [recovered(s.ids, ids) for s, ids in zip(run, written, strict=True)]
        whole = sum(n == len(s.ids) for n, s in zip(right, run, strict=True))
        moved: Drift = drift(record.start, record.rows)
        bits = bits_gained(untrained, best)
        return {
            "method": part.label,
            "embeddings": part.embeddings,
            "sequences": part.sequences,
            "tokens": best.tokens,
            "dimension": part.dimension or record.rows.shape[-1],
            "perplexity": best.perplexity,
            "untrained_perplexity": untrained.perplexity,
            "token_accuracy": best.accuracy,
            "recovered_sequences": 100.0 * whole / len(run),
            "recovered_tokens": sum(right),
            "steps_to_90": record.steps_to(SHARE),
            "best_step": record.best_step,
            "bits_gained": bits,
            "bits_per_embedding": bits / part.embeddings,
            "norm_start": moved.norm_start,
            "norm": moved.norm,
            "angle": moved.angle,
            "cosine": moved.cosine,
            "written": [
                {"marker": s.marker, "passage": self.chat.decode(s.ids), "written": self.chat.decode(ids)}
                for s, ids in zip(run, written, strict=True)
            ],
        }


def _parts(config: CapacityConfig, variants: Sequence[Variant]) -> list[Part]:
    """Every number of embeddings, or the one that a variant names, for every size; then the dimensions.

    Raises:
        ConfigError: a variant names no number of embeddings, or one that another row has.
    """
    given = config.passages
    own = {v.name: v.changes["embeddings"] for v in variants if "embeddings" in v.changes}
    check_least(own, dict.fromkeys(own, 1))
    parts = [
        Part(v, k, n, None)
        for v in variants
        for n in given.sequences
        for k in ((own[v.name],) if v.name in own else config.embeddings)
    ]
    labels = [(part.label, part.embeddings, part.sequences) for part in parts]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise ConfigError(f"{twice[0]} with {twice[1]} embeddings twice in methods", "once", "remove one")
    largest, few = max(given.sequences), given.dimension_embeddings
    ours = [v for v in variants if v.method not in PEFT and v.name not in own]
    return parts + [Part(v, few, largest, d) for v in ours for d in given.dimensions]

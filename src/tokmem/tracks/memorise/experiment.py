"""A memorisation experiment: its passages, its parts, and its summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokmem.data.passages import choose_runs, cut, mark
from tokmem.errors import ConfigError
from tokmem.eval.memorisation import memory_scores
from tokmem.eval.perplexity import TokenTally
from tokmem.methods.passages import PassageLearner, PassageMemory, Run
from tokmem.model.backbone import Backbone
from tokmem.report.tables import mean_rows
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.memorise.config import MemoriseConfig, PassagePart
from tokmem.tracks.progress import rows_once
from tokmem.train.memorise import RunRecord

KEYS = ("method", "embeddings", "sequences", "tokens", "dimension")
MEASURES = (
    *("perplexity", "untrained_perplexity", "token_accuracy", "recovered_sequences", "recovered_tokens"),
    *("steps_to_90", "best_step", "bits_gained", "bits_per_embedding"),
    *("norm_start", "norm", "angle", "cosine", "train_seconds"),
)
SHARE = 0.9  # of the best perplexity: Steps@90%Best


class Memorisation(Experiment):
    """Every part of an experiment, over the same passages.

    Raises:
        ConfigError: a dimension does not exist, or two parts are equal.
        DataError: the passages cannot be used, or there are too few.
    """

    def __init__(self, config: MemoriseConfig, folder: Path, backbone: Backbone) -> None:
        self.config, self.folder, self.parts = config, folder, config.parts
        given, seed = config.passages, config.seeds[0]
        recall = replace(config.recall, max_new_tokens=given.sequence_length)
        self.learner = PassageLearner(backbone, config.training, recall, config.start, seed)
        passages = given.read()
        cuts = cut(passages.texts, self.learner.chat.text_ids, given.sequence_length)
        chosen = choose_runs(cuts, given.runs, max(given.sequences), seed)
        self._runs = [
            mark(run, given.id_method, given.id_length, seed, number) for number, run in enumerate(chosen)
        ]
        if any(d >= backbone.dim for d in given.dimensions):
            raise ConfigError(
                f"dimensions {list(given.dimensions)}",
                f"each below the backbone's {backbone.dim}: all of them are trained anyway",
            )
        self.checksum = passages.checksum
        self.counts = {"passages": len(passages.texts), "sequences": len(cuts), "runs": given.runs}

    def run(self, part: PassagePart) -> list[dict[str, Any]]:
        """Trains all runs of a part and writes their sequences out from memory: a row a run."""
        return rows_once(self.folder, part.name, lambda: self._measure(part))

    def _measure(self, part: PassagePart) -> list[dict[str, Any]]:
        runs = [run[: part.sequences] for run in self._runs]  # smaller portions begin larger ones
        settings = part.variant.with_rate(self.config.memorise)
        memory = PassageMemory(
            part.variant.method, part.embeddings, part.placement, settings, part.dimension, part.name
        )
        untrained = self.learner.untrained(memory, runs)
        learned = self.learner.learn(memory, runs)
        of_each = zip(learned.records, untrained, runs, learned.written, strict=True)
        return [self._row(part, *one) | {"train_seconds": learned.seconds} for one in of_each]

    def summarise(self, results: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        """`rows`, means over runs, and `memorised`: what the best run of each part wrote from memory."""
        rows = [row for result in results for row in result]
        means, shown = mean_rows(rows, KEYS, MEASURES), []
        for mean in means:
            key = {name: mean[name] for name in KEYS}
            members = [row for row in rows if key.items() <= row.items()]
            best = max(members, key=lambda row: row["recovered_tokens"])
            shown.append(key | {name: best[name] for name in ("recovered_tokens", "written")})
        return {
            "task": self.config.task,
            "rows": means,
            "memorised": shown,
            "examples": self.counts,
            "sequence_length": self.config.passages.sequence_length,
        }

    def _row(
        self,
        part: PassagePart,
        record: RunRecord,
        untrained: Sequence[TokenTally],
        run: Run,
        written: Sequence[Sequence[int]],
    ) -> dict[str, Any]:
        decode, before = self.learner.chat.decode, sum(untrained, TokenTally())
        wanted = [sequence.ids for sequence in run]
        return {
            "method": part.label,
            "embeddings": part.embeddings,
            "sequences": part.sequences,
            "dimension": part.dimension or record.rows.shape[-1],
            **memory_scores(wanted, written, (before, record.best), (record.start, record.rows)),
            "steps_to_90": record.steps_to(SHARE),
            "best_step": record.best_step,
            "written": [
                {"marker": s.marker, "passage": decode(s.ids), "written": decode(ids)}
                for s, ids in zip(run, written, strict=True)
            ],
        }

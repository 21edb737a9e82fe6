"""A compositional experiment: its rounds, its parts (call limit, variant), and its summary."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tokmem.data.calls.portion import check_new_tools
from tokmem.data.calls.ranges import ToolRange
from tokmem.files import atomic_write_json, read_json
from tokmem.log import Metrics, logger
from tokmem.methods.adaptation import adapt_backbone
from tokmem.methods.adapted import check_adapter
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.tracks.compositional.config import CompositionalConfig, ToolVariant
from tokmem.tracks.compositional.data import ToolSource
from tokmem.tracks.compositional.learner import RoundLearner
from tokmem.tracks.compositional.rounds import Round, checksum, make_rounds
from tokmem.tracks.compositional.scores import forgetting, mean_norms, mean_scores
from tokmem.tracks.experiment import Experiment
from tokmem.tracks.origin import origin_of
from tokmem.tracks.rates import Losses, best_rate, search, searched


class ToolPart(NamedTuple):
    """One variant, and the most calls in a query that it learns from (None: the limit of section `data`)."""

    limit: int | None
    variant: ToolVariant

    def label(self, name: str) -> str:
        """A name that tells call limits apart, if there are several."""
        return name if self.limit is None else f"{name}-{self.limit}calls"

    def adaptation(self, name: str) -> str:
        """Names what belongs to its adaptation; there is one for each call style and call limit."""
        style = self.variant.call_style
        return self.label(name if style == "plain" else f"{name}-{style}")


class ToolResult(NamedTuple):
    """Rows and norms of a part's rounds and seeds, and the losses that its rate was chosen by."""

    rows: list[dict[str, Any]]
    norms: list[dict[str, Any]]
    losses: Losses


class CompositionalExperiment(Experiment):
    """All parts over the same tools.

    Raises:
        DataError: the queries cannot be made.
    """

    def __init__(self, config: CompositionalConfig, folder: Path, backbone: Backbone) -> None:
        self.config, self.folder, self.backbone = config, folder, backbone
        self.source = ToolSource(config.data)
        self.rounds = {
            limit: make_rounds(config.rounds, config.data, self.source, limit)
            for limit in config.call_limits or (None,)
        }
        self.parts = [ToolPart(limit, variant) for limit in self.rounds for variant in config.variants]
        self.checksum = checksum([one for rounds in self.rounds.values() for one in rounds])
        self._adapted: dict[str, tuple[Backbone, dict[str, Any]]] = {}

    def begin(self) -> None:
        """Checks that each variant can be built and will be able to answer, then adapts the backbones.

        Raises:
            ConfigError: a library or model is missing, or an adapter does not fit on the backbone.
            RecallError: a tool's schema cannot be made a grammar.
        """
        for reason, count in self.source.broken.items():
            logger.warning("%d rows left out: %s", count, reason)
        tools = [tool for one in next(iter(self.rounds.values())) for tool in one.data.procedures]
        for variant in self.config.variants:
            setup = variant.setup(self.backbone, seed=0, rate=None)
            variant.spec.check(setup, variant.own, tools)
            if variant.adaptation == "auxiliary":
                check_adapter(setup, self.config.lora, tools)
        for part in self.parts:
            self._adaptation(part)

    def job(self, part: ToolPart) -> Hashable:
        """Parts that share their training are one job: the second finds what the first has learned."""
        return part.limit, part.variant.training_name

    def rank(self, part: ToolPart) -> int:
        """The rank of the part's method."""
        return part.variant.spec.rank

    def run(self, part: ToolPart) -> ToolResult:
        """Chooses the rate if several are given, then learns and measures with each seed."""
        variant = part.variant
        losses = self._try_rates(part)
        _, spent = self._adaptation(part)
        train = [example for one in self.rounds[part.limit] for example in one.data.train]
        known = {
            "method": variant.row_name,
            "adaptation": variant.adaptation,
            "adaptation_seconds": spent.get("train_seconds"),
            "adaptation_lora_parameters": spent.get("lora_parameters"),
            "train_max_calls": part.limit or max(len(example.turns) for example in train),
        }
        done = [self.learner(part, seed, best_rate(losses)).run() for seed in self.config.seeds]
        rows = [known | row for progress in done for row in progress.rows]
        return ToolResult(rows, [known | norms for progress in done for norms in progress.norms], losses)

    def summarise(self, results: Sequence[ToolResult]) -> dict[str, Any]:
        """Means over the seeds: `rows`, one for each variant, round, measured range and number of calls.

        `forgetting` and `norms` tell of each round.
        """
        rows = [row for result in results for row in result.rows]
        rounds = [one for rounds in self.rounds.values() for one in rounds]
        losses = {
            part.label(part.variant.name): each.losses for part, each in zip(self.parts, results, strict=True)
        }
        return {
            "rows": mean_scores(rows),
            "forgetting": forgetting(rows, [str(tools) for tools, _ in self.config.rounds.plan()]),
            "norms": mean_norms([norms for result in results for norms in result.norms]),
            **searched(losses),
            "rounds": [_described(limit, one) for limit, own in self.rounds.items() for one in own],
            "procedures": list(dict.fromkeys(tool.name for one in rounds for tool in one.data.procedures)),
            # Each limit has training queries of its own; all limits share the test queries.
            "examples": _counts(rounds) | {"test": _counts(next(iter(self.rounds.values())))["test"]},
            "broken_rows": self.source.broken,
            "adaptations": {
                part.adaptation("auxiliary"): facts
                for part in self.parts
                if (facts := self._adaptation(part)[1])
            },
        }

    def end(self, summary: Mapping[str, Any]) -> None:
        """Writes the summary a second time, as the published scripts do."""
        if self.config.save_checkpoints:
            atomic_write_json(self.folder / "checkpoints" / "training_summary.json", summary)

    def learner(self, part: ToolPart, seed: int, rate: float | None) -> RoundLearner:
        """One variant with one seed.

        Args:
            part: the variant and its call limit.
            seed: of starting rows and order.
            rate: the searched learning rate, if there is one.
        """
        config, variant, (backbone, _) = self.config, part.variant, self._adaptation(part)
        trained, rounds = part.label(f"{variant.training_name}-{seed}"), self.rounds[part.limit]
        return RoundLearner(
            name=part.label(f"{variant.name}-{seed}"),
            key=trained if rate is None else f"{trained}-{rate:g}",
            build=lambda: variant.spec.build(variant.setup(backbone, seed, rate), variant.own),
            out=self.folder,
            origin=origin_of(config.name, seed, checksum(rounds), backbone),
            rounds=rounds,
            eval_all_previous=config.rounds.eval_all_previous,
            save_checkpoints=config.save_checkpoints,
        )

    def _adaptation(self, part: ToolPart) -> tuple[Backbone, dict[str, Any]]:
        """The backbone that a part stands on, and what its adaptation took; made once, then read back."""
        if part.variant.adaptation != "auxiliary":
            return self.backbone, {}
        name = part.adaptation("adapted")
        if name not in self._adapted:
            folder, path = self.folder / name, self.folder / f"{name}.json"
            if not path.is_file():
                atomic_write_json(path, self._adapt(part, folder))
            again = f"remove {path} and resume: the backbone is adapted again, from its checkpoint"
            facts = read_json(path, dict, again)
            self._adapted[name] = load_backbone(str(folder), device=str(self.backbone.device)), facts
        return self._adapted[name]

    def _adapt(self, part: ToolPart, folder: Path) -> dict[str, Any]:
        """Adapts the backbone on tools that no round learns, and writes it; returns facts about this."""
        config, given, limit = self.config, self.config.adaptation, part.limit
        data = replace(config.data, train_size=given.auxiliary_train_size, test_size=0, max_samples=None)
        auxiliary = self.source.composed(ToolRange.parse_all(given.auxiliary_tools), data.spec(0, limit))
        learned = {str(one.tools): one.data for one in self.rounds[limit]}
        check_new_tools({f"{given.auxiliary_tools} (auxiliary)": auxiliary, **learned})
        logger.info("adaptation on tools %s: %d queries", given.auxiliary_tools, len(auxiliary.train))
        with Metrics(self.folder / "metrics" / f"{folder.name}.jsonl") as metrics:
            return adapt_backbone(
                self.backbone,
                auxiliary,
                folder,
                given,
                lora=config.lora.shape,
                training=config.training,
                start=config.start,
                max_length=config.max_length,
                call_style=part.variant.call_style,
                checkpoint=self.folder / "checkpoints" / folder.name,
                callbacks=[metrics],
            )

    def _try_rates(self, part: ToolPart) -> Losses:
        """The validation loss of each rate after the first round with the first seed."""
        learners = {rate: self.learner(part, self.config.seeds[0], rate) for rate in part.variant.rates}
        return search(learners, lambda rate: learners[rate].learn(learners[rate].build(), 0))


def _counts(rounds: Sequence[Round]) -> dict[str, int]:
    """The number of examples in each split of some rounds."""
    splits = ("train", "validation", "test")
    return {split: sum(len(getattr(one.data, split)) for one in rounds) for split in splits}


def _described(limit: int | None, one: Round) -> dict[str, Any]:
    """A round, as a summary describes it."""
    return {
        "call_limit": limit,
        "tools": str(one.tools),
        "epochs": one.epochs,
        "procedures": [tool.name for tool in one.data.procedures],
        "examples": _counts([one]),
        "data_checksum": checksum([one]),
    }

"""The backbone that variants with auxiliary adaptation stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokmem.data.calls.compose import Composed
from tokmem.data.calls.portion import check_new_tools
from tokmem.data.calls.ranges import ToolRange
from tokmem.files import atomic_write_json, read_json
from tokmem.log import Metrics, logger
from tokmem.methods.adaptation import adapt_backbone
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.tracks.compositional.config import CompositionalConfig
from tokmem.tracks.compositional.data import ToolSource
from tokmem.tracks.compositional.rounds import Round


def adapted_backbone(
    config: CompositionalConfig,
    plain: Backbone,
    source: ToolSource,
    rounds: Sequence[Round],
    limit: int | None,
    folder: Path,
) -> tuple[Backbone, dict[str, Any]]:
    """The adapted backbone and the facts of its adaptation; made once, then read from `folder`.

    Args:
        config: of the experiment.
        plain: the backbone to adapt; it stays unchanged.
        source: makes the auxiliary queries.
        rounds: what is learned later.
        limit: most calls in an auxiliary query; None takes the first round's limit.
        folder: of the adapted backbone in the run's folder; its facts stand beside it.

    Raises:
        ConfigError: the backbone is quantized, so an adapter cannot be merged into it.
        DataError: there are too few rows, or a round learns an auxiliary tool.
        TokMemError: the file with the facts is damaged.
    """
    out, name = folder.parent, folder.name
    facts = out / f"{name}.json"
    if not facts.is_file():
        queries = _queries(config, source, rounds, limit)
        with Metrics(out / "metrics" / f"{name}.jsonl") as metrics:
            made = adapt_backbone(
                plain,
                queries,
                folder,
                config.adaptation,
                lora=config.lora.shape,
                training=config.training,
                start=config.start,
                max_length=config.max_length,
                checkpoint=out / "checkpoints" / name,
                callbacks=[metrics],
            )
        atomic_write_json(facts, made)
    again = f"remove {facts} and resume: the backbone is adapted again, from its checkpoint"
    return load_backbone(str(folder), device=str(plain.device)), read_json(facts, dict, again)


def _queries(
    config: CompositionalConfig, source: ToolSource, rounds: Sequence[Round], limit: int | None
) -> Composed:
    """Makes the auxiliary queries; no round may learn their tools."""
    named, size = config.adaptation.auxiliary_tools, config.adaptation.auxiliary_train_size
    data = replace(config.data, train_size=size, test_size=0, max_samples=None)
    auxiliary = source.composed(ToolRange.parse_all(named), data.spec(0, limit))
    check_new_tools({f"{named} (auxiliary)": auxiliary, **{str(one.tools): one.data for one in rounds}})
    logger.info("adaptation on tools %s: %d queries", named, len(auxiliary.train))
    return auxiliary

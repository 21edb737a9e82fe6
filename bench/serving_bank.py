"""The bank that `bench.serving` serves: fifty real tools as memory tokens of SmolLM2."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tokmem.data.calls.compose import ComposeSpec, compose
from tokmem.data.calls.xlam import rank_tools, read_xlam
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import load_backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Procedure
from tokmem.train.settings import FitSettings

BACKBONE, DTYPE = "smollm2", "bfloat16"
TOOLS, LONGEST = 50, 256
SPEC = ComposeSpec(train_size=1600, test_size=75, train_max_calls=2, test_max_calls=2, same_tool_share=0.0)
FIT = FitSettings(lr=0.02, batch_size=16, epochs=2, seed=0)


class Data(NamedTuple):
    """Tools and the queries that call them.

    Attributes:
        tools: the tools.
        train: training queries, half of them with one call, half with two.
        test: test queries, half of them with one call, half with two.
        checksum: sha256 of the source.
    """

    tools: tuple[Procedure, ...]
    train: tuple[Example, ...]
    test: tuple[Example, ...]
    checksum: str


def read_data(source: Path | str, tools: int = TOOLS, spec: ComposeSpec = SPEC) -> Data:
    """Reads calls of the most frequent tools, in the format of xLAM."""
    rows = read_xlam(source)
    ranked = rank_tools(rows.rows)[:tools]
    pairs = compose(rows.rows, ranked, spec)
    alone = compose(rows.rows, ranked, replace(spec, test_max_calls=1))
    return Data(ranked, pairs.train, (*alone.test, *pairs.test), rows.checksum)


def trained(folder: Path, data: Data, backbone: str = BACKBONE, fit: FitSettings = FIT) -> TokMem:
    """Loads the bank in a folder, or trains it and saves it there."""
    loaded = load_backbone(backbone, dtype=DTYPE)
    recall = RecallSettings(mode="chain", reject=True, max_new_tokens=LONGEST)
    if folder.exists():
        return TokMem.load(folder, loaded, recall=recall)
    memory = TokMem(loaded, prompt="query", recall=recall, settings=fit)
    memory.learn(data.tools, data.train, ())
    memory.save(folder)
    return memory

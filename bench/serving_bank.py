"""The bank that benchmarks of serving export: fifty real tools as memory tokens of SmolLM2."""

from __future__ import annotations

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
SPEC = ComposeSpec(train_size=1600, test_size=150, train_max_calls=1, test_max_calls=1)
FIT = FitSettings(lr=0.02, batch_size=16, epochs=2, seed=0)


class Data(NamedTuple):
    """Tools and the queries that call them.

    Attributes:
        tools: the tools.
        train: training queries, as people wrote them, each with one call.
        test: test queries, likewise.
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
    made = compose(rows.rows, ranked, spec)
    return Data(ranked, made.train, made.test, rows.checksum)


def trained(folder: Path, data: Data, backbone: str = BACKBONE, fit: FitSettings = FIT) -> TokMem:
    """Loads the bank in a folder, or trains it and saves it there."""
    loaded = load_backbone(backbone, dtype=DTYPE)
    recall = RecallSettings(mode="chain", reject=True, max_new_tokens=LONGEST)
    if folder.exists():
        return TokMem.load(folder, loaded, recall=recall)
    memory = TokMem(loaded, coupled=False, addresses="closed", prompt="query", recall=recall, settings=fit)
    memory.learn(data.tools, data.train, ())
    memory.save(folder)
    return memory

"""An export warns where an engine answers otherwise than recall does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.export import export
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.records import Example, Turn
from tokmem.train.settings import FitSettings

WORDS = ("France", "a country", "Today", "Italy", "a river", "Japan")


def turn(name: str, word: str) -> Turn:
    return Turn(name, f"{name} of {word}")


def single(name: str, word: str) -> Example:
    return Example(f"{name}: {word}", (turn(name, word),))


def double(word: str) -> Example:
    return Example(f"both: {word}", (turn("date", word), turn("sum", word)))


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def warned(
    backbone: Backbone, folder: Path, addresses: str, chains: bool, log: pytest.LogCaptureFixture
) -> bool:
    settings = FitSettings(lr=0.05, epochs=1, batch_size=2)
    options: dict[str, Any] = {"addresses": addresses, "settings": settings}
    recall = RecallSettings(mode="chain" if chains else "atomic")
    memory = TokMem(backbone, coupled=False, recall=recall, **options)
    memory.add(["date", "sum"])
    learned = [single(name, word) for name in ("date", "sum") for word in WORDS]
    memory.fit([*learned, *(map(double, WORDS) if chains else ())])
    with log.at_level(logging.WARNING, "tokmem"):
        export(memory, folder, check=False)
    return "computed from single answers" in log.text


@pytest.mark.parametrize(
    ("addresses", "chains", "wanted"),
    [("closed", False, True), ("closed", True, False), ("trained", False, False)],
)
def test_addresses_that_never_met_ordinary_tokens_are_told(
    backbone: Backbone,
    addresses: str,
    chains: bool,
    wanted: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert warned(backbone, tmp_path / "served", addresses, chains, caplog) is wanted

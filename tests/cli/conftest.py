"""A tiny random model in a folder, a corpus for it, and a bank trained on it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.forked import forked_workers
from tests.report.painted import only_painted
from tests.tiny import tiny_backbone
from tokmem.cli.main import app
from tokmem.log import logger

__all__ = ["forked_workers", "only_painted"]
Cli = Callable[..., Result]
CAPITALS = {"France": "Paris", "Spain": "Madrid", "Peru": "Lima", "Chad": "N'Djamena"}


def save_model(folder: Path, seed: int) -> Path:
    backbone = tiny_backbone(tiny_tokenizer(LLAMA), seed)
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny", seed=0)


@pytest.fixture(scope="session")
def foreign_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "foreign", seed=1)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two procedures; eight training, two validation and four test examples."""
    path = tmp_path_factory.mktemp("corpus") / "capitals.jsonl"
    rows = []
    for split, times in (("train", 2), ("validation", 1), ("test", 1)):
        countries = list(CAPITALS)[: 1 if split == "validation" else 2]
        for time in range(times):
            for country in countries:
                for name, response in (("capital", CAPITALS[country]), ("upper", country.upper())):
                    query = f"{country} {name} {split} {time}"
                    turns = [{"procedure": name, "response": response}]
                    rows.append({"query": query, "instruction": "answer", "turns": turns, "split": split})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """The command line sets the library's logger up."""
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level or logging.NOTSET)
    logger.propagate = propagate


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*args: object, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, ["-q", *map(str, args)], input=input)

    return invoke


@pytest.fixture(scope="session")
def bank(model: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    args = ["-q", "train", "--corpus", corpus, "--model_name", model, "--prompt", "query", "--test_size", 0]
    args += ["--preset", "paper"]  # one short pass: the bank stays near its start
    done = CliRunner().invoke(app, [*map(str, args), "--save_path", str(folder)])
    assert done.exit_code == 0, done.output
    return folder / "banks" / "tokmem-query-0"

"""Memorisation on a tiny random model, and a passage that the bundled backbone learns by heart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.held_out import load_mini
from tests.tiny import tiny_backbone
from tokmem.config import load_config
from tokmem.errors import ConfigError, DataError
from tokmem.model.backbone import Backbone
from tokmem.report.results import results_table
from tokmem.tracks import progress
from tokmem.tracks.memorise import prepare
from tokmem.tracks.memorise.config import MemoriseConfig, PassagesConfig
from tokmem.tracks.run import run
from tokmem.train import memory_tokens
from tokmem.train.memorise import MemoriseSettings
from tokmem.train.settings import FitSettings

CONFIG = MemoriseConfig(
    methods=(
        "tokmem",
        "prefix",
        "prefix+placement=before_bos+lr=0.1",
        "peft_prompt",
        "peft_prefix+lr=0.1+embeddings=3",
    ),
    embeddings=(1, 3),
    passages=PassagesConfig(
        sequence_length=6, sequences=(2, 1), runs=2, dimensions=(4,), dimension_embeddings=3, id_method="hash"
    ),
    memorise=MemoriseSettings(lr=0.05, steps=6, check_every=2),
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = ("train_seconds", "queries_per_second")
    return [{k: v for k, v in row.items() if not k.startswith(timed)} for row in rows]


def test_memorisation(backbone: Backbone, tmp_path: Path) -> None:
    summary = run(CONFIG, tmp_path / "run", backbone=backbone)
    rows = {(r["method"], r["embeddings"], r["sequences"], r["dimension"]): r for r in summary["rows"]}
    assert len(rows) == 3 * (2 * 2 + 1) + 2 * 2 + 2, "PEFT's prompts train all their coordinates"
    assert {key[1] for key in rows if key[0] == "peft_prefix+lr=0.1"} == {3}
    for (method, embeddings, sequences, dimension), row in rows.items():
        assert (row["tokens"], row["seeds"]) == (6 * sequences, 2)
        assert row["perplexity"] < row["untrained_perplexity"] or dimension == 4
        assert row["bits_per_embedding"] == pytest.approx(row["bits_gained"] / embeddings, abs=1e-3)
        assert 0 <= row["recovered_tokens"] <= row["tokens"]
        assert row["steps_to_90"] <= row["best_step"] <= 6
        assert -1 <= row["cosine"] <= 1
        assert row["angle"] >= 0
        own = method.startswith("peft_prefix")  # keys and values start as PEFT's do
        twin = rows["tokmem", embeddings, sequences, backbone.dim if own else dimension]
        assert own or row["norm_start"] == twin["norm_start"], "every method starts from the same rows"
        assert not own or dimension == 64
        assert row["untrained_perplexity"] == twin["untrained_perplexity"], method
    assert json.loads((tmp_path / "run/summary.json").read_text())["rows"] == summary["rows"]
    assert len(summary["memorised"]) == len(rows)
    assert all(len(part["written"]) == part["sequences"] for part in summary["memorised"])
    assert load_config(MemoriseConfig, tmp_path / "run/config.yaml") == CONFIG
    table = results_table(summary)
    assert "perplexity" in table.columns
    assert "compliance" not in table.columns


def measured(config: MemoriseConfig, backbone: Backbone, out: Path) -> list[dict[str, Any]]:
    """The rows of three embeddings that hold one sequence."""
    experiment = prepare(config, out, backbone)
    (part,) = (part for part in experiment.parts if part.name == "tokmem-3-1")
    return experiment.run(part)


def test_the_frozen_prefix_can_be_turned_off(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = replace(CONFIG.passages, dimensions=(), runs=1)
    config = replace(CONFIG, methods=("tokmem",), passages=passages)
    (fast, *_) = measured(config, backbone, tmp_path / "fast")
    monkeypatch.setattr(memory_tokens, "frozen_prefix_states", lambda *_: pytest.fail("not turned off"))
    training = replace(config.training, frozen_prefix=False, packed_rows=False)
    (slow, *_) = measured(replace(config, training=training), backbone, tmp_path / "slow")
    assert fast["perplexity"] == pytest.approx(slow["perplexity"], rel=1e-3)


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        (("tokmem", "tokmem+embeddings=3"), "tokmem with 3 embeddings twice"),
        (("tokmem+embeddings=0",), "embeddings=0"),
    ],
)
def test_a_number_of_embeddings_of_ones_own_is_checked(
    backbone: Backbone, methods: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        prepare(replace(CONFIG, methods=methods), tmp_path, backbone)


def test_resume_runs_what_is_missing(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, methods=("tokmem",))
    first = run(config, tmp_path, backbone=backbone)
    with pytest.raises(ConfigError, match="already holds a run"):
        run(config, tmp_path, backbone=backbone)
    with pytest.raises(ConfigError, match="another experiment"):
        run(replace(config, embeddings=(1,)), tmp_path, resume=True, backbone=backbone)
    (tmp_path / "cells/tokmem-3-1.json").unlink()
    written = []
    write = progress.atomic_write_json
    monkeypatch.setattr(
        progress, "atomic_write_json", lambda path, rows: written.append(path.stem) or write(path, rows)
    )
    again = run(config, tmp_path, resume=True, backbone=backbone)
    assert written == ["tokmem-3-1"]
    assert untimed(again["rows"]) == untimed(first["rows"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("lora",)}, "method 'lora'"),
        ({"methods": ("tokmem+placement=prefix",)}, "placement=prefix"),
        ({"methods": ("prefix+placement=infix",)}, "'infix' in method"),
        ({"methods": ("tokmem", "tokmem+lr=-1")}, "lr -1"),
        ({"seeds": (0, 1)}, "passages.runs"),
        ({"training": FitSettings(seed=3)}, "training.seed 3"),
        ({"methods": ()}, "no methods"),
        ({"embeddings": (0,)}, r"embeddings \[0\]"),
        ({"methods": ("tokmem", "tokmem")}, "methods .*each once"),
        ({"embeddings": (1, 2, 1)}, "embeddings .*each once"),
        ({"seeds": (0, 0)}, "seeds .*each once"),
    ],
)
def test_configs_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)


def test_data_that_does_not_suit_is_refused_before_training(backbone: Backbone, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("a b")
    for passages, message in (
        ({"file": str(short), "sequence_length": 90}, "at least the 90 of one sequence"),
        ({"runs": 5000}, "runs of 2 in a row"),
        ({"dimensions": (32,)}, "each below the backbone's 32"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            prepare(replace(CONFIG, passages=replace(CONFIG.passages, **passages)), tmp_path, backbone)
    with pytest.raises(ConfigError, match="'behind' in method"):
        replace(CONFIG, methods=("prefix+placement=behind",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequences": (0,)}, r"sequences \[0\]"),
        ({"dimensions": (4, 0)}, r"dimensions \[4, 0\]"),
        ({"sequences": ()}, "no sequences"),
        ({"sequences": (2, 2)}, "sequences .*each once"),
        ({"dimensions": (4, 4)}, "dimensions .*each once"),
    ],
)
def test_portions_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG.passages, **changes)


@pytest.mark.trains
def test_a_passage_is_learned_by_heart(tmp_path: Path) -> None:
    """On the bundled backbone: 32 embeddings give back the eight tokens that they hold."""
    config = MemoriseConfig(
        methods=("tokmem", "prefix"),
        embeddings=(32,),
        passages=PassagesConfig(sequence_length=8, sequences=(1,), runs=1),
        memorise=MemoriseSettings(
            lr=0.03, steps=100, check_every=10, patience=0, enough=0.1, schedule="linear"
        ),
    )
    experiment = prepare(config, tmp_path, load_mini())
    for part in experiment.parts:
        (row,) = experiment.run(part)
        (written,) = row["written"]
        if row["recovered_sequences"] == 100:
            assert written["written"] == written["passage"]
        assert row["recovered_tokens"] >= 4, written
        assert row["perplexity"] < 10 < 100 < row["untrained_perplexity"]


@pytest.mark.realdata
def test_users_files(backbone: Backbone, real_data: Path, tmp_path: Path) -> None:
    passages = PassagesConfig(file=str(real_data / "passages/plays_1k_chunks.csv"), sequences=(8, 16, 32))
    experiment = prepare(replace(CONFIG, passages=passages), tmp_path, backbone)
    assert experiment.counts["passages"] == 273

"""The capacity track on a tiny random model, and a passage that the bundled backbone learns by heart."""

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
from tokmem.recall.settings import RecallSettings
from tokmem.report.results import results_table
from tokmem.tracks import capacity
from tokmem.tracks.capacity import CapacityConfig, prepare, run
from tokmem.tracks.memorise import PassagesConfig
from tokmem.tracks.reason import ProblemsConfig
from tokmem.tracks.registry import track_of
from tokmem.train import memory_tokens
from tokmem.train.memorise import MemoriseSettings
from tokmem.train.settings import FitSettings

EXPERIMENTS = Path(__file__).parents[2] / "experiments/capacity"
MEMORISE = CapacityConfig(
    task="memorise",
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
REASON = CapacityConfig(
    task="reason",
    methods=("base", "tokmem", "prefix", "peft_prompt", "peft_prefix"),
    embeddings=(2,),
    seeds=(0, 1),
    problems=ProblemsConfig(train_sizes=(4, 8), test_size=3),
    training=FitSettings(lr=0.01, batch_size=4),
    recall=RecallSettings(max_new_tokens=4, batch_size=4),
    system_prompt="Think.",
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = ("train_seconds", "queries_per_second")
    return [{k: v for k, v in row.items() if not k.startswith(timed)} for row in rows]


def test_memorisation(backbone: Backbone, tmp_path: Path) -> None:
    summary = run(MEMORISE, tmp_path / "run", backbone=backbone)
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
    assert load_config(CapacityConfig, tmp_path / "run/config.yaml") == MEMORISE
    table = results_table(summary)
    assert "perplexity" in table.columns
    assert "compliance" not in table.columns


def test_the_frozen_prefix_can_be_turned_off(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passages = replace(MEMORISE.passages, dimensions=(), runs=1)
    config = replace(MEMORISE, methods=("tokmem",), passages=passages)
    (fast, *_) = prepare(config, backbone).run("tokmem-3-1", tmp_path)
    monkeypatch.setattr(memory_tokens, "frozen_prefix_states", lambda *_: pytest.fail("not turned off"))
    training = replace(config.training, frozen_prefix=False, packed_rows=False)
    (slow, *_) = prepare(replace(config, training=training), backbone).run("tokmem-3-1", tmp_path)
    assert fast["perplexity"] == pytest.approx(slow["perplexity"], rel=1e-3)


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        (("tokmem", "tokmem+embeddings=3"), "tokmem with 3 embeddings twice"),
        (("tokmem+embeddings=0",), "embeddings=0"),
    ],
)
def test_a_number_of_embeddings_of_ones_own_is_checked(
    backbone: Backbone, methods: tuple[str, ...], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        prepare(replace(MEMORISE, methods=methods), backbone)


def test_reasoning(backbone: Backbone, tmp_path: Path) -> None:
    summary = run(REASON, tmp_path / "run", backbone=backbone)
    rows = {(r["method"], r["train_size"]): r for r in summary["rows"]}
    assert set(rows) == {("base", 0), *((m, n) for m in REASON.methods[1:] for n in (4, 8))}
    assert all(r["seeds"] == (1 if m == "base" else 2) for (m, _), r in rows.items())
    assert [rows["tokmem", n]["steps"] for n in (4, 8)] == [1, 2]
    dim = backbone.dim
    kinds = {m: rows[m, 4]["trainable_parameters"] for m in REASON.methods[1:]}
    assert kinds == {"tokmem": 2 * dim, "prefix": 2 * dim, "peft_prompt": 2 * dim, "peft_prefix": 2 * 64}
    name = "tokmem-2-n8-1"
    predictions = json.loads((tmp_path / f"run/predictions/{name}.json").read_text())
    assert len(predictions) == 3
    assert all(p["expected"] for p in predictions)
    assert (tmp_path / f"run/learned/{name}/bank.safetensors").is_file()
    assert "exact_match" in results_table(summary).columns


def test_resume_runs_what_is_missing(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(MEMORISE, methods=("tokmem",))
    first = run(config, tmp_path, backbone=backbone)
    with pytest.raises(ConfigError, match="already holds a run"):
        run(config, tmp_path, backbone=backbone)
    with pytest.raises(ConfigError, match="another experiment"):
        run(replace(config, embeddings=(1,)), tmp_path, resume=True, backbone=backbone)
    (tmp_path / "cells/tokmem-3-1.json").unlink()
    written = []
    write = capacity.atomic_write_json
    monkeypatch.setattr(
        capacity, "atomic_write_json", lambda path, rows: written.append(path.stem) or write(path, rows)
    )
    again = run(config, tmp_path, resume=True, backbone=backbone)
    assert written == ["tokmem-3-1"]
    assert untimed(again["rows"]) == untimed(first["rows"])


def test_the_chat_format_is_that_of_the_config(backbone: Backbone) -> None:
    told = prepare(REASON, backbone)
    bare = prepare(replace(REASON, chat_template=False, system_prompt=""), backbone)
    ids = [task.chat.prompt_ids(task.chat.text_ids("How many?")) for task in (told, bare)]
    assert "Think." in told.chat.decode(ids[0])
    assert bare.chat.decode(ids[1]) == "How many?\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("lora",)}, "method 'lora'"),
        ({"methods": ("tokmem+placement=prefix",)}, "placement=prefix"),
        ({"methods": ()}, "no methods"),
        ({"embeddings": (0,)}, r"embeddings \[0\]"),
        ({"max_length": 0}, "max_length 0"),
        ({"methods": ("tokmem", "tokmem")}, "methods .*each once"),
        ({"embeddings": (1, 2, 1)}, "embeddings .*each once"),
        ({"seeds": (0, 0)}, "seeds .*each once"),
    ],
)
def test_configs_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(MEMORISE, **changes)


def test_data_that_does_not_suit_is_refused_before_training(backbone: Backbone, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("a b")
    for passages, message in (
        ({"file": str(short), "sequence_length": 90}, "at least the 90 of one sequence"),
        ({"runs": 5000}, "runs of 2 in a row"),
        ({"dimensions": (32,)}, "each below the backbone's 32"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            prepare(replace(MEMORISE, passages=replace(MEMORISE.passages, **passages)), backbone)
    with pytest.raises(ConfigError, match="'behind' in method"):
        prepare(replace(MEMORISE, methods=("prefix+placement=behind",)), backbone)
    for problems, message in (
        ({"source": "gsm8k"}, "both files for gsm8k"),
        ({"train_file": "a"}, "none for arithmetic"),
        ({"train_sizes": (0,)}, "sizes above 0"),
        ({"test_size": 0}, "test_size 0"),
        ({"train_sizes": (4, 4)}, "train_sizes .*each once"),
    ):
        with pytest.raises(ConfigError, match=message):
            ProblemsConfig(**problems)
    with pytest.raises(ConfigError, match="numbers of problems"):
        prepare(replace(REASON, problems=ProblemsConfig()), backbone)


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
        replace(MEMORISE.passages, **changes)


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_experiments_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKMEM_FANFICS_CSV", "TOKMEM_PG19_CSV", "TOKMEM_GSM8K_DIR", "TOKMEM_PASSAGES"):
        monkeypatch.setenv(name, "/somewhere")
    track = track_of(path)
    assert track.name == "capacity"
    assert load_config(track.config, path).name == path.stem


def test_a_passage_is_learned_by_heart() -> None:
    """On the bundled backbone: 32 embeddings give back the eight tokens that they hold."""
    config = CapacityConfig(
        methods=("tokmem", "prefix"),
        embeddings=(32,),
        passages=PassagesConfig(sequence_length=8, sequences=(1,), runs=1),
        memorise=MemoriseSettings(
            lr=0.03, steps=100, check_every=10, patience=0, enough=0.1, schedule="linear"
        ),
    )
    experiment = prepare(config, load_mini())
    for part in experiment.parts:
        (row,) = experiment.run(part, Path())
        (written,) = row["written"]
        if row["recovered_sequences"] == 100:
            assert written["written"] == written["passage"]
        assert row["recovered_tokens"] >= 4, written
        assert row["perplexity"] < 10 < 100 < row["untrained_perplexity"]


@pytest.mark.realdata
def test_users_files(backbone: Backbone, real_data: Path) -> None:
    passages = PassagesConfig(file=str(real_data / "passages/plays_1k_chunks.csv"), sequences=(8, 16, 32))
    experiment = prepare(replace(MEMORISE, passages=passages), backbone)
    assert experiment.facts["examples"]["passages"] == 273
    problems = ProblemsConfig(
        source="gsm8k",
        train_file=str(real_data / "gsm8k/train.jsonl"),
        test_file=str(real_data / "gsm8k/test.jsonl"),
        train_sizes=(100, 0.2, 1),
        test_size=5,
    )
    task = prepare(replace(REASON, problems=problems), backbone)
    assert list(task.train) == [100, 1495, 7473]

"""The atomic track on a tiny random model: written files, resuming, and the choice of a rate."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.bank.store import load_bank
from tokmem.config import load_config
from tokmem.errors import ConfigError, DataError, DivergedError
from tokmem.eval import answers
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.atomic.data import DataConfig, load_corpus
from tokmem.tracks.atomic.experiment import AtomicExperiment, AtomicPart, AtomicResult, learner_name
from tokmem.tracks.run import carry_out, run
from tokmem.train.settings import FitSettings

DATA = DataConfig(num_tasks=2, train_size=6, val_size=2, test_size=2)
CONFIG = AtomicConfig(
    data=DATA,
    training=FitSettings(lr=0.02, batch_size=4),
    recall=RecallSettings(max_new_tokens=4, batch_size=4),
    prompts=("instruction+query", "query"),
)
ROW = {
    *("method", "prompt", "routing_accuracy", "rouge_l", "rouge_l_forced", "exact_match", "train_seconds"),
    *("trainable_parameters", "prompt_tokens_per_query", "queries_per_second"),
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def test_what_takes_longest_begins_first(backbone: Backbone, tmp_path: Path) -> None:
    begun: list[str] = []

    class Recorded(AtomicExperiment):
        def run(self, part: AtomicPart) -> AtomicResult:
            begun.append(part.variant.name)
            return super().run(part)

    experiment = Recorded(CONFIG, tmp_path / "run", backbone)

    def alone(jobs: Sequence[Sequence[int]]) -> None:
        for part in (experiment.parts[number] for job in jobs for number in job):
            experiment.run(part)

    summary = carry_out(experiment, CONFIG, tmp_path / "run", backbone, spread=alone)
    assert begun[:6] == ["tokmem", "tokmem_dc"] * 2 + ["base"] * 2
    assert [row["method"] for row in summary["rows"]] == ["base", "tokmem", "tokmem_dc"] * 2


def test_rows_banks_and_predictions(backbone: Backbone, tmp_path: Path) -> None:
    summary = run(CONFIG, tmp_path / "run", backbone=backbone)
    rows = {(row["method"], row["prompt"]): row for row in summary["rows"]}
    assert len(rows) == 6
    assert all(row.keys() >= ROW for row in rows.values())
    for prompt in CONFIG.prompts:
        base, coupled, decoupled = (rows[method, prompt] for method in CONFIG.methods)
        assert base["routing_accuracy"] is None
        assert base["rouge_l"] == base["rouge_l_forced"]
        assert (base["trainable_parameters"], base["steps"]) == (0, 0)
        assert coupled["trainable_parameters"] == 2 * backbone.dim
        assert decoupled["trainable_parameters"] == 4 * backbone.dim
        assert coupled["steps"] == 3
        assert 0 <= coupled["routing_accuracy"] <= 100
    long, short = (rows["tokmem", prompt]["prompt_tokens_per_query"] for prompt in CONFIG.prompts)
    assert long > short
    assert summary["provenance"]["backbone_fingerprint"] == backbone.fingerprint
    written = json.loads((tmp_path / "run/summary.json").read_text())
    assert written["rows"] == summary["rows"]
    name = learner_name("tokmem", "query", 0)
    bank, origin = load_bank(tmp_path / "run/banks" / name, fingerprint=backbone.fingerprint)
    assert bank.names == tuple(summary["procedures"])
    assert origin.training["prompt"] == "query"
    kept, row = origin.training["scores"], rows["tokmem", "query"]
    assert {n: kept[n] for n in ("routing_accuracy", "rouge_l", "exact_match")} == {
        n: row[n] for n in ("routing_accuracy", "rouge_l", "exact_match")
    }
    card = (tmp_path / "run/banks" / name / "README.md").read_text()
    assert f"- training data: SHA-256 `{summary['provenance']['data_checksum']}`" in card
    assert f"| exact match | {row['exact_match']:.1f}% |" in card
    assert "Examples: 4, SHA-256" in card
    assert "earlier state" not in card
    predictions = json.loads((tmp_path / f"run/predictions/{name}.json").read_text())
    assert len(predictions) == summary["examples"]["test"] == 4
    lines = (tmp_path / f"run/metrics/{name}.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "memory_loss" in line] == [1, 2, 3]
    assert load_config(AtomicConfig, tmp_path / "run/config.yaml") == CONFIG


@pytest.mark.parametrize(
    "twice",
    [
        {"methods": ("tokmem", "tokmem")},
        {"prompts": ("query", "query")},
        {"seeds": (0, 1, 0)},
        {"train_sizes": (2, 2)},
        {"rates": (0.01, 0.01)},
    ],
)
def test_nothing_is_counted_twice_as_another_seed(twice: dict[str, tuple[object, ...]]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(twice))} .*each once"):
        replace(CONFIG, **twice)


def test_a_seed_that_no_run_would_take_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.seed 3.*set seeds"):
        replace(CONFIG, training=FitSettings(seed=3))


def test_resume_skips_finished_cells(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, prompts=("query",), seeds=(0, 1))
    first = run(config, tmp_path, backbone=backbone)
    with pytest.raises(ConfigError, match="already holds a run"):
        run(config, tmp_path, backbone=backbone)
    with pytest.raises(ConfigError, match="another experiment"):
        run(replace(config, max_length=99), tmp_path, resume=True, backbone=backbone)
    lost = learner_name("tokmem_dc", "query", 1)
    (tmp_path / f"cells/{lost}.json").unlink()
    scored = []
    score = answers.score_answers
    monkeypatch.setattr(answers, "score_answers", lambda *args: scored.append(len(args[0])) or score(*args))
    again = run(config, tmp_path, resume=True, backbone=backbone)
    assert len(scored) == 1, "one cell was lost, one is run again"
    timed = ("queries_per_second", "queries_per_second_std", "train_seconds", "train_seconds_std")
    for row, other in zip(first["rows"], again["rows"], strict=True):
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }
    assert first["rows"][1]["rouge_l_std"] is not None


def test_a_rate_that_diverges_ends_no_search(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(CONFIG, methods=("tokmem",), prompts=("query",), rates=(3e38, 0.05))
    summary = run(config, tmp_path / "one", backbone=backbone)
    assert summary["chosen_rates"] == {"tokmem/query": 0.05}
    assert summary["rate_losses"]["tokmem/query"]["3e+38"] is None
    with pytest.raises(DivergedError, match=r"not finite|nan|inf"):
        run(replace(config, rates=(3e38, 2e38)), tmp_path / "none", backbone=backbone)


def test_rate_is_the_one_with_the_lowest_validation_loss(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(CONFIG, methods=("tokmem",), prompts=("query",), rates=(1e-6, 0.05, 1e-5), seeds=(0, 1))
    summary = run(config, tmp_path, backbone=backbone)
    assert summary["chosen_rates"] == {"tokmem/query": 0.05}
    losses = {}
    for rate in config.rates:
        lines = (tmp_path / f"metrics/tokmem-query-0-{rate:g}.jsonl").read_text().splitlines()
        losses[rate] = min(json.loads(line).get("validation_loss", 99.0) for line in lines)
    assert min(losses, key=losses.__getitem__) == 0.05
    _, origin = load_bank(tmp_path / "banks/tokmem-query-1")
    assert origin.training["settings"]["lr"] == 0.05
    assert "prefix_cache_dir" not in origin.training["settings"], "a path of this machine"
    with pytest.raises(ConfigError, match="no validation examples"):
        run(replace(config, data=replace(DATA, val_size=0)), tmp_path / "none", backbone=backbone)


def test_sizes_and_tasks_of_a_corpus_of_ones_own(backbone: Backbone, tmp_path: Path) -> None:
    rows = [
        {"query": f"q{i}", "turns": [{"procedure": name, "response": "r"}], "split": split}
        for name in "abc"
        for split in ("train", "validation", "test")
        for i in range(5)
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({**row, "id": str(n)}) + "\n" for n, row in enumerate(rows)))
    config = DataConfig(source="jsonl", corpus=str(path), tasks=("c", "a"), train_size=3, test_size=1)
    corpus = load_corpus(config, backbone)
    assert corpus.names == ("a", "c")
    assert [len(corpus.examples(s)) for s in ("train", "validation", "test")] == [6, 10, 2]
    with pytest.raises(DataError, match="close: a"):
        load_corpus(replace(config, tasks=("aa",)), backbone)
    with pytest.raises(ConfigError, match="few_shot"):
        replace(config, few_shot=1)


@pytest.mark.realdata
def test_shipped_experiment_finds_its_tasks(
    backbone: Backbone, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKMEM_SNI_DIR", str(real_data / "sni/tasks"))
    path = Path(__file__).parents[3] / "experiments/atomic/sni10_mini.yaml"
    config = load_config(AtomicConfig, path)
    corpus = load_corpus(config.data, backbone)
    held_out = json.loads((real_data / "sni/splits.json").read_text())["evaluation"]
    assert len(corpus.names) == 10
    assert set(corpus.names) <= set(held_out)
    assert [len(corpus.examples(s)) for s in ("train", "validation", "test")] == [800, 100, 300]

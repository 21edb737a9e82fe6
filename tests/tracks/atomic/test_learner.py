"""Tasks that arrive in portions: the rows of each stage, what is saved, and how a stopped run continues."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.bank.store import load_bank
from tokmem.errors import ConfigError
from tokmem.methods.tokmem import TokMem
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.atomic.config import AtomicConfig
from tokmem.tracks.atomic.data import DataConfig
from tokmem.tracks.run import run
from tokmem.train.settings import FitSettings

CONFIG = AtomicConfig(
    data=DataConfig(num_tasks=5, train_size=4, val_size=2, test_size=2),
    training=FitSettings(lr=0.02, batch_size=4),
    recall=RecallSettings(max_new_tokens=3, batch_size=8),
    methods=("base", "tokmem", "tokmem_dc", "tokmem+negatives=2"),
    prompts=("query",),
    stages=(2, 5),
    schedule="blocks",
    block_size=2,
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


@pytest.fixture(scope="module")
def whole(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continual") / "run"
    run(CONFIG, folder, backbone=backbone)
    return folder


def test_a_row_for_each_stage(whole: Path, backbone: Backbone) -> None:
    summary = json.loads((whole / "summary.json").read_text())
    assert [(r["method"], r["stage"]) for r in summary["rows"]] == [
        (m, k) for m in CONFIG.methods for k in CONFIG.stages
    ]
    rows = {(r["method"], r["stage"]): r for r in summary["rows"]}
    assert rows["tokmem", 2]["trainable_parameters"] == 2 * backbone.dim
    assert rows["tokmem", 5]["trainable_parameters"] == 5 * backbone.dim
    assert rows["tokmem_dc", 5]["trainable_parameters"] == 10 * backbone.dim
    assert rows["tokmem", 5]["new_examples"] == 20
    assert rows["base", 5]["trainable_parameters"] == 0
    assert len(rows["base", 2]["per_procedure"]) == 2
    assert len(rows["tokmem", 5]["per_procedure"]) == 5
    assert rows["tokmem", 5]["rouge_l_when_learned"] is not None
    assert rows["base", 5]["rouge_l_when_learned"] is None
    kept = [(f["method"], f["learned_at"], f["evaluated_at"]) for f in summary["forgetting"]]
    assert kept == [(m, *pair) for m in CONFIG.methods for pair in ((2, 2), (2, 5), (5, 5))]


def test_rows_of_earlier_stages_stay_bit_equal(whole: Path) -> None:
    for method in ("tokmem", "tokmem_dc"):
        early, _ = load_bank(whole / f"banks/{method}-query-0-2")
        late, _ = load_bank(whole / f"banks/{method}-query-0")
        assert late.names[:2] == early.names
        for name in early.names:
            assert late.slots.ids(name) == early.slots.ids(name)
            for old, new in zip(early.rows(name), late.rows(name), strict=True):
                assert torch.equal(old, new)
        assert not (whole / f"banks/{method}-query-0-4").exists(), "no stage ends there"


@pytest.mark.parametrize(
    ("method", "broken"), [("tokmem_dc", 1), ("tokmem_dc", 2), ("tokmem+negatives=2", 2)]
)
def test_a_run_stopped_in_a_block_goes_on_as_if_it_had_not(
    method: str, broken: int, whole: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, methods=(method,))
    fit, calls = TokMem._fit, []

    def stop(self: TokMem, *args: object, **kwargs: object) -> object:
        calls.append(len(self.bank))
        if len(calls) == broken + 1:
            raise KeyboardInterrupt
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(TokMem, "_fit", stop)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "run", backbone=backbone)
    monkeypatch.undo()
    done = run(config, tmp_path / "run", backbone=backbone, resume=True)
    expected = [r for r in json.loads((whole / "summary.json").read_text())["rows"] if r["method"] == method]
    timed = ("train_seconds", "queries_per_second")
    for row, other in zip(done["rows"], expected, strict=True):
        assert {k: v for k, v in row.items() if k not in timed} == {
            k: v for k, v in other.items() if k not in timed
        }
    ours, _ = load_bank(tmp_path / "run/banks" / f"{method}-query-0")
    theirs, _ = load_bank(whole / "banks" / f"{method}-query-0")
    assert torch.equal(ours.address.rows(), theirs.address.rows())
    assert torch.equal(ours.steering.rows(), theirs.steering.rows())
    assert {n: len(states) for n, states in ours.states.items()} == {
        n: len(s) for n, s in theirs.states.items()
    }
    assert len(ours.states) == (5 if "negatives" in method else 0)


def test_measuring_a_saved_bank_goes_on_where_it_stopped(
    whole: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """Nothing was learned, so nothing was saved that could be taken up."""
    bank = str(whole / "banks/tokmem-query-0")
    config = replace(CONFIG, methods=("tokmem",), skip_training=True, load_task_tokens=bank)
    rows = run(config, tmp_path / "run", backbone=backbone)["rows"]
    path = tmp_path / "run/cells/tokmem-query-0.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"done": 1, "rows": state["rows"][:1]}))
    again = run(config, tmp_path / "run", backbone=backbone, resume=True)["rows"]
    scores = [[row[name] for name in ("stage", "rouge_l", "routing_accuracy")] for row in (*rows, *again)]
    assert scores[:2] == scores[2:]


def test_renorm_gives_new_rows_the_norm_of_the_old(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(CONFIG, methods=("tokmem", "tokmem+renorm=stage"))
    run(config, tmp_path / "run", backbone=backbone)
    plain, _ = load_bank(tmp_path / "run/banks/tokmem-query-0")
    scaled, _ = load_bank(tmp_path / "run/banks/tokmem+renorm=stage-query-0")
    old = scaled.addresses()[:2].norm(dim=1).mean()
    torch.testing.assert_close(scaled.addresses()[2:4].norm(dim=1), old.expand(2))
    assert not torch.allclose(plain.addresses()[2:].norm(dim=1), old.expand(3), rtol=1e-4)
    assert torch.equal(plain.addresses()[:2], scaled.addresses()[:2]), "with none old it does nothing"


def test_the_rate_is_chosen_on_the_first_stage(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(CONFIG, methods=("tokmem",), rates=(1e-6, 0.05), schedule="tasks")
    summary = run(config, tmp_path / "run", backbone=backbone)
    assert summary["chosen_rates"] == {"tokmem/query": 0.05}
    metrics = {p.name for p in (tmp_path / "run/metrics").iterdir()}
    assert {"tokmem-query-0-1e-06-2-choice.jsonl", "tokmem-query-0-0.05-3.jsonl"} <= metrics


def test_other_instructions_are_asked_after_the_last_stage(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(CONFIG, methods=("base", "tokmem"), prompts=("instruction+query",))
    summary = run(replace(config, probes=("truncated", "reworded")), tmp_path / "run", backbone=backbone)
    assert [(p["method"], p["stage"], p["instruction"]) for p in summary["probes"]] == [
        (m, 5, kind) for m in config.methods for kind in ("truncated", "reworded")
    ]
    assert summary["probes"][0]["routing_accuracy"] is None
    assert summary["probes"][2]["routing_accuracy"] is not None


def test_without_test_queries_no_other_instruction_is_asked(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(CONFIG, methods=("tokmem",), prompts=("instruction+query",), probes=("truncated",))
    config = replace(config, data=replace(config.data, test_size=0))
    assert run(config, tmp_path / "run", backbone=backbone)["probes"] == []


def test_sample_efficiency_is_a_row_for_each_size(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(CONFIG, methods=("tokmem",), stages=(), schedule="mixed", train_sizes=(1, 4))
    summary = run(config, tmp_path / "run", backbone=backbone)
    assert [(r["train_size"], r["new_examples"]) for r in summary["rows"]] == [(1, 5), (4, 20)]
    assert summary["examples"]["train"] == 5, "those of the first size"
    assert (tmp_path / "run/banks/tokmem-query-0-n1/bank.json").is_file()
    with pytest.raises(ConfigError, match="train_sizes up to 9"):
        run(replace(config, train_sizes=(9,)), tmp_path / "more", backbone=backbone)


@pytest.mark.slow
def test_several_processes_find_what_one_does(tmp_path: Path) -> None:
    """On the bundled backbone, which each process loads by itself."""
    config = AtomicConfig(
        data=DataConfig(num_tasks=2, train_size=4, val_size=2, test_size=2),
        training=FitSettings(lr=0.05, batch_size=4),
        recall=RecallSettings(max_new_tokens=4, batch_size=4),
        methods=("base", "tokmem"),
    )
    alone = run(config, tmp_path / "alone")
    shared = run(config, tmp_path / "shared", workers=2)
    assert len(list((tmp_path / "shared/cells").iterdir())) == 2
    for one, other in zip(alone["rows"], shared["rows"], strict=True):
        for name in ("method", "routing_accuracy", "rouge_l", "steps"):
            assert one[name] == pytest.approx(other[name]), name

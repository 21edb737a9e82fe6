from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_examples, tiny_lm
from tests.train.shared import fit_bank
from tokmem.data.stream import SideBySide
from tokmem.errors import ConfigError, TrainingError
from tokmem.log import Callback, Metrics
from tokmem.model.memory_lm import MemoryLM
from tokmem.train.optim import rate
from tokmem.train.settings import FitReport, FitSettings
from tokmem.train.step import plain_loss


def trained(
    count: int = 12, validation: int = 0, callbacks: Sequence[Callback] = (), **settings: Any
) -> tuple[MemoryLM, FitReport]:
    """A decoupled bank trained on `count` examples."""
    lm = tiny_lm("llama", False)
    held = tiny_examples(lm.bank, validation, seed=1)
    report = fit_bank(
        lm, tiny_examples(lm.bank, count), FitSettings(**settings), validation=held, callbacks=callbacks
    )
    return lm, report


def rows(lm: MemoryLM) -> list[torch.Tensor]:
    return [table.rows() for table in lm.bank.tables]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_loss_falls_and_every_step_is_reported(tmp_path: Path) -> None:
    with Metrics(tmp_path / "metrics.jsonl") as metrics:
        lm, report = trained(lr=0.05, epochs=10, callbacks=[metrics])
    written = lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in written] == list(range(1, 31))
    start, end = (sum(line["loss"] for line in part) / 3 for part in (written[:3], written[-3:]))
    assert end < 0.9 * start
    examples = tiny_examples(lm.bank, 12)
    assert report.steps == 30
    assert report.loss == pytest.approx(written[-1]["loss"], rel=1e-5)
    assert report.supervised_tokens == 10 * sum(sum(e.supervised) for e in examples)
    assert report.prompt_tokens == 10 * sum(e.prefix for e in examples)


def test_accumulated_batches_equal_one_large_batch() -> None:
    options = {"lr": 0.01, "epochs": 2, "shuffle": False, "window": 4}
    small, _ = trained(batch_size=2, accumulation=2, **options)
    large, report = trained(batch_size=4, **options)
    assert report.steps == 6
    for a, b in zip(rows(small), rows(large), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_schedule_goes_by_optimizer_steps(tmp_path: Path) -> None:
    with Metrics(tmp_path / "m.jsonl") as metrics:
        trained(lr=0.01, epochs=2, batch_size=2, accumulation=3, warmup=0.5, callbacks=[metrics])
    assert [line["lr"] for line in lines(tmp_path / "m.jsonl")] == [0.005, 0.01, 0.01, 0.005]


def test_rates_rise_then_fall_to_zero_or_stay() -> None:
    assert [rate(i, 6, 1.0, 0.34, "linear") for i in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert [rate(i, 4, 1.0, 0.0, "constant") for i in range(4)] == [1.0] * 4
    assert rate(3, 4, 1.0, 1.0, "linear") == 1.0


def test_the_defaults_are_the_papers() -> None:
    paper = FitSettings()
    assert (paper.lr, paper.weight_decay, paper.epochs, paper.batch_size) == (5e-3, 0.0, 1, 4)


def test_the_best_rows_are_kept_and_patience_ends_the_run() -> None:
    options = {"lr": 0.5, "epochs": 6, "validate_every": 1, "validation": 6, "schedule": "constant"}
    lm, report = trained(**options)
    assert (report.steps, report.best_step < 18) == (18, True)
    sums = plain_loss(lm, tiny_examples(lm.bank, 6, seed=1))
    assert float(sums.total.detach()) / sums.count == pytest.approx(report.best_loss, rel=1e-5)
    early, stopped = trained(patience=2, **options)
    assert stopped.steps < 18
    assert stopped.steps == stopped.best_step + 2
    assert 0 < stopped.examples < report.examples
    if stopped.best_step == report.best_step:
        assert all(torch.equal(a, b) for a, b in zip(rows(lm), rows(early), strict=True))


def test_the_bar_shows_the_best_validation_once_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[set[str]] = []
    monkeypatch.setattr("tokmem.train.fit.postfix", lambda bar, **values: shown.append(set(values)))
    trained(epochs=2, validate_every=1, validation=6)
    assert shown[0] == {"loss"}
    assert shown[-1] == {"loss", "best"}


def test_patience_without_validation_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    fit_bank(lm := tiny_lm("llama"), tiny_examples(lm.bank, 2), FitSettings(patience=3))
    assert "patience 3 does nothing" in caplog.text


@pytest.mark.parametrize("frozen_prefix", [True, False])
def test_a_loss_that_is_not_finite_stops_the_run(frozen_prefix: bool) -> None:
    lm = tiny_lm("llama")
    lm.bank.steering.fresh.data[0, 0] = math.nan
    with pytest.raises(TrainingError, match="loss nan at step 0"):
        fit_bank(lm, tiny_examples(lm.bank, 4), FitSettings(frozen_prefix=frozen_prefix))


@pytest.mark.parametrize("steps", [1, 2])
def test_parameters_that_are_not_finite_are_refused_and_not_saved(steps: int, tmp_path: Path) -> None:
    """A finite loss may have a gradient that is not, as in half precision; the last step has no next loss."""
    lm = tiny_lm("llama")
    settings = FitSettings(lr=1e39, warmup=0, checkpoint_every=1)
    with pytest.raises(TrainingError, match="parameters that are not finite at step 1"):
        fit_bank(lm, tiny_examples(lm.bank, 4 * steps), settings, checkpoint=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("frozen_prefix", [True, False])
def test_examples_without_targets_are_refused(frozen_prefix: bool) -> None:
    lm = tiny_lm("llama")
    none = [replace(e, supervised=(False,) * len(e.ids)) for e in tiny_examples(lm.bank, 1)]
    settings = FitSettings(frozen_prefix=frozen_prefix)
    with pytest.raises(TrainingError, match="example '0' without a token to learn"):
        fit_bank(lm, none, settings)
    with pytest.raises(TrainingError, match="example '0' without a token to learn"):
        fit_bank(lm, tiny_examples(lm.bank, 2), settings, validation=none)


def test_a_memory_token_in_the_first_place_needs_the_plain_path() -> None:
    lm = tiny_lm("llama")
    bare = [
        replace(e, ids=e.ids[e.prefix :], supervised=(False, *e.supervised[e.prefix + 1 :]), prefix=0)
        for e in tiny_examples(lm.bank, 2)
    ]
    with pytest.raises(TrainingError, match=r"begins with its first memory token.*frozen_prefix=False"):
        fit_bank(lm, bare, FitSettings())
    assert fit_bank(lm, bare, FitSettings(frozen_prefix=False)).steps == 1


def test_nothing_to_train_is_refused() -> None:
    lm = tiny_lm("llama", fresh=0)
    with pytest.raises(TrainingError, match="3 examples and 0 trainable procedures"):
        fit_bank(lm, tiny_examples(lm.bank, 3), FitSettings())
    with pytest.raises(TrainingError, match="0 examples and 3 trainable"):
        fit_bank(tiny_lm("llama"), [], FitSettings())


def test_the_plain_path_trains_the_same_rows() -> None:
    options = {"lr": 0.01, "epochs": 2, "validation": 4}
    (fast, report), (plain, other) = (trained(frozen_prefix=on, **options) for on in (True, False))
    for a, b in zip(rows(fast), rows(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert report.best_loss == pytest.approx(other.best_loss, rel=1e-5)
    assert (other.prefix_hits, other.prefix_misses) == (0, 0)


def test_what_is_cached_changes_no_bit() -> None:
    options = {"lr": 0.01, "epochs": 3, "batch_size": 2, "window": 4, "validation": 3}
    (none, few), (all_, many) = (trained(prefix_cache_mb=size, **options) for size in (0, 64))
    assert (many.prefix_misses, many.prefix_hits) == (4, 17)  # three of training, one of validation
    assert few.prefix_misses > 3
    assert all(torch.equal(a, b) for a, b in zip(rows(none), rows(all_), strict=True))
    assert few.best_loss == many.best_loss


def test_a_single_epoch_side_by_side_reads_each_window_once() -> None:
    """Its steps come back to a window after others."""
    lm = tiny_lm("llama")
    order = SideBySide(2, 32, 16, True, seed=0)
    report = fit_bank(lm, tiny_examples(lm.bank, 64), FitSettings(), order=order)
    assert (report.prefix_misses, report.prefix_hits) == (4, 28)


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: -1} for name in ("lr", "weight_decay", "validate_every", "patience", "prefix_disk_mb")),
        *({name: 0} for name in ("epochs", "batch_size", "accumulation", "window", "checkpoint_every")),
        *({"warmup": 1.5}, {"warmup": -0.1}, {"schedule": "cosine"}),
    ],
)
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FitSettings(**wrong)


def test_targets_inside_the_prefix_need_the_plain_path() -> None:
    lm = tiny_lm("llama")
    early = [
        replace(e, supervised=(False, True, *e.supervised[2:]), prefix=5) for e in tiny_examples(lm.bank, 2)
    ]
    with pytest.raises(TrainingError, match="before its first memory token"):
        fit_bank(lm, early, FitSettings())


def test_packing_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = FitSettings(lr=0.02, epochs=2)
    lm = tiny_lm("llama")
    assert lm.longest_packed > 100
    fit_bank(lm, tiny_examples(lm.bank, 8), settings)
    monkeypatch.setattr(MemoryLM, "packed", None)
    other = tiny_lm("llama")
    fit_bank(other, tiny_examples(other.bank, 8), replace(settings, packed_rows=False))
    assert other.longest_packed > 100, "as before"
    for ours, plain in zip(rows(lm), rows(other), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import bank_scale, epochs, profile
from bench.bank_scale import Grown, Sized, build_large_bank, measure, spread
from bench.setup import build_model, load_queries
from bench.train_step import parse
from tests.tiny import tiny_lm
from tests.train.shared import fit_bank, shared_examples
from tokmem.errors import ConfigError
from tokmem.train.settings import FitSettings

pytest.importorskip("peft")


def test_the_bare_forward_reads_what_an_epoch_reads() -> None:
    lm = tiny_lm("llama")
    examples, settings = shared_examples(lm.bank, 20), FitSettings(window=8)
    read = epochs.bare_forward(lm, examples, settings.stream(20))
    assert read == fit_bank(lm, examples, settings).read_tokens < 0.7 * sum(e.prefix for e in examples)


def test_rows_are_compared_with_the_plain_loop_and_the_bare_forward() -> None:
    row = {"name": "three", "seconds": 6.0, "epochs": 3, "peak_gb": 1.0}
    got = epochs.compared(row, tokens=100, plain=10.0, bare=3.0, peak=4.0)
    assert (got["tokens_per_second"], got["speedup"]) == (50.0, 5.0)
    assert (got["over_bare"], got["memory_share"]) == (2.0, 0.25)
    assert "memory_share" not in epochs.compared({"seconds": 1.0, "epochs": 1}, 1, 1.0, 1.0, 1.0)


def test_memory_tokens_are_spread_over_a_large_bank(small: list[str]) -> None:
    settings, _ = parse(small)
    queries = load_queries(settings)
    bank = build_large_bank(settings, 90)
    moved = spread(queries, settings, bank)
    for batch, other in zip(queries.batches, moved, strict=True):
        for example, changed in zip(batch, other, strict=True):
            assert replace(changed, ids=example.ids) == example
            (before,) = (i for i in example.ids if i >= settings.vocab - settings.procedures)
            (after,) = (i for i in changed.ids if i in bank.slots.token_ids)
            assert after - settings.vocab == 10 * (before - settings.vocab + settings.procedures)


def test_what_cannot_be_measured_is_told(small: list[str]) -> None:
    settings, _ = parse(small)
    with pytest.raises(ConfigError, match="9 procedures in a bank of 3"):
        bank_scale.run(settings, (3, 90))
    with pytest.raises(ConfigError, match="none within 20 tokens"):
        load_queries(replace(settings, max_length=20))
    with pytest.raises(ConfigError, match="900"):
        load_queries(replace(settings, backbone="mini", procedures=900))


def test_a_tiny_bank_is_measured(small: list[str]) -> None:
    settings, _ = parse(small)
    queries = load_queries(settings)
    (row,) = measure([Sized(settings, build_model(settings), queries, settings.procedures)], queries)
    assert row["memory_tokens"] == settings.procedures
    assert row["step_seconds"] > row["suffix_seconds"] > 0 < row["routing_ms"]


def test_a_grown_bank_trains_the_steering_of_its_new_rows_alone(small: list[str]) -> None:
    settings, _ = parse(small)
    queries = load_queries(settings)
    grown = Grown(settings, build_model(settings), queries, 90)
    bank = grown.bank
    assert (len(bank), len(bank.fresh_names)) == (90, settings.procedures)
    before = [table.rows().detach().clone() for table in bank.tables]
    grown.step(grown.batches[0])
    changed = [
        (table.rows() != old).any(-1).nonzero()[:, 0] for table, old in zip(bank.tables, before, strict=True)
    ]
    steering, address = sorted(changed, key=len, reverse=True)
    assert len(address) == 0 < len(steering)
    assert steering.min() >= 90 - settings.procedures


def test_kernels_are_told_apart_by_the_shapes_they_take(small: list[str]) -> None:
    settings, _ = parse(small)  # hidden 32, intermediate 48, vocabulary 500
    assert profile.kind("aten::mm", [[9, 32], [32, 48]], settings) == profile.LAYERS
    assert profile.kind("aten::addmm", [[9, 32], [32, 500]], settings) == profile.VOCABULARY
    assert (
        profile.kind("aten::_scaled_dot_product_flash_attention_for_cpu", [], settings) == profile.ATTENTION
    )
    assert profile.kind("aten::silu", [[9, 48]], settings) is None


def test_the_profile_shares_a_step_out(small: list[str]) -> None:
    sums = {profile.LAYERS: (4.0, 8e9), profile.VOCABULARY: (2.0, 8e9), profile.ATTENTION: (1.0, 0.0)}
    rows = profile.summarise(sums, whole=10.0, large=8e9, count=2)
    assert [row["seconds"] for row in rows] == [2.0, 1.0, 0.5, 1.5, 5.0, 3.0]
    assert sum(row["share"] for row in rows[:4]) == pytest.approx(1.0)
    assert [row.get("gflops") for row in rows] == [2.0, 4.0, None, None, None, 8.0]
    with pytest.raises(ConfigError, match="cpu: a GPU's kernels"):
        profile.run(replace(parse(small)[0], device="meta"))
    measured = profile.run(parse(small)[0])["rows"]
    assert all(row["gflops"] > 0 for row in (measured[0], measured[1], measured[-1]))
    assert sum(row["seconds"] for row in measured[:4]) == pytest.approx(measured[4]["seconds"])


@pytest.mark.slow
def test_whole_runs_from_a_bare_clone(small: list[str], tmp_path: Path) -> None:
    epochs.main(small)
    result = json.loads((tmp_path / "result.json").read_text())
    rows = {row["name"]: row for row in result["rows"]}
    assert len(rows) == 9
    assert rows["plain, validation"]["speedup"] == pytest.approx(1.0)
    assert rows["tokmem, later validation"]["speedup"] > rows["tokmem, first validation"]["speedup"]
    assert result["bare_prompt_tokens"] == result["unique_prompt_tokens"] > 0
    assert result["hits"]["three epochs"] > result["hits"]["one epoch"]
    settings, _ = parse(small)
    rows = bank_scale.run(settings, (9, 90))["rows"]
    assert [row["memory_tokens"] for row in rows] == [9, 90] * 2
    assert [row["step_ratio"] for row in rows[::2]] == [1.0, 1.0]
    assert all(row["step_seconds"] > row["suffix_seconds"] > 0 < row["routing_ms"] for row in rows)

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bench.contenders import BUILDERS, Contender, Trainer
from bench.peak import measure_peak
from bench.setup import build_bank, build_model, load_queries, memory_ids
from bench.train_step import Work, agreement, check_equal_work, main, parse, summarise, worked
from tests.tiny import tiny_bank, tiny_examples, tiny_model
from tokmem.errors import TrainingError
from tokmem.model.backbone import load_backbone
from tokmem.train.speed import peak_bytes

pytest.importorskip("peft")


def contenders() -> dict[str, Contender]:
    model = tiny_model("llama-tied")
    return {
        name: build(model, tiny_bank(True, "spare", frozen=0, fresh=6)) for name, build in BUILDERS.items()
    }


def test_contenders_do_equal_work() -> None:
    built = contenders()
    batch = tiny_examples(tiny_bank(True, "spare", frozen=0, fresh=6), 4)
    check_equal_work(worked(built, batch))
    trained = {name: Trainer(contender, 1e-3) for name, contender in built.items()}
    losses = [[trainer.step(batch) for trainer in trained.values()] for _ in range(3)]
    assert losses[2][0] < losses[0][0]
    for row in losses:
        assert row == pytest.approx([row[0]] * 3, rel=1e-4)


@pytest.mark.parametrize(("loss", "difference"), [(1.001, 0.0), (1.0, 0.01)])
def test_unequal_work_is_refused(loss: float, difference: float) -> None:
    exact = {"plain": Work(loss, torch.tensor([1.0 + difference])), "tokmem": Work(1.0, torch.tensor([1.0]))}
    with pytest.raises(TrainingError, match="plain is apart"):
        check_equal_work(exact)


def test_ratios_are_taken_within_a_round() -> None:
    rounds = [{"plain": 4.0, "tokmem": 1.0}, {"plain": 40.0, "tokmem": 10.0}, {"plain": 8.0, "tokmem": 4.0}]
    peaks = {"plain": {"peak_gb": 4.0}, "tokmem": {"peak_gb": 1.0}}
    plain, ours = summarise(rounds, [100, 100, 100], peaks)
    assert (plain["speedup"], ours["speedup"], ours["memory_share"]) == (1.0, 4.0, 0.25)
    assert ours["tokens_per_second"] == 25.0


def test_batches_are_the_same_in_every_process(small: list[str]) -> None:
    settings, _ = parse(small)
    first, second = load_queries(settings), load_queries(settings)
    assert first == second
    assert first.batches[0] != first.batches[1]


def test_the_bundled_backbone_has_its_own_shape_and_ids(small: list[str]) -> None:
    settings, _ = parse([*small, "--backbone", "mini", "--tokenizer", "mini", "--batch", "2"])
    model, queries = build_model(settings), load_queries(settings)
    config = model.config
    assert (settings.layers, settings.hidden, settings.kv_heads) == (
        config.num_hidden_layers,
        config.hidden_size,
        config.num_key_value_heads,
    )
    bank = build_bank(settings, model, queries.names)
    assert set(bank.slots.token_ids) < set(load_backbone("mini").id_space().spare)
    assert all(e.ids[e.prefix] in bank.slots.token_ids for batch in queries.batches for e in batch)
    found = agreement(settings, model, tuple(BUILDERS), queries)
    assert found["tokmem"] == {"loss": 0.0, "gradient": 0.0}


def test_what_a_dtype_costs_is_measured_against_float32(small: list[str]) -> None:
    settings, _ = parse([*small, "--dtype", "bfloat16"])
    found = agreement(settings, build_model(settings), ("plain", "tokmem"), load_queries(settings))
    assert found["plain"]["gradient"] < 1e-3 < found["tokmem"]["rounding_gradient"] < 0.5


def test_a_vocabulary_without_spare_rows_gets_some(small: list[str], tmp_path: Path) -> None:
    given = [*small, "--backbone", "mini", "--tokenizer", "mini", "--procedures", "70"]
    settings, _ = parse(given)
    own = load_backbone("mini").model.get_input_embeddings().num_embeddings
    model, space = build_model(settings), memory_ids(settings)
    assert space.rows == own + 6  # mini has 64 to spare
    assert set(space.spare) >= set(range(own, own + 6))
    head = model.get_output_embeddings().weight
    assert head is model.get_input_embeddings().weight
    assert head[own:].equal(head[:6])
    assert not head.requires_grad


def test_each_backbone_has_a_result_file_of_its_own(small: list[str]) -> None:
    assert parse([*small[:-2], "--backbone", "mini"])[1].name == "train_step_mini.json"
    assert parse(small[:-2])[1].name == "train_step.json"


@pytest.mark.slow
def test_peak_is_of_the_step_and_not_of_the_parent(small: list[str]) -> None:
    held = torch.ones(1 << 29, dtype=torch.uint8)
    settings, _ = parse(small)
    peak = measure_peak("tokmem", settings)
    assert 0 < peak["loaded_gb"] <= peak["peak_gb"] < peak_bytes() / 1e9
    assert held.sum() == 1 << 29


@pytest.mark.slow
def test_whole_run_from_a_bare_clone(small: list[str], tmp_path: Path) -> None:
    main(small)
    result = json.loads((tmp_path / "result.json").read_text())
    assert [row["name"] for row in result["rows"]] == ["plain", "peft", "tokmem"]
    assert all(row["tokens_per_second"] > 0 and row["peak_gb"] > 0 for row in result["rows"])
    assert result["queries"]["source"].startswith("generated")
    assert 0 < result["supervised_share"] < 0.2

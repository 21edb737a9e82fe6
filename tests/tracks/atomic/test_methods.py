"""Every method in one continual run: rows, budgets and costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.bank.store import load_bank
from tokmem.errors import ConfigError
from tokmem.methods.adapted import AdapterSettings
from tokmem.methods.registry import methods_of
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.tracks.atomic.config import AtomicConfig, DemonstrationConfig
from tokmem.tracks.atomic.data import DataConfig
from tokmem.tracks.run import run
from tokmem.train.settings import FitSettings

METHODS = tuple(methods_of("atomic"))
CONFIG = AtomicConfig(
    data=DataConfig(num_tasks=4, train_size=4, val_size=2, test_size=2),
    training=FitSettings(lr=0.02, batch_size=4),
    recall=RecallSettings(max_new_tokens=3, batch_size=8),
    lora=AdapterSettings(lora_r=2),
    demonstrations=DemonstrationConfig(few_shot=1, retrieval_k=1),
    methods=METHODS,
    stages=(2, 4),
    schedule="blocks",
    block_size=2,
)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone(tiny_tokenizer(LLAMA))


def test_every_method_has_a_row_for_each_stage(backbone: Backbone, tmp_path: Path) -> None:
    summary = run(CONFIG, tmp_path / "run", backbone=backbone)
    rows = {(r["method"], r["stage"]): r for r in summary["rows"]}
    assert set(rows) == {(m, k) for m in METHODS for k in CONFIG.stages}
    routed = {m for m in METHODS if rows[m, 4]["routing_accuracy"] is not None}
    assert routed == {"rag", "rag_instructed", "tokmem", "tokmem_dc"}
    trained = {m for m in METHODS if rows[m, 4]["trainable_parameters"]}
    assert trained == {"lora", "replay", "tokmem", "tokmem_dc"}
    assert all(rows[m, 4]["new_examples"] == 16 for m in trained), "the same new examples for all"
    assert rows["replay", 4]["replayed_examples"] == 2, "a fifth of the ten seen in the second block"
    assert rows["lora", 4]["replayed_examples"] == 0
    assert rows["lora", 4]["trainable_parameters"] == rows["lora", 2]["trainable_parameters"]
    assert rows["rag_instructed", 4]["settings"]["include_instruction_in_demos"] is True
    assert rows["rag", 4]["settings"]["include_instruction_in_demos"] is False
    assert rows["lora", 2]["settings"]["lora_r"] == 2
    longest = max(METHODS, key=lambda m: rows[m, 4]["prompt_tokens_per_query"])
    assert longest in ("icl", "rag", "rag_instructed")
    assert (tmp_path / "run/learned/lora-instruction-query-0/adapter_model.safetensors").is_file()


def test_every_trained_method_gets_the_same_search(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same search"):
        replace(CONFIG, rates=(0.01, 0.1), lora=AdapterSettings(rates=(1e-3,)))
    config = replace(
        CONFIG,
        methods=("lora+lora_r=1", "tokmem"),
        rates=(1e-6, 0.05),
        lora=AdapterSettings(rates=(1e-7, 1e-2)),
    )
    summary = run(config, tmp_path / "run", backbone=backbone)
    assert set(summary["chosen_rates"]) == {"lora+lora_r=1/instruction+query", "tokmem/instruction+query"}
    tried = {path.name for path in (tmp_path / "run/metrics").iterdir()}
    assert {f"lora+lora_r=1-instruction-query-0-{rate}-2.jsonl" for rate in ("1e-07", "0.01")} <= tried
    assert summary["chosen_rates"]["lora+lora_r=1/instruction+query"] == 0.01
    assert summary["rows"][0]["settings"]["lora_r"] == 1


def test_demonstrations_are_not_shown_twice() -> None:
    data = DataConfig(source="sni", tasks_dir="anywhere", few_shot=2)
    with pytest.raises(ConfigError, match="few_shot 2 and icl, which show their own"):
        replace(CONFIG, data=data, methods=("base", "icl"))


def test_closed_addresses_are_a_variant_of_decoupled_tokens(backbone: Backbone, tmp_path: Path) -> None:
    name = "tokmem_dc+addresses=closed+shared=frozen+ridge=0.3"
    summary = run(replace(CONFIG, methods=("tokmem_dc", name)), tmp_path / "run", backbone=backbone)
    row = next(r for r in summary["rows"] if r["method"] == name and r["stage"] == 4)
    assert row["settings"]["addresses"] == "closed"
    assert (row["settings"]["shared"], row["settings"]["ridge"]) == ("frozen", 0.3)
    assert row["new_examples"] == 16
    bank, _ = load_bank(tmp_path / f"run/banks/{name}-instruction-query-0")
    assert bank.statistics is not None
    assert set(bank.statistics.counts.values()) == {4}


def test_a_closed_bank_goes_on_learning_as_a_closed_one(backbone: Backbone, tmp_path: Path) -> None:
    first = replace(
        CONFIG, data=replace(CONFIG.data, num_tasks=2), methods=("tokmem_dc",), addresses="closed", stages=()
    )
    run(replace(first, shared="frozen"), tmp_path / "first", backbone=backbone)
    folder = str(tmp_path / "first/banks/tokmem_dc-instruction-query-0")
    more = replace(first, data=CONFIG.data, load_task_tokens=folder)
    with pytest.raises(ConfigError, match=r"false_accept 0\.5"):
        run(replace(more, false_accept=0.5), tmp_path / "other", backbone=backbone)
    summary = run(more, tmp_path / "more", backbone=backbone)
    assert summary["rows"][0]["settings"]["addresses"] == "closed"
    bank, _ = load_bank(tmp_path / "more/banks/tokmem_dc-instruction-query-0")
    assert bank.statistics is not None
    assert len(bank.statistics.counts) == 4
    assert bank.statistics.policy.shared == "frozen", "the bank's own, where the experiment asks for none"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("tokmem",), "addresses": "closed"}, "tokmem_dc"),
        ({"methods": ("tokmem+addresses=closed",)}, "addresses=closed"),
        ({"methods": ("tokmem_dc+addresses=closed+renorm=stage",)}, "renorm stage"),
        ({"methods": ("tokmem_dc+addresses=closed",), "ridge": 0.0}, r"ridge 0\.0"),
    ],
)
def test_closed_addresses_of_coupled_tokens_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)

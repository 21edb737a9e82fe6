"""Reasoning on a tiny random model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.data.tiny_chat import LLAMA, tiny_tokenizer
from tests.tiny import tiny_backbone
from tokmem.errors import ConfigError
from tokmem.model.backbone import Backbone
from tokmem.recall.settings import RecallSettings
from tokmem.report.results import results_table
from tokmem.tracks.reason import prepare
from tokmem.tracks.reason.config import ProblemsConfig, ReasonConfig
from tokmem.tracks.run import run
from tokmem.train.settings import FitSettings

CONFIG = ReasonConfig(
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


def test_reasoning(backbone: Backbone, tmp_path: Path) -> None:
    summary = run(CONFIG, tmp_path / "run", backbone=backbone)
    rows = {(r["method"], r["train_size"]): r for r in summary["rows"]}
    assert set(rows) == {("base", 0), *((m, n) for m in CONFIG.methods[1:] for n in (4, 8))}
    assert all(r["seeds"] == (1 if m == "base" else 2) for (m, _), r in rows.items())
    assert [rows["tokmem", n]["steps"] for n in (4, 8)] == [1, 2]
    dim = backbone.dim
    kinds = {m: rows[m, 4]["trainable_parameters"] for m in CONFIG.methods[1:]}
    assert kinds == {"tokmem": 2 * dim, "prefix": 2 * dim, "peft_prompt": 2 * dim, "peft_prefix": 2 * 64}
    name = "tokmem-2-n8-1"
    predictions = json.loads((tmp_path / f"run/predictions/{name}.json").read_text())
    assert len(predictions) == 3
    assert all(p["expected"] for p in predictions)
    assert (tmp_path / f"run/learned/{name}/bank.safetensors").is_file()
    assert "exact_match" in results_table(summary).columns


def test_the_chat_format_is_that_of_the_config(backbone: Backbone, tmp_path: Path) -> None:
    told = prepare(CONFIG, tmp_path, backbone)
    bare = prepare(replace(CONFIG, chat_template=False, system_prompt=""), tmp_path, backbone)
    ids = [task.chat.prompt_ids(task.chat.text_ids("How many?")) for task in (told, bare)]
    assert "Think." in told.chat.decode(ids[0])
    assert bare.chat.decode(ids[1]) == "How many?\n"


def test_a_variant_may_have_a_rate_of_its_own(backbone: Backbone, tmp_path: Path) -> None:
    config = replace(CONFIG, methods=("tokmem", "tokmem+lr=0.0"), seeds=(0,))
    run(config, tmp_path, backbone=backbone)
    steps = {
        name: [
            json.loads(line) for line in (tmp_path / f"metrics/{name}-2-n4-0.jsonl").read_text().splitlines()
        ]
        for name in config.methods
    }
    assert [line["lr"] for line in steps["tokmem+lr=0.0"] if "lr" in line] == [0.0]
    assert [line["lr"] for line in steps["tokmem"] if "lr" in line] == [0.01]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("lora",)}, "method 'lora'"),
        ({"methods": ("base+lr=0.1",)}, "no settings"),
        ({"methods": ("prefix+placement=behind",)}, "'behind' in method"),
        ({"methods": ("prefix+placement=infix",)}, "'infix' in method"),
        ({"methods": ("tokmem", "tokmem+lr=-1")}, "lr -1"),
        ({"training": FitSettings(seed=3)}, "training.seed 3"),
        ({"max_length": 0}, "max_length 0"),
        ({"seeds": (0, 0)}, "seeds .*each once"),
    ],
)
def test_configs_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)


def test_problems_that_do_not_suit_are_refused_before_training(backbone: Backbone, tmp_path: Path) -> None:
    for problems, message in (
        ({"source": "gsm8k"}, "both files for gsm8k"),
        ({"train_file": "a"}, "none for arithmetic"),
        ({"train_sizes": (0,)}, "sizes above 0"),
        ({"train_sizes": (float("nan"),)}, "sizes above 0"),
        ({"train_sizes": (float("inf"),)}, "sizes above 0"),
        ({"test_size": 0}, "test_size 0"),
        ({"train_sizes": (4, 4)}, "train_sizes .*each once"),
    ):
        with pytest.raises(ConfigError, match=message):
            ProblemsConfig(**problems)
    with pytest.raises(ConfigError, match="numbers of problems"):
        prepare(replace(CONFIG, problems=ProblemsConfig()), tmp_path, backbone)


@pytest.mark.realdata
def test_users_files(backbone: Backbone, real_data: Path, tmp_path: Path) -> None:
    problems = ProblemsConfig(
        source="gsm8k",
        train_file=str(real_data / "gsm8k/train.jsonl"),
        test_file=str(real_data / "gsm8k/test.jsonl"),
        train_sizes=(100, 0.2, 1),
        test_size=5,
    )
    assert list(prepare(replace(CONFIG, problems=problems), tmp_path, backbone).train) == [100, 1495, 7473]

"""The compositional track on a tiny random model: rows, rounds, resuming, and isolation."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import WordCounts
from tests.tracks.tiny_tools import CONFIG, DATA, tiny, untimed, with_methods
from tokmem.bank.store import load_bank
from tokmem.config import load_config
from tokmem.data.calls.compose import ComposeSpec, compose
from tokmem.data.calls.files import write_calls
from tokmem.data.calls.ranges import ToolRange
from tokmem.data.calls.xlam import rank_tools
from tokmem.errors import BankError, ConfigError, DataError, TokMemError
from tokmem.methods import tool_prompt
from tokmem.mini.tool_rows import mini_tool_rows
from tokmem.mini.tools import TOOLS, TRAINING
from tokmem.model.backbone import Backbone, load_backbone
from tokmem.model.fingerprint import fingerprint
from tokmem.records import Procedure
from tokmem.tracks.compositional import data as tool_data
from tokmem.tracks.compositional.config import CompositionalConfig
from tokmem.tracks.compositional.data import ToolSource
from tokmem.tracks.compositional.rounds import RoundsConfig, checksum, make_rounds
from tokmem.tracks.run import run
from tokmem.train import fit as training
from tokmem.train.bank_objective import BankObjective

pytest.importorskip("peft")

METHODS = (
    *("icl", "rag", "lora", "lora+reinit_lora=true", "replay", "tokmem", "tokmem_dc", "tokmem+negatives=2"),
    *(f"tokmem+adaptation={how}" for how in ("auxiliary", "first_round", "always")),
    "lora+adaptation=auxiliary",
)
FILES = replace(DATA, source="files", path="data", samples_per_tool=50)
LORA = 2 * 2 * (32 + 32 + 32 + 16)  # parameters of rank 2 on q_proj and v_proj of two layers


@pytest.fixture(autouse=True)
def _no_text_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_prompt, "shared_encoder", lambda name, device: WordCounts())


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny()


@pytest.fixture(scope="module")
def whole(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every method through two rounds, everything kept."""
    folder = tmp_path_factory.mktemp("compositional") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tool_prompt, "shared_encoder", lambda name, device: WordCounts())
        run(with_methods(*METHODS, save_checkpoints=True), folder, backbone=backbone)
    return folder


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def test_a_row_for_each_round_test_set_and_number_of_calls(whole: Path, backbone: Backbone) -> None:
    summary = summary_of(whole)
    rows = [r for r in summary["rows"] if (r["method"], r["adaptation"]) == ("tokmem", "none")]
    found = [(r["round"], r["tools"], r["calls"]) for r in rows]
    assert found == [(n, t, c) for n, t in ((1, "51-53"), (2, "51-53"), (2, "54-56")) for c in (2, "all")]
    last = {(r["method"], r["adaptation"]): r for r in summary["rows"] if r["round"] == 2}
    assert {
        (m.partition("+adaptation=")[0], m.partition("+adaptation=")[2] or "none") for m in METHODS
    } == set(last)
    figures = (
        "tool_f1",
        "call_f1",
        "call_exact_ordered",
        "arguments_f1",
        "invalid_json",
        "prompt_tokens_per_query",
    )
    assert all(row[name] is not None for row in summary["rows"] for name in figures)
    assert {m for (m, _), row in last.items() if row["call_f1_forced"] is None} == {
        *("lora", "lora+reinit_lora=true", "replay"),
    }
    assert {m for (m, _), row in last.items() if row["retrieval_recall"] is not None} == {"rag"}
    counted = {key: row["trainable_parameters"] for key, row in last.items()}
    assert counted["tokmem", "none"] == counted["tokmem", "auxiliary"] == 6 * backbone.dim
    assert counted["tokmem", "always"] == counted["tokmem", "first_round"] == 6 * backbone.dim + LORA
    assert counted["lora", "none"] == counted["replay", "none"] == counted["lora", "auxiliary"] == LORA
    assert last["replay", "none"]["replayed_examples"] == 12, "as many as new ones in the second round"
    assert last["icl", "none"]["settings"]["most_tools_shown"] == 6
    assert last["rag", "none"]["settings"]["most_tools_shown"] == 2
    assert all(row["train_max_calls"] == 2 for row in summary["rows"])
    assert summary["provenance"]["backbone_fingerprint"] == backbone.fingerprint
    assert [one["call_limit"] for one in summary["rounds"]] == [None, None]


def test_forgetting_and_norms_are_told_by_round(whole: Path) -> None:
    summary = summary_of(whole)

    def of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [row for row in rows if (row["method"], row["adaptation"]) == ("lora", "none")]

    kept = {(f["learned"], f["after"]): f["tool_f1"] for f in of(summary["forgetting"])}
    assert list(kept) == [(1, 1), (1, 2), (2, 2)]
    rows = {(r["round"], r["tools"]): r for r in of(summary["rows"]) if r["calls"] == "all"}
    assert kept[1, 2] == rows[2, "51-53"]["tool_f1"]
    norms = [n for n in summary["norms"] if (n["method"], n["adaptation"]) == ("tokmem", "none")]
    assert norms[0]["old_mean_norm"] is None
    assert norms[1]["old_mean_norm"] == pytest.approx(norms[0]["mean_norm"])
    assert "lora" not in {n["method"] for n in summary["norms"]}


@pytest.mark.parametrize("method", [m for m in METHODS if m.startswith("tokmem")])
def test_rows_of_earlier_rounds_stay_bit_equal(method: str, whole: Path) -> None:
    part = "bank" if method.endswith(("first_round", "always")) else ""
    early, _ = load_bank(whole / f"banks/{method}-0-round1" / part)
    late, _ = load_bank(whole / f"banks/{method}-0" / part)
    assert len(early) == 3
    assert late.names[:3] == early.names
    for name in early.names:
        assert late.slots.ids(name) == early.slots.ids(name)
        assert all(torch.equal(old, new) for old, new in zip(early.rows(name), late.rows(name), strict=True))


def test_the_adapted_backbone_is_a_model_of_its_own(whole: Path, backbone: Backbone) -> None:
    assert fingerprint(backbone.model) == backbone.fingerprint, "never changed"
    adapted = load_backbone(str(whole / "adapted"), device="cpu")
    facts = summary_of(whole)["adaptations"]["auxiliary"]
    assert facts["backbone_fingerprint"] == adapted.fingerprint != backbone.fingerprint
    assert (facts["tools"], facts["examples"]) == ("1-3", 8)
    assert facts["lora_parameters"] == LORA
    for row in summary_of(whole)["rows"]:
        spent = (row["adaptation_seconds"], row["adaptation_lora_parameters"])
        assert spent == ((facts["train_seconds"], LORA) if row["adaptation"] == "auxiliary" else (None, None))
    rival = json.loads((whole / "learned/lora+adaptation=auxiliary-0/tokmem.json").read_text())
    assert rival["fingerprint"] == adapted.fingerprint, "LoRA stands on the same backbone"
    _, origin = load_bank(whole / "banks/tokmem+adaptation=auxiliary-0")
    assert origin.fingerprint == adapted.fingerprint
    with pytest.raises(BankError, match="adapted"):
        load_bank(whole / "banks/tokmem+adaptation=auxiliary-0", fingerprint=backbone.fingerprint)


def test_a_kept_adapter_is_in_the_fingerprint_and_frozen_after_the_first_round(whole: Path) -> None:
    def of(how: str, name: str) -> tuple[str, bytes]:
        folder = whole / f"banks/tokmem+adaptation={how}-0{name}"
        return load_bank(folder / "bank")[1].fingerprint, (
            folder / "adapter/adapter_model.safetensors"
        ).read_bytes()

    assert of("first_round", "-round1") == of("first_round", "")
    assert of("always", "-round1")[0] != of("always", "")[0]
    assert of("always", "-round1")[1] != of("always", "")[1]


def test_checkpoints_are_kept_on_demand(whole: Path, backbone: Backbone, tmp_path: Path) -> None:
    written = json.loads((whole / "checkpoints/training_summary.json").read_text())
    assert written["rows"] == summary_of(whole)["rows"]
    assert (whole / "learned/lora-0-round1/adapter_model.safetensors").is_file()
    run(with_methods("lora"), tmp_path, backbone=backbone)
    assert not (tmp_path / "checkpoints/training_summary.json").exists()
    assert [path.name for path in (tmp_path / "learned").iterdir()] == ["lora-0"]


# A round has three steps. Killed in its first, and in the second round's second.
@pytest.mark.parametrize(
    ("method", "last_step"),
    [*((m, 5) for m in METHODS[2:]), ("tokmem", 2), ("tokmem+adaptation=first_round", 2)],
)
def test_a_run_stopped_within_a_round_goes_on_as_if_it_had_not(
    method: str,
    last_step: int,
    whole: Path,
    backbone: Backbone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show, calls = training.Run._show, []

    def stop(self: training.Run, *args: Any) -> None:
        calls.append(args)
        if len(calls) == last_step + (2 if "auxiliary" in method else 0):  # whose adaptation takes two steps
            raise KeyboardInterrupt
        show(self, *args)

    config = with_methods(method)
    monkeypatch.setattr(training.Run, "_show", stop)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, backbone=backbone)
    monkeypatch.setattr(training.Run, "_show", show)
    done = run(config, tmp_path, backbone=backbone, resume=True)
    name, _, how = method.partition("+adaptation=")
    expected = [
        r for r in summary_of(whole)["rows"] if (r["method"], r["adaptation"]) == (name, how or "none")
    ]
    assert untimed(done["rows"]) == untimed(expected)
    kind = "banks" if method.startswith("tokmem") else "learned"
    for path in (whole / kind / f"{method}-0").rglob("*.safetensors"):
        other = tmp_path / path.relative_to(whole)
        assert path.read_bytes() == other.read_bytes(), path.name


def test_a_stopped_adaptation_goes_on(
    whole: Path, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = training.Run._show

    def stop(self: training.Run, *args: Any) -> None:
        if self.state.progress.step == 2:
            raise KeyboardInterrupt
        show(self, *args)

    config = with_methods("tokmem+adaptation=auxiliary")
    monkeypatch.setattr(training.Run, "_show", stop)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, backbone=backbone)
    monkeypatch.undo()
    done = run(config, tmp_path, backbone=backbone, resume=True)
    assert (
        done["adaptations"]["auxiliary"]["backbone_fingerprint"]
        == (summary_of(whole)["adaptations"]["auxiliary"]["backbone_fingerprint"])
    )


def test_each_call_style_adapts_a_backbone_of_its_own(
    whole: Path, backbone: Backbone, tmp_path: Path
) -> None:
    """Calls that end otherwise are other texts to learn, so an adaptation on plain calls would mislead."""
    both = ("tokmem+adaptation=auxiliary", "tokmem+adaptation=auxiliary+call_style=hermes")
    done = run(with_methods(*both), tmp_path, backbone=backbone)["adaptations"]
    assert {name: facts["call_style"] for name, facts in done.items()} == {
        "auxiliary": "plain",
        "auxiliary-hermes": "hermes",
    }
    prints = {name: facts["backbone_fingerprint"] for name, facts in done.items()}
    assert prints["auxiliary"] == summary_of(whole)["adaptations"]["auxiliary"]["backbone_fingerprint"]
    assert prints["auxiliary-hermes"] != prints["auxiliary"]
    for variant, name in zip(both, done, strict=True):
        assert load_bank(tmp_path / f"banks/{variant}-0")[1].fingerprint == prints[name]


def test_what_is_done_is_not_done_again(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = with_methods("tokmem+adaptation=auxiliary", seeds=(0, 1))
    first = run(config, tmp_path, backbone=backbone)
    assert len(list(tmp_path.glob("metrics/adapted.jsonl"))) == 1, "one adaptation for all seeds"
    monkeypatch.setattr(training.Run, "go", lambda self: pytest.fail("trained again"))
    again = run(config, tmp_path, backbone=backbone, resume=True)
    assert again["rows"] == first["rows"]
    assert {row["seeds"] for row in again["rows"]} == {2}
    assert load_config(CompositionalConfig, tmp_path / "config.yaml") == config
    facts = tmp_path / "adapted.json"
    facts.write_text(facts.read_text()[:-9])
    with pytest.raises(TokMemError, match=re.escape(f"remove {facts} and resume")):
        run(config, tmp_path, backbone=backbone, resume=True)


def test_rates_are_chosen_on_the_first_round(backbone: Backbone, tmp_path: Path) -> None:
    lora = replace(CONFIG.lora, rates=(1e-7, 0.02))
    summary = run(with_methods("tokmem", "lora", rates=(1e-6, 0.05), lora=lora), tmp_path, backbone=backbone)
    assert summary["chosen_rates"] == {"tokmem": 0.05, "lora": 0.02}
    losses = summary["rate_losses"]
    assert {name: list(own) for name, own in losses.items()} == {
        "tokmem": ["1e-06", "0.05"],
        "lora": ["1e-07", "0.02"],
    }
    assert all(own[str(summary["chosen_rates"][name])] == min(own.values()) for name, own in losses.items())
    with pytest.raises(ConfigError, match="0 rates for one method and 2"):
        with_methods("tokmem", "lora", lora=lora)


def test_composition_beyond_the_calls_of_training(backbone: Backbone, tmp_path: Path) -> None:
    config = with_methods(
        "tokmem+adaptation=auxiliary",
        call_limits=(1, 2),
        rounds=RoundsConfig(tools="51-53"),
        data=replace(DATA, train_max_calls=4),
    )
    summary = run(config, tmp_path, backbone=backbone)
    assert [(r["train_max_calls"], r["calls"]) for r in summary["rows"]] == [
        (n, c) for n in (1, 2) for c in (2, "all")
    ]
    assert set(summary["adaptations"]) == {"auxiliary-1calls", "auxiliary-2calls"}
    asked = [
        [entry["query"] for entry in json.loads((tmp_path / f"predictions/{name}-round1.json").read_text())]
        for name in (f"tokmem+adaptation=auxiliary-0-{n}calls" for n in (1, 2))
    ]
    assert asked[0] == asked[1], "the same test queries"
    assert [(one["call_limit"], one["tools"]) for one in summary["rounds"]] == [(1, "51-53"), (2, "51-53")]
    source = ToolSource(config.data)
    made = [make_rounds(config.rounds, config.data, source, limit) for limit in (1, 2)]
    assert [one["data_checksum"] for one in summary["rounds"]] == [checksum(rounds) for rounds in made]
    assert summary["provenance"]["data_checksum"] == checksum([*made[0], *made[1]])
    assert summary["examples"] == {"train": 24, "validation": 8, "test": 4}
    assert len(summary["procedures"]) == 3


def test_call_limits_are_told_apart_though_no_query_reaches_them(backbone: Backbone, tmp_path: Path) -> None:
    """Two limits are two experiments, not two seeds of one."""
    config = with_methods(
        "tokmem",
        call_limits=(3, 4),
        rounds=RoundsConfig(tools="51-53"),
        data=replace(CONFIG.data, train_size=1, train_max_calls=4),
    )
    source = ToolSource(config.data)
    made = [make_rounds(config.rounds, config.data, source, limit)[0].data.train for limit in (3, 4)]
    assert len({max(len(e.turns) for e in train) for train in made}) == 1, "else this shows nothing"
    summary = run(config, tmp_path, backbone=backbone)
    assert [row["train_max_calls"] for row in summary["rows"] if row["calls"] == "all"] == [3, 4]


def test_tools_beyond_the_hundred_adapt_the_backbone(backbone: Backbone, tmp_path: Path) -> None:
    adaptation = replace(CONFIG.adaptation, auxiliary_tools="1-3,101-104", auxiliary_train_size=20)
    config = with_methods("tokmem+adaptation=auxiliary", adaptation=adaptation)
    with pytest.raises(DataError, match="tools 101-104, but 100 tools have rows"):
        run(config, tmp_path / "few", backbone=backbone)
    more = replace(config, data=replace(DATA, more_tools=4))
    source = ToolSource(more.data)
    made = source.composed(ToolRange.parse_all("1-3,101-104"), more.data.spec(0))
    assert [tool.name for tool in made.procedures][:4] == [
        *(tool.name for tool in TOOLS[:3]),
        f"{TRAINING[0].name}_2",
    ]
    summary = run(more, tmp_path / "more", backbone=backbone)
    (adapted,) = summary["adaptations"].values()
    assert (adapted["tools"], adapted["examples"]) == ("1-3,101-104", 20)
    assert summary["procedures"] == [tool.name for tool in TOOLS[50:56]], "only what is learned later"


def test_a_constrained_variant_answers_from_the_training_of_its_twin(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llguidance")
    steps: list[Any] = []
    after = BankObjective.after_step
    monkeypatch.setattr(BankObjective, "after_step", lambda self: steps.append(1) or after(self))
    free, held = "tokmem_dc", "tokmem_dc+constrained=true"
    summary = run(with_methods(free, held), tmp_path, backbone=backbone)
    costs = {
        name: [row for row in summary["rows"] if row["method"] == name and row["calls"] == "all"]
        for name in (free, held)
    }
    assert len(steps) == costs[free][-1]["steps"] == costs[held][-1]["steps"] > 0
    assert costs[held][-1]["train_seconds"] > 0.5 * costs[free][-1]["train_seconds"], "it cost as much"
    rows = [load_bank(tmp_path / "banks" / f"{name}-0")[0].address.rows() for name in costs]
    assert torch.equal(*rows)
    assert costs[held][-1]["invalid_json"] <= costs[free][-1]["invalid_json"]


def test_what_answers_is_looked_for_before_anything_is_trained(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BankObjective, "begin", lambda *_: pytest.fail("trained"))
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ConfigError, match="llguidance"):
        run(with_methods("tokmem", "tokmem+constrained=true"), tmp_path / "a", backbone=backbone)

    def none(name: str, device: str) -> None:
        raise ConfigError(f"retriever {name!r} cannot be loaded", "a folder")

    monkeypatch.setattr(tool_prompt, "shared_encoder", none)
    with pytest.raises(ConfigError, match="retriever"):
        run(with_methods("tokmem", "rag"), tmp_path / "b", backbone=backbone)


def test_a_backbone_without_an_adapters_targets_is_told_before_anything_is_trained(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BankObjective, "begin", lambda *_: pytest.fail("trained"))
    for changes, told in (({"target_modules": ("nope",)}, "nope"), ({"lora_layer_indices": (0, 7)}, "7")):
        lora = replace(CONFIG.lora, **changes)
        for last in ("lora", "replay", "tokmem+adaptation=first_round", "tokmem+adaptation=always"):
            with pytest.raises(ConfigError, match=told):
                run(with_methods("tokmem", last, lora=lora), tmp_path / f"{last}-{told}", backbone=backbone)


def test_what_is_saved_names_the_settings_it_was_trained_with(backbone: Backbone, tmp_path: Path) -> None:
    rounds = RoundsConfig(num_rounds=2, tools_per_round=3, epochs_per_round=(1, 2))
    lora = replace(CONFIG.lora, lr=0.005, weight_decay=0.02)
    run(with_methods("tokmem", "lora", "icl", rounds=rounds, lora=lora), tmp_path, backbone=backbone)
    told = {
        name: json.loads((tmp_path / name).read_text())
        for name in ("banks/tokmem-0/bank.json", "learned/lora-0/tokmem.json")
    }
    scores = told["banks/tokmem-0/bank.json"]["origin"]["training"]["scores"]
    card = (tmp_path / "banks/tokmem-0/README.md").read_text()
    assert f"| F1 of the called tools | {scores['tool_f1']:.1f}% |" in card
    assert "earlier state" not in card
    own = told["banks/tokmem-0/bank.json"]["origin"]["training"]["settings"]
    assert (own["lr"], own["weight_decay"], own["epochs"], own["seed"]) == (0.02, 0.0, [1, 2], 0)
    own = told["learned/lora-0/tokmem.json"]["notes"]["training"]["settings"]
    assert (own["lr"], own["weight_decay"], own["epochs"], own["seed"]) == (0.005, 0.02, [1, 2], 0)


def test_rows_of_a_file_are_learned_and_broken_ones_are_counted(
    backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {
            "query": row.query,
            "answers": [{"name": call.name, "arguments": dict(call.arguments)} for call in row.calls],
            "tools": [
                {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
                for tool in row.tools
            ],
        }
        for row in mini_tool_rows(16, 0).rows
        if row.tool in {tool.name for tool in TOOLS[50:53]}
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"query": ""}, {"query": ""}]))
    data = replace(DATA, source="xlam", path=str(path))
    config = with_methods("tokmem", data=data, rounds=RoundsConfig(tools="1-3"))
    summary = run(config, tmp_path / "run", backbone=backbone)
    assert summary["broken_rows"] == {"no query": 2}
    assert "2 rows left out: no query" in caplog.text
    assert set(summary["procedures"]) == {tool.name for tool in TOOLS[50:53]}


def test_words_that_another_one_overrides_are_refused() -> None:
    for given, unused in (
        ({"tools": "51-60"}, {"num_rounds": 2}),
        ({"tools": "51-60"}, {"tools_per_round": 10}),
        ({"training_rounds": "51-60:1"}, {"start_tool": 7}),
        ({"training_rounds": "51-60:1"}, {"epochs_per_round": 3}),
    ):
        with pytest.raises(ConfigError, match=f"{next(iter(given))} .* and {next(iter(unused))}"):
            RoundsConfig(**given, **unused)
    RoundsConfig(tools="51-60", epochs_per_round=3)


def test_mistakes_are_told_before_anything_is_trained(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="51-60 and 55-70 overlap"):
        RoundsConfig(training_rounds="51-60:1,55-70:1")
    with pytest.raises(ConfigError, match="51-60 and 51-60 overlap"):
        RoundsConfig(training_rounds="51-60:1,51-60:2")
    with pytest.raises(ConfigError, match=r"1-60 and 51-53 overlap"):
        with_methods(
            "tokmem+adaptation=auxiliary", adaptation=replace(CONFIG.adaptation, auxiliary_tools="1-60")
        )
    with pytest.raises(ConfigError, match=r"1-3 and 2-4 overlap"):
        replace(CONFIG.adaptation, auxiliary_tools="1-3,2-4")
    with pytest.raises(ConfigError, match=r"more_tools 5 with source files.*only generated"):
        replace(FILES, path=str(tmp_path), more_tools=5)
    with pytest.raises(ConfigError, match="more_tools"):
        replace(DATA, more_tools=-1)
    with pytest.raises(ConfigError, match="'allways' in method"):
        with_methods("tokmem+adaptation=allways")
    with pytest.raises(ConfigError, match=r"'always' in method .* one of none, auxiliary"):
        with_methods("lora+adaptation=always")
    with pytest.raises(ConfigError, match=r"training\.epochs 2"):
        replace(CONFIG, training=replace(CONFIG.training, epochs=2))
    with pytest.raises(DataError, match="tools 99-101, but 100 tools have rows"):
        run(replace(CONFIG, rounds=RoundsConfig(tools="99-101")), tmp_path / "a", backbone=backbone)
    with pytest.raises(ConfigError, match=r"methods .* each once"):
        with_methods("tokmem", "tokmem+adaptation=none")
    with pytest.raises(ConfigError, match=r"seeds \[0, 0\].*each once"):
        replace(CONFIG, seeds=(0, 0))
    with pytest.raises(ConfigError, match=r"call_limits \[2, 2\].*each once"):
        replace(CONFIG, call_limits=(2, 2))
    with pytest.raises(ConfigError, match="no validation queries"):
        with_methods("lora", data=replace(DATA, val_size=0), lora=replace(CONFIG.lora, rates=(0.1,)))
    with pytest.raises(ConfigError, match="query states of a backbone that stays as it is"):
        with_methods("tokmem+negatives=2+adaptation=always")


def test_a_tool_is_learned_once_whatever_a_folder_says(backbone: Backbone, tmp_path: Path) -> None:
    """The single pair of files has no range: every round, and the adaptation, would read the same tools."""
    spec = ComposeSpec(train_size=40, test_size=8, train_max_calls=2, test_max_calls=2)
    rows = mini_tool_rows(40, 0).rows
    composed = compose(rows, rank_tools(rows)[50:53], spec)
    write_calls(tmp_path, None, spec, composed)
    data = replace(FILES, path=str(tmp_path), train_size=40, val_size=0)
    greedy = replace(CONFIG, data=replace(data, val_size=500))
    with pytest.raises(DataError, match="500 of which are to be held out"):
        run(greedy, tmp_path / "greedy", backbone=backbone)
    with pytest.raises(DataError, match="is among tools 51-53 and 54-56"):
        run(replace(CONFIG, data=data), tmp_path / "rounds", backbone=backbone)
    config = with_methods("tokmem+adaptation=auxiliary", data=data, rounds=RoundsConfig(tools="51-53"))
    with pytest.raises(DataError, match=r"1-3 \(auxiliary\)"):
        run(config, tmp_path / "auxiliary", backbone=backbone)


def test_a_schema_that_is_not_valid_is_told(
    backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tool_data.compose

    def broken(*args: Any) -> Any:
        composed = made(*args)
        first, *others = composed.procedures
        wrong = Procedure(
            first.name, first.description, {"type": "object", "properties": {"a": {"type": "txt"}}}
        )
        return replace(composed, procedures=(wrong, *others))

    monkeypatch.setattr(tool_data, "compose", broken)
    with pytest.raises(DataError, match="the schema of '"):
        run(CONFIG, tmp_path, backbone=backbone)


@pytest.mark.slow
def test_several_processes_find_what_one_does(tmp_path: Path) -> None:
    """On the bundled backbone, which each process loads by itself."""
    config = with_methods("tokmem", "tokmem+adaptation=auxiliary")
    alone = run(config, tmp_path / "alone")
    shared = run(config, tmp_path / "shared", workers=2)
    for one, other in zip(alone["rows"], shared["rows"], strict=True):
        for name in ("method", "adaptation", "tool_f1", "steps"):
            assert one[name] == pytest.approx(other[name]), name

"""The settings of the compositional track that the published scripts have: options and effects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import Cli, cli  # noqa: F401
from tests.tiny import WordCounts
from tests.tracks.tiny_tools import CONFIG, tiny, with_methods
from tokmem.config import load_config
from tokmem.config.settings import help_table
from tokmem.data.calls.files import calls_path, write_calls
from tokmem.data.calls.ranges import ToolRange
from tokmem.errors import ConfigError, DataError
from tokmem.methods import tool_prompt
from tokmem.methods.adaptation import AdaptationSettings
from tokmem.methods.replay import Replay
from tokmem.methods.tokmem_lora import TokMemLora
from tokmem.methods.tool_prompt import ToolPrompt
from tokmem.model.backbone import Backbone
from tokmem.tracks.compositional import prepare
from tokmem.tracks.compositional.config import CompositionalConfig
from tokmem.tracks.compositional.data import ToolDataConfig, ToolSource
from tokmem.tracks.compositional.learner import RoundLearner
from tokmem.tracks.compositional.rounds import Round, RoundsConfig, make_rounds
from tokmem.tracks.run import run


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny()


@pytest.fixture
def configured(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: F811
    """The config that a command line of `tokmem tools` makes."""
    seen: list[CompositionalConfig] = []
    monkeypatch.setattr(
        "tokmem.tracks.run.run",
        lambda config, *args, **more: seen.append(config) or {"rows": [], "name": "x"},
    )
    monkeypatch.setattr("tokmem.cli.tools.load", lambda config: None)
    monkeypatch.setattr("tokmem.cli.tools.show_results", lambda summary, folder: None)

    def make(*args: object) -> CompositionalConfig:
        done = cli("tools", *args)
        assert done.exit_code == 0, done.output
        return seen[-1]

    return make


PUBLISHED = [
    ("--training_rounds 1-50:1,51-100:3", "rounds.training_rounds", "1-50:1,51-100:3"),
    ("--num_rounds 3", "rounds.num_rounds", 3),
    ("--tools_per_round 4", "rounds.tools_per_round", 4),
    ("--start_tool 7", "rounds.start_tool", 7),
    ("--epochs_per_round 2", "rounds.epochs_per_round", 2),
    ("--num_rounds 2 --epochs-per-round 1,3", "rounds.epochs_per_round", (1, 3)),
    ("--num_rounds 2 --epochs-per-round [1,3]", "rounds.epochs_per_round", (1, 3)),
    ("--samples_per_tool 20", "data.samples_per_tool", 20),
    ("--exclude search,get_weather", "data.exclude", ("search", "get_weather")),
    ("--train_size 30", "data.train_size", 30),
    ("--test_size 10", "data.test_size", 10),
    ("--train_max_calls 3", "data.train_max_calls", 3),
    ("--test_max_calls 3", "data.test_max_calls", 3),
    ("--num_rounds 2 --train_max_calls_per_round 2,4", "data.train_max_calls_per_round", (2, 4)),
    ("--num_rounds 2 --test_max_calls_per_round 2,4", "data.test_max_calls_per_round", (2, 4)),
    ("--model some/model", "backbone.model_name", "some/model"),
    ("--dtype float32", "backbone.model_name", "smollm2"),
    ("--batch_size 2", "training.batch_size", 2),
    ("--lr 0.01", "training.lr", 0.01),
    ("--use_lora --lora_lr 1e-4", "adaptation.lora_lr", 1e-4),
    ("--use_lora", "adaptation.use_lora", True),
    ("--use_lora --freeze_lora_after_first", "adaptation.freeze_lora_after_first", True),
    ("--use_lora --lora_layer_indices 0,2", "lora.lora_layer_indices", (0, 2)),
    ("--curriculum_learning", "rounds.curriculum_learning", True),
    ("--renorm_active_tools", "renorm_active_tools", True),
    ("--methods lora --reinit_lora", "lora.reinit_lora", True),
    ("--methods lora --use_replay_buffer", "lora.use_replay_buffer", True),
    ("--methods replay --replay_buffer_size 9", "lora.replay_buffer_size", 9),
    ("--methods lora --use_replay_buffer --replay_ratio 0.3", "lora.replay_ratio", 0.3),
    ("--save_checkpoints", "save_checkpoints", True),
    ("--no-eval-all-previous", "rounds.eval_all_previous", False),
    ("--methods icl --use_rag", "prompting.use_rag", True),
    ("--methods rag --retrieval_k 3", "prompting.retrieval_k", 3),
    ("--tools 51-60", "rounds.tools", "51-60"),
    ("--max_samples 5", "data.max_samples", 5),
    ("--renorm off", "renorm", "off"),
    ("--methods lora,tokmem", "methods", ("lora", "tokmem")),
    ("--seeds 1,2", "seeds", (1, 2)),
]


@pytest.mark.parametrize(("line", "key", "value"), PUBLISHED)
def test_an_option_sets_its_key(line: str, key: str, value: object, configured: Any) -> None:
    found: Any = configured(*line.split())
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert next(row for row in help_table(CompositionalConfig) if row.key == key).doc


@pytest.mark.parametrize(
    ("methods", "line", "told"),
    [
        ("lora", "--lr 0.1", "training.lr with methods lora, none .* the rate of LoRA is lora.lr"),
        ("lora", "--lora_lr 0.1", "adaptation.lora_lr .* the rate of LoRA is lora.lr"),
        ("lora", "--use_lora", "adaptation.use_lora .* tokmem, tokmem_dc"),
        ("lora,icl", "--renorm step", "renorm with"),
        ("lora", "--replay_ratio 0.5", "one that does: replay"),
        ("tokmem", "--use_replay_buffer", "one that does: lora, replay"),
        ("tokmem", "--lora.lr 0.1", "one that does: lora, replay"),
        ("tokmem", "--lora_r 4", "lora, replay, adaptation auxiliary"),
        ("tokmem,icl", "--retrieval_k 3", "one that does: rag"),
        ("tokmem+adaptation=always", "--auxiliary_lr 0.1", "one that does: adaptation auxiliary"),
        ("icl", "--batch_size 3", "training.batch_size with"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(methods: str, line: str, told: str, cli: Cli) -> None:  # noqa: F811
    done = cli("tools", "--methods", methods, *line.split())
    assert done.exit_code == 2, done.output
    assert re.search(told, " ".join(done.output.split())), done.output


OUT_OF_RANGE = [
    *(
        f"adaptation.{key}"
        for key in ("lora_lr=-1", "lora_lr=.nan", "lora_weight_decay=-1", "auxiliary_epochs=0")
    ),
    *(f"adaptation.{key}" for key in ("auxiliary_train_size=0", "auxiliary_lr=0", "auxiliary_lr=.inf")),
    *(f"lora.{key}" for key in ("lr=-1", "rates=[-1]", "weight_decay=-1", "lora_r=0", "replay_ratio=1")),
    "lora.replay_buffer_size=0",
    *(f"prompting.{key}" for key in ("few_shot=-1", "retrieval_k=0")),
    *(f"data.{key}" for key in ("train_size=-1", "val_size=-1", "train_max_calls=0", "same_tool_share=2")),
    *(f"data.{key}" for key in ("samples_per_tool=0", "test_max_calls_per_round=[0]")),
    *(f"training.{key}" for key in ("lr=-1", "weight_decay=-1", "checkpoint_every=0", "patience=-1")),
    *("width=0", "negatives=-1", "max_length=0", "rates=[-0.1]", "call_limits=[0]"),
    *(f"methods=[tokmem+{key}]" for key in ("width=0", "negatives=-1")),
    *(f"methods=[tokmem, {key}]" for key in ("icl+few_shot=-1", "rag+retrieval_k=0", "lora+lora_r=0")),
    *(f"methods=[tokmem, replay+{key}]" for key in ("replay_ratio=1.5", "replay_buffer_size=0")),
]


@pytest.mark.parametrize("change", OUT_OF_RANGE)
def test_what_is_out_of_range_is_told_when_the_config_is_read(change: str) -> None:
    setting = change.rpartition("+")[2].partition("=")[0].rpartition(".")[2]
    told = setting.removesuffix("_per_round").replace("_", "[ _]")
    with pytest.raises(ConfigError, match=rf"\b{told}\b"):
        load_config(CompositionalConfig, None, [change])


def test_what_does_not_go_together_is_told_when_the_config_is_read() -> None:
    for how in ("first_round", "always"):
        changes = [f"adaptation.adaptation={how}", "training.lr=0"]
        with pytest.raises(ConfigError, match=f"a rate of 0 and adaptation {how}"):
            load_config(CompositionalConfig, None, changes)
    for methods in ("icl", "tokmem, rag"):
        changes = [f"methods=[{methods}]", "max_length=20", "recall.max_new_tokens=20"]
        with pytest.raises(ConfigError, match="room for a prompt"):
            load_config(CompositionalConfig, None, changes)


def test_options_change_an_experiment_file(configured: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("track: compositional\nrounds: {num_rounds: 5, tools_per_round: 10}\nseeds: [3]\n")
    config = configured(file, "--tools_per_round", 4)
    assert (config.rounds.num_rounds, config.rounds.tools_per_round, config.seeds) == (5, 4, (3,))


def rounds_of(config: CompositionalConfig) -> Sequence[Round]:
    return make_rounds(config.rounds, config.data, ToolSource(config.data), None)


def most_calls(examples: Sequence[Any]) -> int:
    return max(len(example.turns) for example in examples)


def test_rounds_are_ranges_with_epochs() -> None:
    def plan(**keys: Any) -> list[tuple[str, int]]:
        return [(str(tools), epochs) for tools, epochs in RoundsConfig(**keys).plan()]

    assert plan(training_rounds="1-50:1,51-100:3") == [("1-50", 1), ("51-100", 3)]
    assert plan(num_rounds=2, tools_per_round=10, start_tool=21) == [("21-30", 1), ("31-40", 1)]
    assert plan(num_rounds=2, tools_per_round=10, epochs_per_round=(2, 1)) == [("51-60", 2), ("61-70", 1)]
    assert plan(tools="51-60", epochs_per_round=4) == [("51-60", 4)]
    with pytest.raises(ConfigError, match="for 3 rounds"):
        plan(num_rounds=3, tools_per_round=5, epochs_per_round=(1, 2))
    with pytest.raises(ConfigError, match="one of them"):
        plan(tools="1-5", training_rounds="1-5:1")
    with pytest.raises(ConfigError, match="at least 1"):
        plan(epochs_per_round=0)


def test_sizes_and_most_calls_of_a_round() -> None:
    data = replace(
        CONFIG.data, samples_per_tool=20, train_max_calls_per_round=(1, 3), test_max_calls_per_round=(2, 3)
    )
    first, second = rounds_of(replace(CONFIG, data=replace(data, train_size=9, test_size=5)))
    assert [most_calls(part) for part in (first.data.train, first.data.test)] == [1, 2]
    assert [most_calls(part) for part in (second.data.train, second.data.test)] == [3, 3]
    assert (len(first.data.train), len(first.data.test)) == (9, 5)
    plain = rounds_of(replace(CONFIG, data=replace(CONFIG.data, train_max_calls=3, test_max_calls=3)))[0]
    assert (most_calls(plain.data.train), most_calls(plain.data.test)) == (3, 3)
    assert len(rounds_of(replace(CONFIG, data=replace(CONFIG.data, max_samples=2)))[0].data.test) == 2
    sources = {row for e in rounds_of(CONFIG)[0].data.train for row in e.id.split("+")}
    few = rounds_of(replace(CONFIG, data=replace(CONFIG.data, samples_per_tool=6, test_size=2)))[0].data.train
    assert len({row for e in few for row in e.id.split("+")}) < len(sources)
    with pytest.raises(ConfigError, match=r"data.train_max_calls_per_round \[1, 2, 3\] for 2 rounds"):
        replace(CONFIG, data=replace(CONFIG.data, train_max_calls_per_round=(1, 2, 3)))


def test_excluded_tools_are_not_ranked() -> None:
    def names(*exclude: str) -> list[str]:
        data = replace(CONFIG.data, exclude=exclude)
        config = replace(CONFIG, data=data, rounds=RoundsConfig(tools="51-54"))
        return [tool.name for tool in rounds_of(config)[0].data.procedures]

    first, second, third, fourth = names()
    assert names(second)[:3] == [first, third, fourth]
    assert not {second, third} & set(names(second, third))


@pytest.mark.parametrize(
    "given",
    [
        {"exclude": ("search", "x")},
        {"samples_per_tool": 3},
        {"same_tool_share": 0.5},
        {"connectors": ("And",)},
        {"seed": 1},
        {"train_multi_tool_ratios": (1.0,)},
        {"test_multi_tool_ratios": (1.0,)},
    ],
)
def test_files_take_no_settings_of_how_queries_are_made(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ConfigError, match=rf"{name} .* with source files.*--{name.replace('_', '-')}"):
        ToolDataConfig(source="files", path="data", **given)


def test_settings_that_others_replace_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"training\.seed 3.*set seeds"):
        replace(CONFIG, training=replace(CONFIG.training, seed=3))
    with pytest.raises(ConfigError, match=r"call_limits and data\.train_max_calls"):
        replace(CONFIG, call_limits=(1, 2))
    four = replace(CONFIG, data=replace(CONFIG.data, train_max_calls=4))
    assert replace(four, call_limits=(1, 2)).call_limits == (1, 2)


def test_a_curriculum_goes_from_few_calls_to_many(backbone: Backbone) -> None:
    config = with_methods("tokmem", rounds=replace(CONFIG.rounds, curriculum_learning=True))
    counts = [len(example.turns) for example in rounds_of(config)[0].data.train]
    assert counts == sorted(counts)
    assert set(counts) == {1, 2}
    assert made(config, backbone).settings.shuffle is False
    assert made(CONFIG, backbone).settings.shuffle is True


def made(config: CompositionalConfig, backbone: Backbone) -> Any:
    variant = config.variants[0]
    return variant.spec.build(variant.setup(backbone, seed=0, rate=None), variant.own)


def test_switches_of_the_adapter(backbone: Backbone) -> None:
    def method(name: str = "tokmem", lora: Any = CONFIG.lora, **keys: Any) -> Any:
        return made(with_methods(name, adaptation=AdaptationSettings(**keys), lora=lora), backbone)

    assert not isinstance(method(), TokMemLora)
    unfrozen, frozen = method(use_lora=True, lora_lr=0.5), method(use_lora=True, freeze_lora_after_first=True)
    assert isinstance(unfrozen, TokMemLora)
    assert (unfrozen.freeze_after_first, frozen.freeze_after_first) == (False, True)
    rows, adapter = unfrozen._objective(unfrozen.settings).groups
    assert (rows.rate, adapter.rate) == (1, pytest.approx(0.5 / CONFIG.training.lr))
    first_layer = method(use_lora=True, lora=replace(CONFIG.lora, lora_layer_indices=(0,)))
    assert first_layer.adapter.trainable_parameters * 2 == unfrozen.adapter.trainable_parameters
    rival = method("lora", lora=replace(CONFIG.lora, lora_layer_indices=(1,)))
    assert all(".1." in name for name in rival.adapter._named)
    with pytest.raises(ConfigError, match="numbers from 0 to 1"):
        method("lora", lora=replace(CONFIG.lora, lora_layer_indices=(2,)))
    with pytest.raises(ConfigError, match="without use_lora"):
        AdaptationSettings(freeze_lora_after_first=True)
    with pytest.raises(ConfigError, match="adaptation auxiliary and use_lora"):
        AdaptationSettings(adaptation="auxiliary", use_lora=True)


def test_switches_of_the_rivals(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_prompt, "shared_encoder", lambda name, device: WordCounts())
    lora = replace(
        CONFIG.lora, use_replay_buffer=True, replay_buffer_size=7, replay_ratio=0.4, reinit_lora=True
    )
    replayed = made(with_methods("lora", lora=lora), backbone)
    assert isinstance(replayed, Replay)
    assert (replayed.ratio, replayed.reservoir.size, replayed.reinit_lora) == (0.4, 7, True)
    assert not isinstance(made(with_methods("lora"), backbone), Replay)
    assert isinstance(made(with_methods("lora+use_replay_buffer=true"), backbone), Replay)
    replayed = replace(CONFIG, lora=replace(CONFIG.lora, use_replay_buffer=True))
    for config, method, told in (
        (CONFIG, "lora+use_replay_buffer=true+lora_r=3", "replay+lora_r=3"),
        (replayed, "lora", "replay"),
        (CONFIG, "replay", "replay"),
        (CONFIG, "icl+use_rag=true", "rag"),
        (CONFIG, "rag+use_rag=false", "icl"),
        (CONFIG, "tokmem_dc+adaptation=auxiliary+constrained=true", "tokmem_dc+constrained=true"),
    ):
        (variant,) = replace(config, methods=(method,)).variants
        assert variant.row_name == told
    prompting = replace(CONFIG.prompting, use_rag=True, retrieval_k=3)
    retrieving = made(with_methods("icl", prompting=prompting), backbone)
    assert isinstance(retrieving, ToolPrompt)
    assert retrieving.pool is not None
    assert retrieving.retrieval_k == 3
    assert made(with_methods("icl"), backbone).pool is None


def test_a_rival_stands_on_an_adapted_backbone_where_its_variant_says_so() -> None:
    config = with_methods(
        *("tokmem", "lora", "lora+adaptation=auxiliary", "rag+adaptation=auxiliary"),
        adaptation=replace(CONFIG.adaptation, adaptation="auxiliary"),
        call_style="hermes",
    )
    tokens, alone, adapted, retrieving = config.variants
    assert [tokens.adaptation, alone.adaptation] == ["auxiliary", "none"]
    assert [adapted.adaptation, retrieving.adaptation] == ["auxiliary", "auxiliary"]
    assert tokens.call_style == adapted.call_style == "hermes", "all share one adapted backbone"
    assert adapted.row_name == "lora"


def test_what_adaptation_reads_may_be_set_for_any_method(configured: Any) -> None:
    line = ("--methods", "lora+adaptation=auxiliary", "--start", "orthogonal", "--auxiliary_lr", "0.1")
    assert configured(*line).start == "orthogonal"


def test_grammars_are_for_memory_tokens_alone(backbone: Backbone) -> None:
    recall = replace(CONFIG.recall, constrained=True)
    assert made(with_methods("tokmem", recall=recall), backbone).recall_settings.constrained
    assert made(with_methods("tokmem+constrained=true"), backbone).recall_settings.constrained
    assert not made(
        with_methods("tokmem+constrained=false", recall=recall), backbone
    ).recall_settings.constrained
    assert not made(with_methods("icl", recall=recall), backbone).recall.constrained


def learner(config: CompositionalConfig, backbone: Backbone, out: Path) -> RoundLearner:
    experiment = prepare(config, out, backbone)
    return experiment.learner(experiment.parts[0], seed=0, rate=None)


def test_rounds_train_for_their_epochs_at_the_batch_size_and_rate(backbone: Backbone, tmp_path: Path) -> None:
    rounds = replace(CONFIG.rounds, epochs_per_round=(2, 1))
    config = with_methods("tokmem", rounds=rounds, training=replace(CONFIG.training, batch_size=6, lr=0.01))
    one = learner(config, backbone, tmp_path)
    method = one.build()
    assert method.settings.lr == 0.01
    assert [one.learn(method, index).steps for index in range(2)] == [4, 2]


def test_an_adapter_is_renewed_on_demand(backbone: Backbone, tmp_path: Path) -> None:
    """At a rate of nothing a fresh adapter stays fresh; one that is kept stays as it was trained."""
    zero = {}
    for name in ("lora", "lora+reinit_lora=true"):
        one = learner(with_methods(name), backbone, tmp_path / name)
        method: Any = one.build()
        one.learn(method, 0)
        method.settings = replace(method.settings, lr=0.0)
        one.learn(method, 1)
        zero[name] = all(not p.any() for n, p in method.adapter._named.items() if ".lora_B." in n)
    assert zero == {"lora": False, "lora+reinit_lora=true": True}


def test_new_tokens_get_the_norm_of_the_old_on_demand(backbone: Backbone, tmp_path: Path) -> None:
    apart = {}
    for switch in (False, True):
        one = learner(with_methods("tokmem", renorm_active_tools=switch), backbone, tmp_path / str(switch))
        method: Any = one.build()
        for index in range(2):
            one.learn(method, index)
        norms = method.bank.addresses().norm(dim=1)
        apart[switch] = bool(torch.allclose(norms[3:], norms[:3].mean().expand(3), rtol=1e-5))
    assert apart == {False: False, True: True}


def test_earlier_rounds_are_measured_unless_told_otherwise(backbone: Backbone, tmp_path: Path) -> None:
    rounds = replace(CONFIG.rounds, eval_all_previous=False)
    summary = run(with_methods("icl", rounds=rounds), tmp_path, backbone=backbone)
    assert {(row["round"], row["tools"]) for row in summary["rows"]} == {(1, "51-53"), (2, "54-56")}


def test_queries_from_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What `tokmem data compose` writes is what a round reads; the last training queries are held out.

    That there are fewer than asked for, and queries of training among those of the test, is told.
    """
    composed = [one.data for one in rounds_of(CONFIG)]
    for (tools, _), data in zip(CONFIG.rounds.plan(), composed, strict=True):
        write_calls(tmp_path, tools, CONFIG.data.spec(0), replace(data, validation=()))
    files = ToolDataConfig(
        source="files",
        path=str(tmp_path),
        train_size=12,
        val_size=2,
        test_size=3,
        train_max_calls=2,
        test_max_calls=2,
    )
    read = [one.data for one in rounds_of(replace(CONFIG, data=files))]
    for before, after in zip(composed, read, strict=True):
        assert after.procedures == before.procedures
        assert after.train == before.train[:-2]
        assert after.validation == before.train[-2:]
        assert after.test == before.test[:3]
    assert [record.getMessage() for record in caplog.records if "held out" in record.getMessage()]
    caplog.clear()
    rounds_of(replace(CONFIG, data=replace(files, val_size=0, test_size=5)))
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "4 queries, and not the 5 that were asked for" in said
    assert "queries too" not in said
    for tools, _ in CONFIG.rounds.plan():
        training = calls_path(tmp_path, "train", tools, 2)
        calls_path(tmp_path, "test", tools, 2).write_bytes(training.read_bytes())
    caplog.clear()
    rounds_of(replace(CONFIG, data=replace(files, val_size=0)))
    assert "3 test queries are training queries too" in caplog.records[0].getMessage()
    few = replace(files, train_size=1)
    with pytest.raises(DataError, match="no training query calls"):
        rounds_of(replace(CONFIG, data=few))
    with pytest.raises(ConfigError, match="a path for xlam and files"):
        ToolDataConfig(source="files")


def test_the_single_pair_stands_in_for_no_other_files(tmp_path: Path) -> None:
    """Nor for a range of more tools: its rows would be labelled as what they are not."""
    data = rounds_of(CONFIG)[0].data
    files = replace(CONFIG.data, source="files", path=str(tmp_path), samples_per_tool=50)
    none = replace(CONFIG, data=replace(files, path=str(tmp_path / "none")))
    with pytest.raises(DataError, match=r"no .*function_calling_train_tools51-53_2calls.json.*single pair"):
        rounds_of(none)
    write_calls(tmp_path, None, CONFIG.data.spec(0), data)
    alone = replace(CONFIG, data=files, rounds=RoundsConfig(tools="51-53"))
    assert rounds_of(alone)[0].data == data
    wider = replace(alone, rounds=RoundsConfig(tools="1-10"))
    with pytest.raises(DataError, match=r"tool_descriptions.json: 3 tools; wanted: the 10 of tools 1-10"):
        rounds_of(wider)
    write_calls(tmp_path, ToolRange(51, 53), CONFIG.data.spec(0), data)
    assert rounds_of(alone)[0].data == data
    for changed in (
        replace(alone, rounds=RoundsConfig(tools="1-3")),
        replace(alone, data=replace(files, train_max_calls=3)),
    ):
        with pytest.raises(DataError, match=r"there are .*function_calling_train_tools51-53_2calls.json"):
            rounds_of(changed)

"""`tokmem train`, `eval`, `run` and `demo` on a tiny random model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli
from tests.cli.test_mistakes import write_task
from tokmem.bank.store import load_bank
from tokmem.errors import ConfigError
from tokmem.tracks.atomic.config import AtomicConfig

ROOT = Path(__file__).parents[2]
PUBLISHED = """tasks_dir model_name num_tasks train_size val_size test_size num_epochs batch_size
eval_batch_size gradient_accumulation_steps max_length max_instruction_tokens validate_every_n_steps lr seed
device dtype decouple_embeddings few_shot shuffle_train skip_training load_task_tokens save_path
lora_r lora_alpha lora_dropout target_modules load_model continual_replay continual_replay_ratio
block_size""".split()


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_every_published_argument_is_there_with_dashes_and_underscores(cli: Cli) -> None:
    for names in (PUBLISHED, [name.replace("_", "-") for name in PUBLISHED]):
        options = [part for name in names for part in (f"--{name}", "1")]
        assert cli("train", *options, "--help").exit_code == 0
    assert "No such option" in cli("train", "--tasks_dri", "1", "--help").stderr
    docs = (ROOT / "docs/published.md").read_text()
    assert not [name for name in PUBLISHED if f"`{name}`" not in docs]


def test_train_then_eval_gives_the_same_scores(cli: Cli, model: Path, corpus: Path) -> None:
    common = ("--corpus", corpus, "--max_new_tokens", 8)
    done = cli(
        *("train", *common, "--model_name", model, "--preset", "paper", "--lr", 0.02),
        *("--decouple_embeddings", "--prompt", "query"),
    )
    assert done.exit_code == 0, done.output
    trained = summary(Path("runs/train"))["rows"][0]
    assert trained["method"] == "tokmem_dc"
    assert trained["steps"] == 2
    assert "tokmem recall" in done.stdout
    bank = Path("runs/train/banks/tokmem_dc-query-0")
    assert json.loads((bank / "bank.json").read_text())["origin"]["training"]["settings"]["lr"] == 0.02
    card = (bank / "README.md").read_text()
    assert f"| routing: the right procedure was chosen | {trained['routing_accuracy']:.1f}% |" in card
    assert f"SHA-256 `{json.loads(Path('runs/train/data.json').read_text())['data']}`" in card

    done = cli("eval", "--bank", bank, *common, "--backbone", model)
    assert done.exit_code == 0, done.output
    row = summary(Path("runs/eval"))["rows"][0]
    assert (row["method"], row["prompt"], row["trainable_parameters"]) == ("tokmem_dc", "query", 0)
    for name in ("routing_accuracy", "rouge_l", "rouge_l_forced", "exact_match"):
        assert row[name] == trained[name]
    again = cli(
        *("train", "--skip_training", "--load_task_tokens", bank, *common, "--model_name", model),
        *("--decouple_embeddings", "--prompt", "query"),
    )
    assert again.exit_code == 0, again.output
    assert summary(Path("runs/train-2"))["rows"][0]["rouge_l"] == trained["rouge_l"]


def test_a_dry_run_shows_tokens_and_cost_and_writes_nothing(cli: Cli, model: Path, corpus: Path) -> None:
    done = cli("train", corpus, "--backbone", model, "--dry-run", "--epochs", 3)
    assert done.exit_code == 0, done.output
    assert re.search(r"is given: .*<\|mem:(capital|upper)\|>", done.stdout)
    assert "12 steps: 3 times 8 examples" in done.stdout
    published = cli("train", corpus, "--backbone", model, "--dry-run", "--epochs", 3, "--methods", "tokmem")
    assert "is learned: <|mem:" in published.stdout
    assert "3 steps: 3 times 8 examples" in published.stdout
    assert not Path("runs").exists()
    assert (
        "--dry-run of lora"
        in cli("train", corpus, "--backbone", model, "--dry-run", "--methods", "lora").stderr
    )


def test_a_corpus_alone_is_enough(cli: Cli, model: Path, corpus: Path) -> None:
    done = cli("train", corpus, "--backbone", model)
    assert done.exit_code == 0, done.output
    assert summary(Path("runs/train"))["procedures"] == ["capital", "upper"]
    twice = cli("train", corpus, "--corpus", corpus)
    assert twice.exit_code == 2
    assert "leave --corpus out" in twice.stderr


@pytest.mark.parametrize(
    ("asked", "method", "coupled", "closed"),
    [
        ((), "tokmem_dc", False, True),
        (("--shared", "frozen"), "tokmem_dc", False, True),
        (("--addresses", "trained"), "tokmem_dc", False, False),
        (("--renorm", "stage"), "tokmem_dc", False, False),
        (("--preset", "paper"), "tokmem", True, False),
        (("--methods", "tokmem"), "tokmem", True, False),
        (("--methods", "tokmem_dc"), "tokmem_dc", False, False),
        (("--decouple-embeddings",), "tokmem_dc", False, False),
    ],
)
def test_addresses_are_computed_unless_something_else_is_asked_for(
    cli: Cli, model: Path, corpus: Path, asked: tuple[str, ...], method: str, coupled: bool, closed: bool
) -> None:
    few = ("--backbone", model, "--prompts", "query", "--test-size", 0, "--epochs", 1)
    done = cli("train", corpus, *few, *asked)
    assert done.exit_code == 0, done.output
    bank = Path(f"runs/train/banks/{method}-query-0")
    saved = json.loads((bank / "bank.json").read_text())
    assert (saved["coupled"], "closed_form" in saved) == (coupled, closed)
    if not asked:
        assert "over the 4 examples of each procedure makes 4 steps for it" in " ".join(done.stdout.split())
    again = cli("train", corpus, *few, "--load-task-tokens", bank)
    assert again.exit_code == 0, again.output
    kept = json.loads(Path(f"runs/train-2/banks/{method}-query-0/bank.json").read_text())
    assert (kept["coupled"], "closed_form" in kept) == (coupled, closed), "the kind of the bank"


@pytest.mark.parametrize(
    ("asked", "read"),
    [((), 16), (("--addresses", "closed"), 16), (("--stand-ins", 2), 2), (("--stand-ins", 0), 0)],
)
def test_instructions_are_read_with_stand_in_queries(
    cli: Cli, model: Path, corpus: Path, asked: tuple[str, ...], read: int
) -> None:
    """A bank keeps its number when it learns more, and refuses another one."""
    few = ("--backbone", model, "--test-size", 0, "--epochs", 1)
    done = cli("train", corpus, *few, *asked)
    assert done.exit_code == 0, done.output
    bank = Path("runs/train/banks/tokmem_dc-instruction-query-0")
    statistics = load_bank(bank)[0].statistics
    assert statistics is not None
    assert statistics.policy.stand_ins == read
    assert statistics.counts == {"capital": 4 + read, "upper": 4 + read}
    row = {"query": "hey", "instruction": "Shout.", "response": "HEY", "procedure": "shout"}
    Path("new.jsonl").write_text(json.dumps(row))
    add = (
        "bank",
        "add",
        bank,
        "--backbone",
        model,
        "--name",
        "shout",
        "--examples",
        "new.jsonl",
        "--epochs",
        1,
    )
    done = cli(*add)
    assert done.exit_code == 0, done.output
    again = load_bank(bank)[0].statistics
    assert again is not None
    assert again.counts["shout"] == 1 + read
    refused = cli("train", corpus, *few, "--load-task-tokens", bank, "--stand-ins", 7)
    assert refused.exit_code == 2
    assert f"--stand-ins 7 and a bank whose addresses are computed with {read}" in " ".join(
        refused.stderr.split()
    )
    refused = cli("train", corpus, *few, "--load-task-tokens", bank, "--addresses", "trained")
    assert refused.exit_code == 2
    assert "--addresses trained and a bank that computes" in " ".join(refused.stderr.split())


def test_closed_addresses_and_what_excludes_them_are_refused_together(
    cli: Cli, model: Path, corpus: Path
) -> None:
    train = ("train", corpus, "--backbone", model, "--addresses", "closed")
    for other, says in (
        (("--methods", "tokmem"), "addresses closed for method tokmem"),
        (("--renorm", "stage"), "addresses closed and renorm stage"),
    ):
        done = cli(*train, *other)
        assert done.exit_code == 2
        assert says in " ".join(done.stderr.split())


def test_eval_leaves_out_what_the_bank_does_not_know(cli: Cli, bank: Path, model: Path, corpus: Path) -> None:
    assert cli("bank", "remove", bank, "upper", "--out", "smaller").exit_code == 0
    write_task(Path("tasks"), "task1_a")
    write_task(Path("tasks"), "task2_capital")
    assert cli("bank", "rename", "smaller", "capital", "task2_capital", "--out", "named").exit_code == 0
    for args, left, known in (
        (("--bank", "smaller", "--corpus", corpus), "upper", "capital"),
        (("--bank", "named", "--tasks_dir", "tasks", "--test_size", 2), "task1_a", "task2_capital"),
    ):
        done = cli("eval", *args, "--backbone", model, "--max_new_tokens", 4, "--save_path", known)
        assert done.exit_code == 0, done.output
        warned = " ".join(done.stderr.split())
        assert f"left out what the bank does not know (1 of 2): {left}" in warned
        assert summary(Path(known))["procedures"] == [known]


def test_preset_plain_and_explicit_values_reach_the_config(cli: Cli, model: Path, corpus: Path) -> None:
    args = (
        "train",
        "--corpus",
        corpus,
        "--model-name",
        model,
        "--preset",
        "scripts",
        "--plain",
        "--test-size",
        0,
    )
    done = cli(
        *args,
        "--save-path",
        "my run",
        "--epochs",
        2,
        "--gradient_accumulation_steps",
        3,
        "--no-shuffle_train",
    )
    assert done.exit_code == 0, done.output
    assert "Bank: my run/banks/tokmem-instruction-query-0\n" in done.stdout
    assert "tokmem recall 'my run' 'France capital train 0' --instruction answer\n" in done.stdout
    assert "training has hardly learned anything" in " ".join(done.stderr.split())
    training = yaml.safe_load(Path("my run/config.yaml").read_text())["training"]
    assert (training["lr"], training["weight_decay"], training["frozen_prefix"]) == (1e-3, 0.01, False)
    assert (training["epochs"], training["accumulation"], training["shuffle"]) == (2, 3, False)
    assert summary(Path("my run"))["rows"][0]["rouge_l"] is None
    assert cli(*args, "--save-path", "my run").exit_code == 2
    assert cli(*args, "--save-path", "my run", "--resume").exit_code == 2, "another config"


def test_run_writes_a_result_file_without_private_paths(
    cli: Cli, model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_MODEL", str(model))
    monkeypatch.setenv("TINY_CORPUS", str(corpus))
    text = (
        "data: {source: jsonl, corpus: '${TINY_CORPUS}'}\nbackbone: {model_name: '${TINY_MODEL}'}\n"
        "methods: [base, tokmem]\nseeds: [0, 1]\nrecall: {max_new_tokens: 4}\n"
    )
    path = Path("experiments/atomic/tiny.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    private = f"backbone.model_name={model}"
    done = cli("run", path, "--set", "training.epochs=2", "--set", private)
    assert done.exit_code == 0, done.output
    assert re.search(r"tokmem.*±", done.stdout)
    written = Path("results/atomic/tiny.json").read_text()
    result = json.loads(written)
    assert (result["name"], result["experiment"]) == ("tiny", text)
    assert result["overrides"] == ["training.epochs=2", "backbone.model_name=(a local path)"]
    assert [row["method"] for row in result["rows"]] == ["base", "tokmem"]
    assert "/tmp" not in written
    assert str(model.parent) not in written
    assert cli("run", path).exit_code == 2
    again = cli(
        "run", path, "--set", "training.epochs=2", "--set", private, "--resume", "--results", "other.json"
    )
    assert again.exit_code == 0, again.output
    assert json.loads(Path("other.json").read_text())["rows"] == result["rows"]


@pytest.mark.parametrize(
    ("override", "public"),
    [
        ("data.corpus=/home/me/x.jsonl", "data.corpus=(a local path)"),
        ("data.corpus='~/x.jsonl'", "data.corpus=(a local path)"),
        ("data.corpus=../x.jsonl", "data.corpus=(a local path)"),
        ("data.corpus=mine/../../x.jsonl", "data.corpus=(a local path)"),
        (r"data.corpus=C:\Users\me\x.jsonl", "data.corpus=(a local path)"),
        (
            "data={source: jsonl, corpus: /home/me/x.jsonl, test_size: 2}",
            'data={"source": "jsonl", "corpus": "(a local path)", "test_size": 2}',
        ),
        ("some=[[/a], {b: ../c}, d]", 'some=[["(a local path)"], {"b": "(a local path)"}, "d"]'),
        *(
            (same, same)
            for same in (
                "backbone.model_name=org/model",
                "data.corpus=${MY_CORPUS}",
                "data={source: jsonl, corpus: '${MY_CORPUS}'}",
                "methods=[tokmem, tokmem+lr=0.1]",
                "connectors=['Also,', 'And / or']",
                "training.epochs=2",
            )
        ),
    ],
)
def test_paths_of_this_machine_do_not_stand_under_overrides(override: str, public: str) -> None:
    from tokmem.provenance import public_override

    assert public_override(override) == public


def no_encoder(*_: object) -> None:
    raise ConfigError("no sentence-transformers", "it, to retrieve", "install it")


@pytest.mark.usefixtures("only_painted")
def test_demo_prints_its_table_and_recalls_aloud(
    cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["data.train_size=2", "data.val_size=1", "data.test_size=1", "recall.max_new_tokens=3"]
    args = [part for s in (*small, "training.epochs=1") for part in ("--set", s)]
    args += ["--workers", "1", "--backbone", model]
    monkeypatch.setattr("tokmem.methods.retrieval.text_encoder.SentenceEncoder", no_encoder)
    done = cli("demo", *args)
    assert done.exit_code == 0, done.output
    assert "</html>" in Path("runs/demo/report/index.html").read_text()
    rows = summary(Path("runs/demo"))["rows"]
    assert [(row["method"], row["prompt"]) for row in rows] == [
        (method, prompt)
        for prompt in ("query", "instruction+query")
        for method in ("base", "tokmem", "tokmem_dc+addresses=closed")
    ]
    assert "Without rag: no sentence-transformers; install it" in done.stdout
    assert done.stdout.count("recalled  ") == done.stdout.count("reference  ") == 5
    assert "tokmem recall runs/demo/banks/tokmem_dc+addresses=closed-query-0" in done.stdout
    quick = (*args, "--set", "methods=[tokmem_dc]", "--set", "prompts=[query]")
    assert cli("demo", *quick).exit_code == 0
    assert len(summary(Path("runs/demo"))["rows"]) == 1, "an earlier demo is replaced"
    refused = cli("demo", *args, "--set", "backbone.model_name=/nowhere/model")
    assert refused.exit_code == 2
    assert Path("runs/demo/summary.json").is_file(), "a demo that cannot start leaves the earlier one"
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("precious")
    Path("runs/demo/my notes").mkdir()
    for taken in ("mine", "runs/demo"):
        done = cli("demo", *args, "--out", taken)
        assert done.exit_code == 2
        assert "choose a folder that does not exist yet" in done.output.replace("\n", " ")
    assert Path("mine/thesis.txt").read_text() == "precious"
    assert Path("runs/demo/my notes").is_dir()


def test_the_demo_of_mini_is_one_of_its_own(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[AtomicConfig] = []

    def stop(config: AtomicConfig, *_: object, **__: object) -> None:
        ran.append(config)
        raise ConfigError("far enough")

    monkeypatch.setattr("tokmem.tracks.run.run", stop)
    assert cli("demo", "--backbone", "mini").exit_code == 2
    assert (ran[0].backbone.model_name, ran[0].data.families, ran[0].training.lr) == ("mini", "demo", 0.03)


def test_query_states_are_kept_on_request(cli: Cli, model: Path, corpus: Path) -> None:
    done = cli("train", "--corpus", corpus, "--model_name", model, "--prompt", "query", "--negatives", "2")
    assert done.exit_code == 0, done.output
    assert "--instruction" not in done.stdout
    saved = json.loads(Path("runs/train/banks/tokmem_dc-query-0/bank.json").read_text())
    assert {p["states"] for p in saved["procedures"]} == {2}
    assert "closed_form" not in saved, "they keep newcomers with trained addresses apart"
    row = summary(Path("runs/train"))["rows"][0]
    assert (row["settings"]["negatives"], row["settings"]["renorm"]) == (2, "off")


def test_shipped_experiments_load(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokmem.config import load_config

    monkeypatch.setenv("TOKMEM_SNI_DIR", "somewhere")
    shipped = {path.name: path for path in (ROOT / "experiments/atomic").glob("*.yaml")}
    for name, path in shipped.items():
        assert load_config(AtomicConfig, path).name == Path(name).stem
    packaged = ROOT / "src/tokmem/tracks/demo.yaml"
    assert shipped["demo.yaml"].read_text() == packaged.read_text()


def test_training_goes_on_from_a_saved_bank(cli: Cli, bank: Path, model: Path, corpus: Path) -> None:
    """Procedures that the bank has are trained on, under their token ids."""
    done = cli("train", "--corpus", corpus, "--model_name", model, "--load_task_tokens", bank)
    assert done.exit_code == 0, done.output
    saved = json.loads(Path("runs/train/banks/tokmem-query-0/bank.json").read_text())
    before = json.loads((bank / "bank.json").read_text())
    ids = {p["name"]: p["ids"] for p in before["procedures"]}
    assert {p["name"]: p["ids"] for p in saved["procedures"]} == ids
    assert saved["tensors"] != before["tensors"]
    assert saved["origin"]["training"]["prompt"] == "query", "the bank's own, which is not the default"


def test_a_bank_is_trained_on_and_measured_in_its_own_prompt_mode(
    cli: Cli, bank: Path, model: Path, corpus: Path
) -> None:
    args = ("train", "--corpus", corpus, "--model_name", model, "--load_task_tokens", bank)
    done = cli(*args, "--skip_training", "--max_new_tokens", 2)
    assert done.exit_code == 0, done.output
    assert summary(Path("runs/train"))["rows"][0]["prompt"] == "query"
    for more in ((), ("--skip_training",)):
        done = cli(*args, *more, "--prompt", "instruction+query")
        assert done.exit_code == 2
        assert "--prompts instruction+query and bank" in done.stderr
        assert "trained with query" in done.stderr
    Path("more.yaml").write_text(
        f"data: {{source: jsonl, corpus: '{corpus}', test_size: 1}}\nmethods: [tokmem]\n"
        f"backbone: {{model_name: '{model}'}}\nload_task_tokens: '{bank}'\nrecall: {{max_new_tokens: 2}}\n"
    )
    done = cli("run", "more.yaml")
    assert done.exit_code == 2
    assert "prompts to [query]" in done.stderr
    told = cli("run", "more.yaml", "--set", "skip_training=true", "--out", "measured")
    assert told.exit_code == 0, told.output
    assert "is measured with instruction+query" in " ".join(told.stderr.split())


def test_fine_tuning_from_the_published_arguments(cli: Cli, model: Path, corpus: Path) -> None:
    pytest.importorskip("peft")
    common = ("train", "--corpus", corpus, "--model_name", model, "--max_new_tokens", 2)
    shape = ("--lora_r", 2, "--lora_dropout", 0, "--target_modules", "q_proj, o_proj", "--lr", 0.01)
    done = cli(*common, *shape, "--continual_replay", "--continual_replay_ratio", 0.5, "--block_size", 1)
    assert done.exit_code == 0, done.output
    (row,) = summary(Path("runs/train"))["rows"]
    assert (row["method"], row["settings"]["lora_r"]) == ("replay", 2)
    assert row["replayed_examples"] > 0
    config = yaml.safe_load(Path("runs/train/config.yaml").read_text())
    assert config["lora"]["target_modules"] == ["q_proj", "o_proj"]
    assert (config["lora"]["lr"], config["schedule"], config["block_size"]) == (0.01, "blocks", 1)
    adapter = Path("runs/train/learned/replay-instruction-query-0")
    assert f"Adapter: {adapter}" in done.stdout
    measured = cli(*common, *shape, "--method", "replay", "--skip_training", "--load_model", adapter)
    assert measured.exit_code == 0, measured.output
    assert summary(Path("runs/train-2"))["rows"][0]["rouge_l"] == row["rouge_l"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--lora-r", 2), "--lora-r with methods tokmem_dc, none of which reads it"),
        (("--methods", "tokmem_dc", "--ridge", 0.9), "--ridge with methods tokmem_dc, none"),
        (("--retrieval-k", 5), "--retrieval-k with methods tokmem_dc, none"),
        (("--methods", "base", "--width", 4), "--width with methods base, none"),
        (("--methods", "lora", "--lr", 0.1, "--weight-decay", 0.1), "--weight-decay with methods lora, none"),
        (("--families", "everyday", "--corpus", "c.jsonl"), "--families beside source jsonl"),
        (("--constrained",), "No such option"),
        (("--continual-replay", "--method", "rag"), "--continual-replay and method rag"),
        (("--decouple-embeddings", "--method", "lora"), "--decouple-embeddings and method lora"),
        (("--skip-training", "--method", "lora"), "skip_training and method lora"),
        (("--skip-training", "--method", "icl"), "skip_training and method icl"),
    ],
)
def test_options_of_different_methods_are_refused(cli: Cli, options: tuple, named: str) -> None:
    Path("c.jsonl").touch()
    done = cli("train", *options)
    assert done.exit_code == 2
    assert named in done.stderr


def test_a_demo_without_memory_tokens_is_refused(cli: Cli) -> None:
    refused = cli("demo", "--set", "methods=[base]")
    assert refused.exit_code == 2
    assert "without memory tokens" in refused.stderr

"""A user's mistake gives a clear line on stderr and exit status 2, never a traceback."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tokmem.cli.main import Terminated, main


def write_task(folder: Path, name: str, **changes: object) -> None:
    folder.mkdir(exist_ok=True)
    task = {
        "Definition": ["Say it."],
        "Positive Examples": [],
        "Instances": [{"input": f"{i}", "output": [f"{i}"]} for i in range(9)],
        "Input_language": ["English"],
        "Output_language": ["English"],
        "Instruction_language": ["English"],
    }
    (folder / f"{name}.json").write_text(json.dumps(task | changes))


def bad_json(folder: Path) -> None:
    folder.mkdir()
    (folder / "task001_a.json").write_text('{"Definition": [')


def no_instances(folder: Path) -> None:
    write_task(folder, "task001_a", Instances=[])


@pytest.mark.parametrize(
    ("make", "says"), [(bad_json, "one JSON object"), (no_instances, "empty `Instances`")]
)
def test_bad_task_files(cli: Cli, model: Path, make: object, says: str) -> None:
    make(Path("tasks"))
    done = cli("train", "--tasks_dir", "tasks", "--model_name", model)
    refused(done, "task001_a.json", says)


def refused(done: object, *says: str) -> None:
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    for text in says:
        assert text in done.stderr, done.stderr


def test_bad_corpora(cli: Cli, model: Path, corpus: Path) -> None:
    train = ("train", "--model_name", model, "--corpus")
    refused(cli(*train, "missing.jsonl"), "missing.jsonl", "check the path")
    Path("bad.jsonl").write_text('{"query": "a", "turns": []}\n')
    refused(cli(*train, "bad.jsonl"), "line 1", "empty `turns`")
    Path("twice.jsonl").write_text(corpus.read_text())
    Path("twice.procedures.jsonl").write_text('{"name": "capital"}\n{"name": "capital"}\n')
    refused(cli(*train, "twice.jsonl"), "twice.procedures.jsonl, line 2", "stands once")
    refused(cli(*train, corpus, "--tasks", "capitel"), "'capitel'", "capital")
    refused(cli(*train, corpus, "--few_shot", 2), "few_shot", "sni")
    chain = [{"procedure": "a", "response": "b"}] * 2
    Path("chain.jsonl").write_text(json.dumps({"query": "q", "turns": chain, "split": "train"}))
    refused(cli(*train, "chain.jsonl"), "2 turns")


def test_a_corpus_is_checked_before_the_backbone_loads(
    cli: Cli, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(_: object) -> None:
        raise AssertionError("the backbone was loaded")

    monkeypatch.setattr("tokmem.cli.train.load", load)
    refused(cli("train", "missing.jsonl"), "missing.jsonl")
    refused(
        cli("train", corpus, "--num-tasks", 99), "num_tasks 99 of 2 procedures (capital, upper)", "at most 2"
    )
    refused(cli("train"), "no corpus", "tokmem init")
    refused(cli("train", "--num-tasks", 99), "num_tasks 99 of 10 procedures", ", ...")
    refused(cli("train", corpus, "--tasks", "capitel"), "'capitel'")
    Path("tasks").mkdir()
    write_task(Path("tasks"), "task1_a")
    refused(cli("train", "--tasks_dir", "tasks", "--num-tasks", 2), "num_tasks 2 of 1 procedures (task1_a)")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--prompt", "quer", "did you mean query?"),
        ("--dtype", "float23", "did you mean float32?"),
        ("--start", "men", "did you mean mean?"),
        ("--preset", "papers", "paper, scripts"),
        ("--num_epochs", 0, "epochs 0"),
        ("--train_size", -1, "at least 0"),
        ("--num_epochs", "many", "training.epochs: 'many'"),
        ("--model_name", "no/such/model", "cannot be loaded"),
        ("--model_name", "mni", "did you mean mini?"),
        ("--device", "gpu", "gpu"),
        ("--tasks_dri", "x", "No such option"),
    ],
)
def test_bad_option_values(
    cli: Cli, model: Path, corpus: Path, option: str, value: object, says: str
) -> None:
    done = cli("train", "--corpus", corpus, "--model_name", model, option, value)
    refused(done)
    assert says in " ".join(done.stderr.split())


def test_what_does_not_exist_is_said_before_the_imports(
    cli: Cli, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokmem.cli.train.track_config", lambda *_: pytest.fail("torch was imported"))
    refused(cli("train", "missing.jsonl"), "missing.jsonl does not exist", "tokmem init")
    refused(cli("recall", "hi"), "neither a bank nor --url", "tokmem recall BANK hi")
    refused(cli("eval"), "no bank", "tokmem eval BANK")
    refused(cli("eval", bank, "--bank", bank), f"{bank} and --bank {bank}", "one of them")
    refused(cli("recall", bank, "say", "hi"), "3 arguments", "quotes")


def test_bad_experiments(cli: Cli) -> None:
    refused(cli("run", "missing.yaml"), "missing.yaml")
    Path("wrong.yaml").write_text("track: atomic\ntrainin: {lr: 1}\n")
    refused(cli("run", "wrong.yaml"), "trainin", "did you mean training or")
    Path("other.yaml").write_text("track: cubic\n")
    refused(cli("run", "other.yaml"), "cubic")
    Path("unset.yaml").write_text("data: {source: sni, tasks_dir: '${NO_SUCH_FOLDER_SET}'}\n")
    refused(cli("run", "unset.yaml"), "NO_SUCH_FOLDER_SET", "export")


def test_bad_banks(cli: Cli, bank: Path, model: Path, foreign_model: Path, corpus: Path) -> None:
    for command in (("recall", "q"), ("eval", "--corpus", corpus)):
        refused(cli(*command, "--bank", "nowhere", "--model_name", model), "no bank.json in nowhere")
        refused(cli(*command, "--bank", bank, "--model_name", foreign_model), "was trained on backbone")
    shutil.copytree(bank, "edited")
    text = Path("edited/bank.json").read_text()
    Path("edited/bank.json").write_text(text.replace("capital", "capitol"))
    refused(cli("bank", "list", "edited"), "edited after saving")
    tensors = Path("edited/bank.safetensors")
    shutil.copy(bank / "bank.json", "edited/bank.json")
    tensors.write_bytes(tensors.read_bytes()[:-4])
    refused(cli("recall", "q", "--bank", "edited", "--model_name", model), "truncated")


def test_bad_procedures(cli: Cli, bank: Path, model: Path, corpus: Path) -> None:
    recall = ("recall", "q", "--bank", bank, "--model_name", model)
    refused(cli(*recall, "--procedure", "capitel"), "'capitel'", "close: capital")
    for args in (("remove", bank, "none"), ("rename", bank, "none", "x"), ("slice", bank, "none")):
        refused(cli("bank", *args, "--out", "new"), "'none'")
    refused(cli("bank", "show", bank, "none"), "'none'")
    refused(cli("bank", "rename", bank, "upper", "capital", "--out", "new"), "twice")
    for name in ("", "two\nlines"):
        refused(cli("bank", "rename", bank, "upper", name, "--out", "new"), "visible text on one line")
    refused(cli("bank", "merge", bank, bank, "--out", "new"), "in both banks")
    refused(cli("bank", "add", bank, "--name", "upper", "--out", "new", "--backbone", model), "twice")
    refused(cli("bank", "add", bank, "--out", "new"), "--name")
    assert not Path("new").exists()
    Path("other.jsonl").write_text(corpus.read_text().replace('"upper"', '"uper"'))
    evaluate = ("eval", "--bank", bank, "--model_name", model)
    asked = cli(*evaluate, "--corpus", "other.jsonl", "--task", "uper")
    refused(asked, "'uper' is not in bank", "close: upper", "--task")
    refused(cli(*evaluate, "--tasks_dir", "."), ".: no procedure of the bank", "one of capital, upper")
    Path("foreign.jsonl").write_text('{"query": "q", "turns": [{"procedure": "p", "response": "r"}]}')
    refused(cli(*evaluate, "--corpus", "foreign.jsonl"), "foreign.jsonl: no procedure of the bank")
    refused(cli(*evaluate), "the generated procedures: no procedure of the bank")


def test_bad_queries(cli: Cli, bank: Path, model: Path) -> None:
    recall = ("recall", "--bank", bank, "--model_name", model)
    refused(cli(*recall, "  "), "empty query")
    refused(cli(*recall, "--queries", "missing.txt"), "missing.txt")
    refused(cli(*recall, input="\n\n"), "no queries")
    refused(cli(*recall, "q", "--temperature", -1), "temperature")
    Path("queries.jsonl").write_text('{"query": "a"}\n{"question": "b"}\n')
    refused(cli(*recall, "--queries", "queries.jsonl"), "line 2", "`query`")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00")
    refused(cli(*recall, "--queries", "binary.txt"), "UTF-8")
    refused(cli(*recall, input=b"\xff\xfe\n"), "standard input is not UTF-8")
    refused(cli(*recall, "\udcff"), r"'\udcff' at 0 is not a character", "UTF-8")
    Path("escaped.jsonl").write_text('{"query": "a \\ud800"}\n')
    refused(cli(*recall, "--queries", "escaped.jsonl"), "line 1", "half of a surrogate pair")


def test_unwritable_output(cli: Cli, bank: Path, model: Path, corpus: Path) -> None:
    Path("file").write_text("in the way")
    train = ("train", "--corpus", corpus, "--model_name", model, "--test_size", 0)
    refused(cli(*train, "--save_path", "file/run"), "file/run")
    refused(cli(*train, "--save_path", "file"), "file")
    refused(cli("bank", "slice", bank, "upper", "--out", "file"), "file exists already")
    assert Path("file").read_text() == "in the way"


def test_a_run_that_does_not_exist_is_not_resumed(cli: Cli, corpus: Path) -> None:
    Path("x.yaml").write_text("track: atomic")
    for command in (("train", corpus), ("tools",), ("run", "x.yaml")):
        refused(cli(*command, "--out", "typo", "--resume"), "typo does not exist", "check --out")
    refused(cli("train", corpus, "--resume"), "--resume without --out")
    assert not Path("typo").exists()


def test_an_error_that_is_not_the_users_shows_no_traceback(
    cli: Cli, bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("tokmem.bank.facts.read_facts", fail)
    done = cli("bank", "list", bank)
    assert done.exit_code == 1
    assert "RecursionError: too deep" in done.stderr
    assert "tokmem --debug" in done.stderr
    assert "Traceback" not in done.output


def test_closed_streams_are_no_error_of_python(bank: Path, model: Path) -> None:
    command = [sys.executable, "-m", "tokmem", "recall", "--bank", str(bank), "--backbone", str(model)]
    shell = " ".join(f"'{part}'" for part in command)
    done = subprocess.run(f"{shell} <&-", shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "standard input is closed" in done.stderr
    silent = subprocess.run(f"'{sys.executable}' -m tokmem bank list '{bank}' >&-", shell=True, check=False)
    assert silent.returncode == 0


def test_a_path_that_cannot_be_one_is_refused(cli: Cli, bank: Path) -> None:
    for args in (
        ("train", "--corpus", "a\0b"),
        ("bank", "list", "a\0b"),
        ("recall", "q", "--bank", "a\0b"),
        ("run", "a\0b.yaml"),
    ):
        refused(cli(*args), "NUL")
    Path("x.yaml").write_text('data: {source: jsonl, corpus: "a\\0b"}')
    refused(cli("run", "x.yaml"), "data.corpus", "text without it")


def test_debug_keeps_the_traceback(cli: Cli) -> None:
    done = cli("--debug", "recall", "q", "--bank", "nowhere")
    assert type(done.exception).__name__ == "BankError"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_command_tidily(model: Path, bank: Path, number: int, status: int) -> None:
    """The command waits for typed queries when the signal comes."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "tokmem", "recall", "--bank", str(bank), "--backbone", str(model)]
    running = subprocess.Popen(
        command,
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert "An empty line ends" in running.stdout.readline()
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    os.close(leader)
    os.close(follower)
    assert running.returncode == status
    assert "error: interrupted" in said or "error: terminated" in said
    assert "--resume" not in said, "recall has no such option"
    assert "Traceback" not in said


@pytest.mark.parametrize(("kind", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
@pytest.mark.parametrize("place", ["typer.core.TyperGroup.make_context", "typer.main.get_command"])
def test_a_signal_before_the_command_begins_ends_it_tidily(
    place: str, kind: type, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise kind

    monkeypatch.setattr(place, stop)
    monkeypatch.setattr(sys, "argv", ["tokmem", "bank", "list", "x"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # `main` sets its own
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == status
    assert capsys.readouterr().err == f"error: {'interrupted' if status == 130 else 'terminated'}\n"


@pytest.mark.parametrize(
    ("args", "advice"),
    [
        (("train", "corpus.jsonl"), "a run goes on with --resume and the --out of its folder"),
        (("learn", "prompt.txt", "--bank", "b"), "the same command goes on"),
        (("doctor",), ""),
    ],
)
def test_a_stopped_command_says_how_it_goes_on(
    args: tuple[str, ...], advice: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tokmem.cli.launched.joined", stop)
    done = cli(*args)
    assert done.exit_code == 130
    assert "error: interrupted" in done.output
    assert done.output.partition("to do: ")[2].strip() == advice


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_a_destructor_is_not_lost(number: int, status: int) -> None:
    """Python ignores exceptions in `__del__`, and so the one that ends the command."""
    script = f"""
import os, signal, time
from tokmem.cli import main

class Object:
    def __del__(self):
        os.kill(os.getpid(), {int(number)})
        time.sleep(0)

def app():
    Object()
    time.sleep(60)

main.app = app
main.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_a_terminal_of_few_characters_shows_every_name(cli: Cli, bank: Path) -> None:
    assert cli("bank", "rename", bank, "upper", "票", "--out", "named").exit_code == 0
    command = [sys.executable, "-m", "tokmem", "bank", "list", "named", "--json"]
    few = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, capture_output=True, text=True, env=few, check=False)
    assert done.returncode == 0, done.stderr
    assert "\\u7968" in done.stdout


def test_installed_command_prints_its_version_and_survives_a_closed_pipe(bank: Path) -> None:
    command = [sys.executable, "-m", "tokmem"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tokmem ")
    reader, writer = os.pipe()
    os.close(reader)
    closed = subprocess.run(
        [*command, "bank", "list", str(bank)], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert "Traceback" not in closed.stderr


def test_a_missing_file_of_composed_queries_is_told_before_the_backbone_loads(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokmem.cli.evaluate.open_memory", lambda *_: pytest.fail("the backbone was loaded"))
    Path("b").mkdir()
    Path("b/bank.json").touch()
    done = cli("eval", "b", "--corpus", "none.json")
    assert done.exit_code == 2
    assert "none.json does not exist" in done.stderr

"""Options made from the settings of tracks: the table, the names, and the speed of `--help`."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.cli.conftest import Cli
from tests.cli.test_names import FLAGS
from tokmem.cli.flags import TABLE, Flags, given, help_rows, track_config
from tokmem.cli.main import app
from tokmem.cli.published import ALIASES

ROOT = Path(__file__).parents[2]


def test_the_table_of_options_is_that_of_the_config_classes() -> None:
    spec = spec_from_file_location("write_options", ROOT / "tools/write_options.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert TABLE.read_text("utf-8") == module.options_text(), "run tools/write_options.py"


def commands() -> list[str]:
    """The words of every command."""
    groups = [
        ("", app),
        *((f"{group.typer_instance.info.name} ", group.typer_instance) for group in app.registered_groups),
    ]
    return [f"{prefix}{one.name}" for prefix, group in groups for one in group.registered_commands]


def test_what_needs_no_model_imports_no_heavy_module(bank: Path, tmp_path: Path) -> None:
    """A command that imports torch takes seconds to answer."""
    quick = [[*command.split(), "--help"] for command in commands()]
    quick += [["bank", "list", str(bank)], ["backbone", "list"], ["backbone", "path", "mini"], ["init"]]
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom tokmem.cli.main import app\n"
        f"for words in {quick!r}:\n"
        "    done = CliRunner().invoke(app, words)\n"
        "    assert done.exit_code == 0, done.output\n"
        "heavy = ('torch', 'transformers', 'peft', 'numpy', 'safetensors', 'accelerate', 'matplotlib')\n"
        "heavy += ('jinja2', 'jsonschema', 'tokenizers', 'huggingface_hub')\n"
        "sys.exit(', '.join(name for name in heavy if name in sys.modules) or len(sys.modules) > 900)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", FLAGS)
def test_options_of_a_command_have_different_names_and_settings_that_exist(command: str) -> None:
    flags = FLAGS[command]
    options = flags.options()
    assert len(set(options.values())) == len(options)
    keys = {row.key for row in help_rows(flags.track)}
    assert {*flags.skip, *flags.defaults} <= keys
    assert set(options) <= keys


@pytest.mark.parametrize("command", ALIASES)
def test_an_alias_stands_for_an_option_of_its_command(cli: Cli, command: str) -> None:
    words = command.split()
    shown = " ".join(cli(*words, "--help").stdout.split())
    missing = [name for name in ALIASES[command].values() if f"--{name} " not in shown]
    assert missing == []


@pytest.mark.parametrize("command", ["bank add", "bank compose", "train", "learn"])
def test_help_says_that_training_fits_the_examples(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    shown = " ".join(cli(*command.split(), "--help").stdout.split())
    assert "as many as make 150 steps" in shown
    assert "default: 0.005" not in shown


@pytest.mark.parametrize("command", ["train", "eval", "recall", "learn", "ui", "serve", "bank add"])
def test_help_says_that_smollm2_takes_the_fastest_type(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert "fastest for smollm2" in " ".join(cli(*command.split(), "--help").stdout.split())


def test_values_become_settings_of_their_type() -> None:
    seen: dict[str, str] = {}
    app = typer.Typer()

    @app.command(cls=Flags("atomic").command())
    def command(ctx: typer.Context) -> None:
        seen.update(given(ctx))

    words = (
        "--methods base,tokmem --methods lora+lora_r=1 --seeds 1,2 --no-shuffle --epochs 3 --lr 1e-3".split()
    )
    words += ["--tasks", '["a, b", "c"]', "--source", "jsonl", "--corpus", "7", "--num-tasks", "null"]
    done = CliRunner().invoke(app, [*words, "--device", "\u00e9 \U0001f600", "--probes", ""])
    assert done.exit_code == 0, done.output
    config = track_config("atomic", seen)
    assert config.methods == ("base", "tokmem", "lora+lora_r=1")
    assert (config.seeds, config.probes, config.data.tasks) == ((1, 2), (), ("a, b", "c"))
    assert (config.training.shuffle, config.training.epochs, config.training.lr) == (False, 3, 1e-3)
    assert (config.data.corpus, config.data.num_tasks) == ("7", None)
    assert config.backbone.device == "\u00e9 \U0001f600"

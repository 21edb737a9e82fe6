"""Functions that the commands share."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tokmem.bank.facts import Origin
from tokmem.cli.flags import track_config
from tokmem.cli.memory import backbone_of, for_speed
from tokmem.cli.shared import command_line


def test_a_command_to_be_typed_is_the_one_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    program = Path("my env/bin/tokmem")
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(program), "demo"])
    monkeypatch.setenv("PATH", "")
    assert command_line("recall", "--bank", Path("a b")) == "'my env/bin/tokmem' recall --bank 'a b'"
    monkeypatch.setenv("PATH", str(program.parent.absolute()))
    assert command_line("bank", "list", "a") == "tokmem bank list a", "it is on the path"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "tokmem/__main__.py")])
    assert command_line("demo").endswith(" -m tokmem demo")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/pytest"])
    assert command_line("demo") == "tokmem demo"


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        ({}, "fastest"),
        ({"backbone.model_name": '"smollm2"'}, "fastest"),
        ({"backbone.dtype": "float32"}, "float32"),
        ({"backbone.model_name": "mini"}, "auto"),  # whose results are exact on every machine
    ],
)
def test_commands_take_smollm2_in_the_fastest_type(given: dict[str, str], dtype: str) -> None:
    assert track_config("atomic", for_speed(given)).backbone.dtype == dtype


@pytest.mark.parametrize("odd", ["m" * 5000, "a\0b"])
def test_a_backbone_of_a_run_that_no_system_can_hold_is_none(tmp_path: Path, odd: str) -> None:
    (tmp_path / "config.yaml").write_text(f"backbone: {{model_name: {json.dumps(f'{odd}/tiny')}}}\n")
    bank = tmp_path / "banks/one"
    assert backbone_of(bank, Origin("tiny", "f")) == "tiny"

"""The tool of mutation testing: which changes count, and how a survivor is shown."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"
CHANGED = """
def x_half__mutmut_orig(n, unit="m"):
    if n < 0:
        raise ValueError(f"{n} is negative", unit)
    return f"{n / 2} {unit}"

def x_half__mutmut_1(n, unit="m"):
    if n < 0:
        raise ValueError(None, unit)
    return f"{n / 2} {unit}"

def x_half__mutmut_2(n, unit="m"):
    if n < 0:
        raise ValueError(f"{n} is negative", unit)
    return f"{n / 2}XX {unit}"

def x_half__mutmut_3(n, unit="m"):
    if n <= 0:
        raise ValueError(f"{n} is negative", unit)
    return f"{n / 2} {unit}"

def x_moved__mutmut_orig(a, b):
    pairs = zip(a, b, strict=True)
    return [x.to(y.device) for x, y in pairs], a.to(torch.float32)

def x_moved__mutmut_1(a, b):
    pairs = zip(a, b, strict=False)
    return [x.to(y.device) for x, y in pairs], a.to(torch.float32)

def x_moved__mutmut_2(a, b):
    pairs = zip(a, b, strict=True)
    return [x.to(None) for x, y in pairs], a.to(torch.float32)

def x_moved__mutmut_3(a, b):
    pairs = zip(a, b, strict=True)
    return [x.to(y.device) for x, y in pairs], a.to(None)

def x_told__mutmut_orig(n):
    logger.info("%d", n)
    return OddError(f"{n} is odd") if n % 2 else None

def x_told__mutmut_1(n):
    logger.info("%d", None)
    return OddError(f"{n} is odd") if n % 2 else None

def x_told__mutmut_2(n):
    logger.info("%d", n)
    return OddError(None) if n % 2 else None
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as mutmut leaves it: three functions with eight changes, of which it tried none."""
    monkeypatch.syspath_prepend(str(TOOLS))
    package = tmp_path / "mutants" / "src" / "tokmem" / "bank"
    package.mkdir(parents=True)
    (package / "half.py").write_text(CHANGED)
    codes = {f"tokmem.bank.half.x_half__mutmut_{number}": None for number in (1, 2, 3)}
    codes |= {f"tokmem.bank.half.x_moved__mutmut_{number}": None for number in (1, 2, 3)}
    codes |= {f"tokmem.bank.half.x_told__mutmut_{number}": None for number in (1, 2)}
    (package / "half.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    return tmp_path


def test_changes_that_no_test_could_notice_are_left_out(folder: Path) -> None:
    from mutants import Mutants

    made = Mutants("bank", folder)
    assert len(made.codes()) == 8
    left = {"tokmem.bank.half.x_half__mutmut_3", "tokmem.bank.half.x_moved__mutmut_3"}
    assert set(made.sample(1.0, seed=0)) == left


def test_a_survivor_shows_what_changed(folder: Path) -> None:
    from mutants import Mutants, difference

    functions = Mutants("bank", folder).functions()
    assert difference(functions, "tokmem.bank.half.x_half__mutmut_3") == ["- if n < 0:", "+ if n <= 0:"]
    assert all(isinstance(function, ast.FunctionDef) for function in functions.values())


@pytest.mark.parametrize(("code", "killed"), [(0, 0), (33, 0), (1, 1), (36, 1)])
def test_what_no_test_notices_has_survived(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: int, killed: int
) -> None:
    from mutants import Mutants, tried

    name = "tokmem.bank.half.x_half__mutmut_3"
    made = Mutants("bank", folder)
    monkeypatch.setattr(Mutants, "mutmut", lambda self, *names: "")
    monkeypatch.setattr(Mutants, "codes", lambda self: {name: code})
    row = tried(made, [name])
    assert (row["tried"], row["killed"], list(row["survivors"])) == (1, killed, [name] if not killed else [])


def test_a_survivor_that_a_reader_explained_is_told_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mutants

    name = "tokmem.bank.half.x_half__mutmut_3"
    monkeypatch.setattr(mutants.Mutants, "mutmut", lambda self, *names: "")
    monkeypatch.setattr(mutants.Mutants, "codes", lambda self: {name: 0})
    monkeypatch.setattr(mutants, "EQUIVALENT", folder / "equivalent.json")
    (folder / "equivalent.json").write_text(json.dumps({"- if n < 0:\n+ if n <= 0:": "zero is no length"}))
    row = mutants.tried(mutants.Mutants("bank", folder), [name])
    assert (row["killed"], row["explained"], row["survivors"]) == (0, 1, {})
    assert row["equivalent"][name]["why"] == "zero is no length"


def test_changes_that_were_not_tried_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mutants import Mutants, tried

    monkeypatch.setattr(Mutants, "mutmut", lambda self, *names: "no such test")
    with pytest.raises(SystemExit, match="no such test"):
        tried(Mutants("bank", folder), ["tokmem.bank.half.x_half__mutmut_3"])


def test_only_changed_files_of_the_packages_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    from mutants import changed_files

    def git(*args: str) -> None:
        own = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *own, *args], cwd=tmp_path, check=True, capture_output=True)

    names = ("bank/slots.py", "bank/table.py", "train/fit.py", "report/page.py", "train/notes.md")
    for name in names:
        path = tmp_path / "src" / "tokmem" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    for name in names[1:]:
        (tmp_path / "src" / "tokmem" / name).write_text("2\n")
    assert changed_files("HEAD", tmp_path) == {
        "bank": ["src/tokmem/bank/table.py"],
        "train": ["src/tokmem/train/fit.py"],
    }

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
    from changed import Function
    from mutants import Mutants

    made = Mutants("bank", folder)
    assert len(made.codes()) == 8
    left = {"tokmem.bank.half.x_half__mutmut_3", "tokmem.bank.half.x_moved__mutmut_3"}
    assert set(made.names()) == left
    half = Function("src/tokmem/bank/half.py", "tokmem.bank.half.x_half", "half")
    assert made.names([half]) == ["tokmem.bank.half.x_half__mutmut_3"]


def test_a_draw_has_its_share_and_at_least_one(folder: Path) -> None:
    from mutants import drawn

    names = [str(i) for i in range(10)]
    assert [len(drawn(names, share, 0, "bank")) for share in (1.0, 0.3, 0.01)] == [10, 3, 1]
    assert drawn(names, 0.5, 0, "bank") == drawn(names, 0.5, 0, "bank") != drawn(names, 0.5, 1, "bank")


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


def test_survivors_are_tried_again_where_their_code_is_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mutants import Mutants, settled

    half = "tokmem.bank.half.x_half__mutmut_"
    lines = {
        f"{half}2": ["- return f'{n / 2} {unit}'", "+ return f'{n / 2}XX {unit}'"],
        f"{half}3": ["- if n < 0:", "+ if n <= 0:"],
        f"{half}1": ["- if n < 7:", "+ if n <= 7:"],  # the code is another by now
        "tokmem.bank.half.x_gone__mutmut_1": ["- pass", "+ return"],
    }
    monkeypatch.setattr(Mutants, "mutmut", lambda self, *names: "")
    monkeypatch.setattr(Mutants, "codes", lambda self: {f"{half}2": 1, f"{half}3": 0})
    earlier = {"other": ["- a", "+ b"]}
    found = settled(Mutants("bank", folder), {"survivors": lines, "noticed_since": earlier})
    assert list(found["noticed_since"]) == ["other", f"{half}2"]
    assert [*found["survivors"]] == [f"{half}3", f"{half}1", "tokmem.bank.half.x_gone__mutmut_1"]
    assert (found["since"], found["left"]) == (2, 3)


def test_changes_that_were_not_tried_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mutants import Mutants, tried

    monkeypatch.setattr(Mutants, "mutmut", lambda self, *names: "no such test")
    with pytest.raises(SystemExit, match="no such test"):
        tried(Mutants("bank", folder), ["tokmem.bank.half.x_half__mutmut_3"])


def test_when_its_time_is_up_what_was_tried_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mutants

    names = [f"tokmem.bank.half.x_half__mutmut_{number}" for number in (1, 2, 3)]
    monkeypatch.setattr(mutants.Mutants, "codes", lambda self: dict(zip(names, (1, 0, None), strict=True)))
    made = mutants.Mutants("bank", folder, until=mutants.perf_counter() + 0.5)
    monkeypatch.setattr(mutants.sys, "executable", str(sleeping(folder)))
    row = mutants.tried(made, names)
    assert (row["tried"], row["killed"], list(row["survivors"])) == (2, 1, names[1:2])


def sleeping(folder: Path) -> Path:
    """A program that sleeps, as does a process that it starts, which holds its output."""
    path = folder / "sleeps"
    path.write_text("#!/bin/sh\nsleep 60 &\nsleep 60\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("explained", "most", "failed"), [(0, 0, 1), (2, 0, 0), (0, 9, 0)], ids=["each", "explained", "few"]
)
def test_less_than_the_goal_fails_unless_only_a_few_were_tried(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    explained: int,
    most: int,
    failed: int,
) -> None:
    import mutants

    row = {
        "tried": 10,
        "killed": 8,
        "explained": explained,
        "survivors": {"x_half__mutmut_1": ["- a", "+ b"]},
    }
    found = [mutants.Function("src/tokmem/bank/half.py", "tokmem.bank.half.x_half", "half")]
    monkeypatch.setattr(mutants, "changed_functions", lambda *_: found)
    monkeypatch.setattr(mutants, "_few" if most else "_each", lambda *_: [row])
    assert mutants.main(["--since", "HEAD", "--most", str(most)]) == failed
    said = capsys.readouterr().out
    assert said.startswith("x_half__mutmut_1\n  - a\n  + b\n8 of 10 changes were noticed")
    assert "1 functions of bank, model" in said


def test_nothing_runs_if_no_function_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mutants

    monkeypatch.setattr(mutants, "changed_functions", lambda *_: [])
    assert mutants.main(["--since", "HEAD", "--most", "9"]) == 0
    assert "0 functions of bank, model, train, recall, export changed since HEAD" in capsys.readouterr().out


SOURCE = """
import os

A = 1

def first(n):
    return n + 1

class Bank:
    @property
    def size(self):
        return 2

    def add(self, n):
        def inner():
            return n
        return inner()
"""


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("A = 1", "A = 2", []),
        ("n + 1", "n + 2", ["x_first"]),
        ("    @property\n", "", ["xǁBankǁsize"]),
        ("return n\n", "return -n\n", ["xǁBankǁadd"]),
        ("        return inner()\n", "", ["xǁBankǁadd"]),
    ],
)
def test_only_changed_functions_of_the_packages_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, names: list[str]
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    from changed import changed_functions

    def git(*args: str) -> None:
        own = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        subprocess.run(["git", *own, *args], cwd=tmp_path, check=True, capture_output=True)

    paths = [tmp_path / "src/tokmem" / name for name in ("bank/bank.py", "report/page.py", "bank/gone.py")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SOURCE, "utf-8")
    git("init")
    git("add", "-A")
    git("commit", "-m", "first")
    for path in paths:
        path.write_text(SOURCE.replace(old, new), "utf-8")
    paths[-1].unlink()
    found = changed_functions("HEAD", ["src/tokmem/bank", "src/tokmem/train"], tmp_path)
    assert [one.name for one in found] == [f"tokmem.bank.bank.{name}" for name in names]


def test_the_nearest_tests_name_the_function_or_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    from changed import Function, nearest_tests

    texts = {
        "test_far": "from tokmem.bank.bankers import first",
        "test_much": "from tokmem.bank.bank import Bank\nBank(Bank())",
        "test_some": "from tokmem.bank import bank",
        "test_bank": "",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    function = Function("src/tokmem/bank/bank.py", "tokmem.bank.bank.xǁBankǁadd", "Bank")
    found = nearest_tests(function, list(tmp_path.glob("*.py")), 4)
    assert [path.stem for path in found] == ["test_bank", "test_much", "test_some"]
    assert len(nearest_tests(function, list(tmp_path.glob("*.py")), 1)) == 1

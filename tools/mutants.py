"""Changes the code in small ways and counts the changes that the tests notice: mutation testing with mutmut.

    python tools/mutants.py --packages bank,train --share 0.1
    python tools/mutants.py --since origin/main          # only files that changed since then
    python tools/mutants.py --explain                    # after an addition to equivalent.json

Each package of `tokmem` is tried against its own tests, and those of the code that uses it most (`PACKAGES`).
Changes that no test could notice are left out: those that touch nothing but a text in quotes, what an error
says, what is logged, whether `zip` checks lengths, or on which device a tensor lies (tests have one). The
survivors stand in the result, so that they can be read; `equivalent.json` says why some of them are no fault
of the tests. `train/parallel.py` is left out: its tests run in other processes, where mutmut cannot see them.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from tokmem.files import atomic_write_json
from tokmem.provenance import source_state

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "results" / "reliability" / "mutants.json"
WORK = ROOT / "runs" / "mutants"
EQUIVALENT = Path(__file__).with_name("equivalent.json")  # lines of a change: why no test should notice it
# The tests that each package is tried against.
PACKAGES: Mapping[str, Sequence[str]] = {
    "bank": ("bank", "train", "cli/test_bank.py"),
    "model": ("model", "train", "cli/test_backbone.py", "methods/test_lora.py", "test_typed_tokens.py"),
    "train": ("train", "methods/test_closed.py", "methods/test_lora.py"),
    "recall": (
        "recall",
        "methods/test_recurrent.py",
        "methods/test_tokmem.py",
        "methods/test_memory.py",
        "methods/test_closed.py",
    ),
    "export": ("export",),
}
GOAL = 0.85  # the share of changes that tests should notice
SURVIVED, UNTESTED = 0, 33  # mutmut's notes for a change that no test noticed, or that no test runs
_CONFIG = """\
[mutmut]
source_paths = src
only_mutate =
    {mutated}
do_not_mutate = src/tokmem/train/parallel.py
also_copy =
    {copied}
pytest_add_cli_args_test_selection =
    {tests}
track_dependencies = false
"""


@dataclass(frozen=True)
class Mutants:
    """The changes of one package, in a copy of the tree.

    Attributes:
        package: name of the package below `tokmem`.
        folder: the copy.
        files: the files to change, below the root of the tree; empty changes all.
    """

    package: str
    folder: Path
    files: Sequence[str] = ()

    def prepare(self) -> None:
        """Copies the tree, makes all changes, and finds which tests run which function."""
        shutil.rmtree(self.folder, ignore_errors=True)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
        for name in listed.stdout.decode().split("\0")[:-1]:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        copied = sorted(path.name for path in self.folder.iterdir() if path.name != "src")
        facts = {
            "mutated": "\n    ".join(self.files or [f"src/tokmem/{self.package}/*"]),
            "copied": "\n    ".join(copied),
            "tests": "\n    ".join(f"tests/{name}" for name in PACKAGES[self.package]),
        }
        (self.folder / "setup.cfg").write_text(_CONFIG.format(**facts), "utf-8")
        made = self.mutmut("none")  # no change has this name: mutmut only prepares
        if not self.codes():
            raise SystemExit(f"mutmut made no changes of {self.package}:\n{made[-2000:]}")

    def mutmut(self, *names: str) -> str:
        """Runs mutmut on some changes; returns what it prints."""
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)  # it would name the unchanged code
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def codes(self) -> dict[str, int | None]:
        """For each change what mutmut noted: an exit code of the tests, or None if it was not tried."""
        metas = sorted((self.folder / "mutants").glob(f"src/tokmem/{self.package}/*.meta"))
        found: dict[str, int | None] = {}
        for meta in metas:
            found |= json.loads(meta.read_text("utf-8"))["exit_code_by_key"]
        return found

    def functions(self) -> dict[str, ast.FunctionDef]:
        """The changed functions and, under names that end in `orig`, the functions as they are."""
        found = {}
        for path in sorted((self.folder / "mutants" / "src" / "tokmem" / self.package).glob("*.py")):
            module = f"tokmem.{self.package}.{path.stem}"
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
                    found[f"{module}.{node.name}"] = node
        return found

    def sample(self, share: float, seed: int) -> list[str]:
        """Draws a share of the changes that do more than reword."""
        functions = self.functions()
        names = [name for name in sorted(self.codes()) if not only_words(functions, name)]
        return random.Random(f"{seed} {self.package}").sample(names, max(1, round(share * len(names))))


def only_words(functions: dict[str, ast.FunctionDef], name: str) -> bool:
    """Whether a change touches nothing but texts in quotes, what errors say, and what is logged."""
    original = f"{name.rpartition('__mutmut_')[0]}__mutmut_orig"
    return _without_words(functions[name]) == _without_words(functions[original])


def difference(functions: dict[str, ast.FunctionDef], name: str) -> list[str]:
    """The lines of a change: what was removed, what was added."""
    original = f"{name.rpartition('__mutmut_')[0]}__mutmut_orig"
    before, after = (
        [line.strip() for part in functions[key].body for line in ast.unparse(part).splitlines()]
        for key in (original, name)
    )
    return [f"- {x}" for x in before if x not in after] + [f"+ {x}" for x in after if x not in before]


def _speaks(function: str) -> bool:
    """Whether a function makes an error or logs, by its name."""
    return function.endswith("Error") or function.startswith("logger.")


def _without_words(function: ast.FunctionDef) -> str:
    for node in ast.walk(function):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
        if isinstance(node, ast.Call):
            node.keywords = [word for word in node.keywords if word.arg not in ("strict", "device")]
            if _speaks(ast.unparse(node.func)):
                node.args, node.keywords = [], []
            elif isinstance(node.func, ast.Attribute) and node.func.attr == "to":
                node.args = [one for one in node.args if not ast.unparse(one).endswith(("device", "None"))]
    return "".join(ast.dump(statement) for statement in function.body)


def tried(mutants: Mutants, names: Sequence[str]) -> dict[str, Any]:
    """Runs changes; returns the row of the result."""
    started = perf_counter()
    printed = mutants.mutmut(*names)
    codes, functions = mutants.codes(), mutants.functions()
    if any(codes[name] is None for name in names):
        raise SystemExit(f"mutmut did not try all changes of {mutants.package}:\n{printed[-2000:]}")
    lived = [name for name in names if codes[name] in (SURVIVED, UNTESTED)]
    return {
        "what": mutants.package,
        "tried": len(names),
        "killed": len(names) - len(lived),
        "killed_share": round(1 - len(lived) / len(names), 4),
        "seconds": round(perf_counter() - started),
        **_explained({name: difference(functions, name) for name in lived}),
    }


def _explained(survivors: dict[str, list[str]]) -> dict[str, Any]:
    """Parts survivors into those that a reader explained, with the reason, and the others."""
    known = json.loads(EQUIVALENT.read_text("utf-8"))
    found = {name: {"change": lines, "why": known.get("\n".join(lines))} for name, lines in survivors.items()}
    explained = {name: entry for name, entry in found.items() if entry["why"]}
    rest = {name: lines for name, lines in survivors.items() if name not in explained}
    return {"explained": len(explained), "equivalent": explained, "survivors": rest}


def _explain_again() -> int:
    """Looks in `equivalent.json` for reasons of the survivors in the result, and writes it."""
    result = json.loads(RESULT.read_text("utf-8"))
    for row in result["rows"]:
        known = {name: entry["change"] for name, entry in row["equivalent"].items()}
        row |= _explained(known | row["survivors"])
    atomic_write_json(RESULT, result)
    return 0


def changed_files(since: str, root: Path = ROOT) -> dict[str, list[str]]:
    """The Python files of each package that changed since a commit, the working tree included."""
    command = [
        "git",
        "diff",
        "--name-only",
        "--diff-filter=d",
        since,
        "--",
        *(f"src/tokmem/{p}" for p in PACKAGES),
    ]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()
    found: dict[str, list[str]] = {}
    for name in listed:
        if name.endswith(".py"):
            found.setdefault(Path(name).parts[2], []).append(name)
    return found


def _changed(given: argparse.Namespace) -> int:
    """Tries the changed files and prints what survived; the exit code is 1 if less than 85% was noticed."""
    total = killed = 0
    for package, files in changed_files(given.since).items():
        mutants = Mutants(package, WORK / f"{package}-changed", files)
        mutants.prepare()
        row = tried(mutants, mutants.sample(given.share, given.seed))
        total, killed = total + row["tried"], killed + row["killed"]
        for name, lines in row["survivors"].items():
            print(name, *lines, sep="\n  ")
    print(f"{killed} of {total} changes were noticed")
    return int(killed < GOAL * total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Count the small changes of the code that the tests notice.")
    parser.add_argument("--packages", default=",".join(PACKAGES), help=f"of {', '.join(PACKAGES)}")
    parser.add_argument(
        "--share", type=float, default=1.0, help="part of the changes to try, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--since", help="a commit: only files that changed since then; writes no result")
    parser.add_argument("--explain", action="store_true", help="only look for reasons of survivors again")
    given = parser.parse_args(arguments)
    if given.since:
        return _changed(given)
    if given.explain:
        return _explain_again()
    rows = (
        {row["what"]: row for row in json.loads(RESULT.read_text("utf-8"))["rows"]}
        if RESULT.is_file()
        else {}
    )
    for package in given.packages.split(","):
        mutants = Mutants(package, WORK / package)
        mutants.prepare()
        names = mutants.sample(given.share, given.seed)
        state = source_state(ROOT / "src")
        origin = {"commit": state.commit, "dirty": state.dirty}
        drawn = {"share": given.share, "seed": given.seed, "commit": state.commit}
        rows[package] = tried(mutants, names) | drawn
        facts = {"kind": "mutants", "name": "mutants", "rows": list(rows.values())}
        atomic_write_json(RESULT, {**facts, "provenance": origin})
    return 0


if __name__ == "__main__":
    sys.exit(main())

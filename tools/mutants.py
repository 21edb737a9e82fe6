"""Changes the code in small ways and counts the changes that the tests notice: mutation testing with mutmut.

    python tools/mutants.py --packages bank,train --share 0.1
    python tools/mutants.py --since origin/main          # only functions that changed since then
    python tools/mutants.py --since HEAD~1 --most 12     # a few changes of them, in minutes
    python tools/mutants.py --explain                    # after an addition to equivalent.json
    python tools/mutants.py --again                      # after tests were written for survivors

Each package of `tokmem` is tried against its own tests, and those of the code that uses it most (`PACKAGES`).
Changes that no test could notice are left out: those that touch nothing but a text in quotes, what an error
says, what is logged, whether `zip` checks lengths, or on which device a tensor lies (tests have one). The
survivors stand in the result, so that they can be read; `equivalent.json` says why some of them are no fault
of the tests. `train/parallel.py` is left out: its tests run in other processes, where mutmut cannot see them.

`--most` is for each run of CI. It draws one of the changed files, and tries changes of it against the two
test files that name each function most, until its time is up. Such a survivor may be noticed by another test,
and few changes say little about all of them. So it reports, and fails nothing.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from changed import Function, changed_functions, nearest_tests

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
FILES, NEAREST, SECONDS = 1, 2, 150.0  # of `--most`: changed files, test files of a function, time for all
ALONE = "src/tokmem/train/parallel.py"  # its tests run in other processes
SURVIVED, UNTESTED = 0, 33  # mutmut's notes for a change that no test noticed, or that no test runs
_CONFIG = """\
[mutmut]
source_paths = src
only_mutate =
    {mutated}
do_not_mutate = {alone}
also_copy =
    {copied}
pytest_add_cli_args_test_selection =
    {tests}
track_dependencies = false
"""


@dataclass(frozen=True)
class Mutants:
    """Changes of the code, in a copy of the tree.

    Attributes:
        package: name of the package below `tokmem`, or another name for the row.
        folder: the copy.
        files: the files to change, below the root of the tree; empty changes all of the package.
        tests: files and folders of tests below the root; empty takes those of the package.
        until: when mutmut must stop, by `perf_counter`.
    """

    package: str
    folder: Path
    files: Sequence[str] = ()
    tests: Sequence[str] = ()
    until: float = float("inf")

    def prepare(self) -> None:
        """Copies the tree and makes all changes."""
        shutil.rmtree(self.folder, ignore_errors=True)
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
        for name in listed.stdout.decode().split("\0")[:-1]:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        replace(self, tests=["no_such_file"]).configure()  # mutmut ends once it has made the changes
        made = self.mutmut("none")
        if not self.codes():
            raise SystemExit(f"mutmut made no changes of {self.package}:\n{made[-2000:]}")

    def configure(self) -> None:
        """Says in the copy what mutmut changes, and which tests it runs."""
        copied = sorted(path.name for path in self.folder.iterdir() if path.name not in ("src", "mutants"))
        facts = {
            "mutated": self.files or [f"src/tokmem/{self.package}/*"],
            "copied": copied,
            "tests": self.tests or [f"tests/{name}" for name in PACKAGES[self.package]],
        }
        lines = {key: "\n    ".join(values) for key, values in facts.items()}
        (self.folder / "setup.cfg").write_text(_CONFIG.format(**lines, alone=ALONE), "utf-8")

    def mutmut(self, *names: str) -> str:
        """Runs mutmut on some changes, until its time is up; returns what it prints."""
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)  # it would name the unchanged code
        left = None if self.until == float("inf") else max(0.0, self.until - perf_counter())
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                return process.communicate(timeout=left)[0]
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # mutmut and the tests that it runs
                return process.communicate()[0]

    def codes(self) -> dict[str, int | None]:
        """For each change what mutmut noted: an exit code of the tests, or None if it was not tried."""
        found: dict[str, int | None] = {}
        for meta in self._metas():
            found |= json.loads(meta.read_text("utf-8"))["exit_code_by_key"]
        return found

    def _metas(self) -> list[Path]:
        """What mutmut noted beside each file that it changed."""
        return sorted((self.folder / "mutants" / "src" / "tokmem").glob("*/*.py.meta"))

    def functions(self) -> dict[str, ast.FunctionDef]:
        """The changed functions and, under names that end in `orig`, the functions as they are."""
        found = {}
        for path in (meta.with_suffix("") for meta in self._metas()):
            module = f"tokmem.{path.parent.name}.{path.stem}"
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name:
                    found[f"{module}.{node.name}"] = node
        return found

    def names(self, among: Sequence[Function] | None = None) -> list[str]:
        """The changes that do more than reword; `among` leaves those of other functions out."""
        functions = self.functions()
        kept = None if among is None else {function.name for function in among}
        return [
            name
            for name in sorted(self.codes())
            if (kept is None or function_of(name) in kept) and not only_words(functions, name)
        ]


def function_of(name: str) -> str:
    """The function that a change belongs to, as mutmut names it."""
    return name.rpartition("__mutmut_")[0]


def drawn(names: Sequence[str], share: float, *seed: object) -> list[str]:
    """Draws a share of the changes."""
    count = max(1, round(share * len(names)))
    return random.Random(" ".join(map(str, seed))).sample(names, min(count, len(names)))


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
    """Runs changes, or as many as there is time for; returns the row of the result."""
    started = perf_counter()
    mutants.configure()
    printed = mutants.mutmut(*names)
    codes, functions = mutants.codes(), mutants.functions()
    done = [name for name in names if codes[name] is not None]
    if len(done) < len(names) and perf_counter() < mutants.until:
        raise SystemExit(f"mutmut did not try all changes of {mutants.package}:\n{printed[-2000:]}")
    lived = [name for name in done if codes[name] in (SURVIVED, UNTESTED)]
    return {
        "what": mutants.package,
        "tried": len(done),
        "killed": len(done) - len(lived),
        "killed_share": round(1 - len(lived) / max(1, len(done)), 4),
        "seconds": round(perf_counter() - started),
        **_explained({name: difference(functions, name) for name in lived}),
    }


def _explained(survivors: dict[str, list[str]]) -> dict[str, Any]:
    """Parts survivors into those that a reader explained, with the reason, and the others."""
    known = json.loads(EQUIVALENT.read_text("utf-8"))
    found = {name: {"change": lines, "why": known.get("\n".join(lines))} for name, lines in survivors.items()}
    explained = {name: entry for name, entry in found.items() if entry["why"]}
    rest = {name: lines for name, lines in survivors.items() if name not in explained}
    return {"explained": len(explained), "equivalent": explained, "survivors": rest, "left": len(rest)}


def _explain_again() -> int:
    """Looks in `equivalent.json` for reasons of the survivors in the result, and writes it."""
    result = json.loads(RESULT.read_text("utf-8"))
    for row in result["rows"]:
        known = {name: entry["change"] for name, entry in row["equivalent"].items()}
        row |= _explained(known | row["survivors"])
    atomic_write_json(RESULT, result)
    return 0


def _try_again(packages: Sequence[str]) -> int:
    """Tries the survivors in the result again, and writes which of them the tests notice by now."""
    result, state = json.loads(RESULT.read_text("utf-8")), source_state(ROOT / "src")
    for row in result["rows"]:
        if row["what"] in packages and row["survivors"]:
            modules = {name.rpartition(".")[0] for name in row["survivors"]}
            files = sorted(f"src/{module.replace('.', '/')}.py" for module in modules)
            mutants = Mutants(row["what"], WORK / f"{row['what']}-again", files)
            mutants.prepare()
            row |= settled(mutants, row) | {"again": state.commit}
            atomic_write_json(RESULT, result)
    return 0


def settled(mutants: Mutants, row: Mapping[str, Any]) -> dict[str, Any]:
    """Tries a row's survivors again, those whose code is still the same; parts them by what came of it.

    Returns:
        `survivors` that are left, and `noticed_since`, with those that the row had.
    """
    functions, old = mutants.functions(), row["survivors"]
    same = [name for name, lines in old.items() if name in functions and difference(functions, name) == lines]
    left = tried(mutants, same)["survivors"] if same else {}
    gone = {name: old[name] for name in same if name not in left}
    rest = {name: lines for name, lines in old.items() if name not in gone}
    since = {**row.get("noticed_since", {}), **gone}
    return {"survivors": rest, "left": len(rest), "noticed_since": since, "since": len(since)}


def _changed(given: argparse.Namespace) -> int:
    """Tries functions that changed and prints what survived.

    Returns:
        1 if less than 85% of what is not explained was noticed; 0 if only a few changes were tried.
    """
    folders = [f"src/tokmem/{package}" for package in PACKAGES]
    found = [one for one in changed_functions(given.since, folders, ROOT) if one.file != ALONE]
    rows = (_few(found, given.most) if given.most else _each(found, given)) if found else []
    for name, lines in ((name, lines) for row in rows for name, lines in row["survivors"].items()):
        print(name, *lines, sep="\n  ")
    total, killed, explained = (sum(row[key] for row in rows) for key in ("tried", "killed", "explained"))
    print(
        f"{killed} of {total} changes were noticed, {explained} others are explained; "
        f"{len(found)} functions of {', '.join(PACKAGES)} changed since {given.since}"
    )
    return int(not given.most and killed < GOAL * (total - explained))


def _each(found: Sequence[Function], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Tries changed functions package by package, against all tests of the package."""
    rows = []
    for package in PACKAGES:
        own = [one for one in found if one.file.startswith(f"src/tokmem/{package}/")]
        mutants = Mutants(package, WORK / f"{package}-changed", sorted({one.file for one in own}))
        if own:
            mutants.prepare()
            if names := mutants.names(own):
                rows.append(tried(mutants, drawn(names, given.share, given.seed, package)))
    return rows


def _few(found: Sequence[Function], most: int) -> list[dict[str, Any]]:
    """Tries a few changes of a few files, against the tests that name these functions most."""
    until, draws = perf_counter() + SECONDS, random.Random(source_state(ROOT / "src").commit)
    files = sorted({one.file for one in found})
    files = draws.sample(files, min(FILES, len(files)))
    mutants = Mutants("changed", WORK / "changed", files, until=until)
    mutants.prepare()
    tests = {one.name: _tests_near(one) for one in found if one.file in files}
    names = [name for name in mutants.names(found) if tests[function_of(name)]]
    names = draws.sample(names, min(most, len(names)))
    near = sorted({test for name in names for test in tests[function_of(name)]})
    print(f"{len(names)} changes of", *files, "against", *near)
    row = tried(replace(mutants, tests=near), names) if names else None
    if row and row["tried"] < len(names):
        print(f"after {SECONDS:.0f} seconds {row['tried']} of them were tried")
    return [row] if row else []


def _tests_near(function: Function) -> list[str]:
    folder = ROOT / "tests" / Path(function.file).parts[2]
    nearest = nearest_tests(function, sorted(folder.glob("test_*.py")), NEAREST)
    return [path.relative_to(ROOT).as_posix() for path in nearest]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Count the small changes of the code that the tests notice.")
    parser.add_argument("--packages", default=",".join(PACKAGES), help=f"of {', '.join(PACKAGES)}")
    parser.add_argument(
        "--share", type=float, default=1.0, help="part of the changes to try, drawn at random"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--since", help="a commit: only functions that changed since then; writes no result")
    parser.add_argument(
        "--most", type=int, default=0, help="with --since: only so many changes, and fail nothing"
    )
    parser.add_argument("--explain", action="store_true", help="only look for reasons of survivors again")
    parser.add_argument("--again", action="store_true", help="only try the survivors in the result again")
    given = parser.parse_args(arguments)
    if given.again:
        return _try_again(given.packages.split(","))
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
        names = drawn(mutants.names(), given.share, given.seed, package)
        state = source_state(ROOT / "src")
        origin = {"commit": state.commit, "dirty": state.dirty}
        draw = {"share": given.share, "seed": given.seed, "commit": state.commit}
        rows[package] = tried(mutants, names) | draw
        facts = {"kind": "mutants", "name": "mutants", "rows": list(rows.values())}
        atomic_write_json(RESULT, {**facts, "provenance": origin})
    return 0


if __name__ == "__main__":
    sys.exit(main())

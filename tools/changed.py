"""Which functions changed since a commit, and which tests name them most."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)


@dataclass(frozen=True)
class Function:
    """A function or a method of a file.

    Attributes:
        file: below the root of the tree.
        name: what mutmut puts before the number of each of its changes.
        called: the words by which a test would name it: the function, or the class of the method.
    """

    file: str
    name: str
    called: str

    @property
    def module(self) -> str:
        """The module's name."""
        return ".".join(Path(self.file).with_suffix("").parts[1:])


def functions_of(file: str, text: str) -> Iterator[tuple[Function, range]]:
    """The functions and methods of a file with their lines, decorators included."""
    module = ".".join(Path(file).with_suffix("").parts[1:])
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            yield Function(file, f"{module}.x_{node.name}", node.name), _lines(node)
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    yield Function(file, f"{module}.xǁ{node.name}ǁ{part.name}", node.name), _lines(part)


def _lines(node: ast.FunctionDef) -> range:
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    return range(first, (node.end_lineno or first) + 1)


def changed_functions(since: str, folders: Sequence[str], root: Path) -> list[Function]:
    """The functions below the folders that changed since a commit, the working tree included."""
    listed = _git(root, "diff", "--name-only", "--diff-filter=d", since, "--", *folders).split()
    found = []
    for file in (name for name in listed if name.endswith(".py")):
        lines = _changed_lines(since, file, root)
        own = functions_of(file, (root / file).read_text("utf-8"))
        found += [function for function, its in own if not lines.isdisjoint(its)]
    return found


def _changed_lines(since: str, file: str, root: Path) -> set[int]:
    """The lines that are new; where lines are gone, the two beside the gap."""
    found: set[int] = set()
    for first, count in _HUNK.findall(_git(root, "diff", "--unified=0", since, "--", file)):
        found.update(range(int(first), int(first) + (int(count or 1) or 2)))
    return found


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def nearest_tests(function: Function, tests: Sequence[Path], most: int) -> list[Path]:
    """The test files that name a function most; first the one that has the name of its module.

    Args:
        function: the function.
        tests: files to choose from.
        most: how many to choose. Files that name neither function nor module are never chosen.
    """
    module = function.module
    parent, _, stem = module.rpartition(".")
    words = re.compile(
        rf"\b{function.called}\b|{re.escape(module)}\b|from {re.escape(parent)} import .*\b{stem}\b"
    )
    counts = {path: len(words.findall(path.read_text("utf-8"))) for path in tests}
    order = sorted(tests, key=lambda path: (path.stem != f"test_{stem}", -counts[path], path))
    return [path for path in order if counts[path] or path.stem == f"test_{stem}"][:most]

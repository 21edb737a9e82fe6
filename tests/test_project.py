"""Rules that every source file follows."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 400

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(nodes: Iterator[ast.AST] | list[ast.stmt]) -> Iterator[str]:
    """Full names of what the nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called(path: Path) -> set[str]:
    """Names of what the file calls, as written there."""
    return {ast.unparse(node.func) for node in ast.walk(parse(path)) if isinstance(node, ast.Call)}


@cache
def minimal_install() -> frozenset[str]:
    """Top-level modules that the standard library and the dependencies without an extra provide."""
    requirements = [line for line in requires("tokmem") or [] if "extra ==" not in line]
    dependencies = {normal(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in requirements}
    provided = {
        module
        for module, distributions in packages_distributions().items()
        if dependencies.intersection(map(normal, distributions))
    }
    return frozenset(provided | sys.stdlib_module_names | {"tokmem"})


def normal(distribution: str) -> str:
    """The name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def test_folders_of_modules_are_packages() -> None:
    """Else type and import checks pass them over."""
    folders = {path.parent for path in FILES}
    assert not {folder for folder in folders if not (folder / "__init__.py").is_file()}


@every_file
def test_module_imports(path: Path) -> None:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    importlib.import_module(".".join(part for part in parts if part != "__init__"))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10 finds only some packages")
@every_file
def test_module_needs_the_minimal_install_only(path: Path) -> None:
    top_level = {name.partition(".")[0] for name in imports(parse(path).body)}
    assert top_level <= minimal_install(), "import it inside the function that needs it, or declare it"


@every_file
def test_library_does_not_print(path: Path) -> None:
    if "cli" not in path.relative_to(SOURCE).parts:
        assert "print" not in called(path)


@every_file
def test_nothing_is_pickled(path: Path) -> None:
    imported = set(imports(ast.walk(parse(path))))
    assert not {name for name in imported if name.partition(".")[0] in {"pickle", "cloudpickle", "dill"}}
    assert not {"torch.load", "torch.save"} & (imported | called(path))


@every_file
def test_file_is_short(path: Path) -> None:
    """Files of code, that is: a table of data is as long as its data."""
    is_code = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in parse(path).body)
    assert not is_code or len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES

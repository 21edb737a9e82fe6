"""Runs an engine, and ends it when the process that asked for it is gone.

`python -m tokmem.serving.guard COMMAND...`: the parent holds the other end of standard input, which closes
with the parent, however that ends. So no engine is left behind, even by a parent that was killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

PATIENCE = 10.0
"""Seconds to wait for an engine to end, before it is killed."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Ends as the command does: with its status, or by the signal that ended it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    process = subprocess.Popen(sys.argv[1:] if arguments is None else arguments, stdin=subprocess.DEVNULL)
    try:
        threading.Thread(target=_await_parent, daemon=True).start()
        status = process.wait()
    except KeyboardInterrupt:
        status = 0
    finally:
        stop(process)
    if status < 0:
        _end_by(-status)
    sys.exit(status)


def stop(process: subprocess.Popen[bytes], patience: float = PATIENCE) -> None:
    """Ends a process, and kills it if it does not end in time or if another interrupt comes."""
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    finally:
        process.kill()  # does nothing to a process that has ended
        process.wait()
        if process.stdin:
            process.stdin.close()


def _await_parent() -> None:
    """Waits until standard input closes, then interrupts the main thread."""
    while os.read(0, 1):  # not through `sys.stdin`, whose lock would outlive the main thread
        pass
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


def _end_by(number: int) -> None:
    """Ends this process by a signal, so that the parent learns which one ended the engine."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main()

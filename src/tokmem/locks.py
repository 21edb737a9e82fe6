"""Locks between processes that write one folder: the second waits, and is refused by name in the end."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tokmem.errors import TokMemError

WAIT = 300.0
"""Seconds that a writer waits for another one."""
_POLL = 0.05  # seconds between two tries


class _Lock:
    """The lock of one folder in this process; a thread that holds it may take it again."""

    def __init__(self) -> None:
        self.thread = threading.RLock()
        self.depth = 0
        self.handle = -1


_LOCKS: dict[Path, _Lock] = {}


@contextmanager
def lock_folder(target: Path, wait: float = WAIT) -> Iterator[None]:
    """Holds the lock of a folder within the block.

    Hold it over reading, changing and writing a folder, so that no other writer's change is lost. Whoever
    saves a folder takes the lock too; the same thread may take it several times. It is a file beside the
    folder, which the last holder removes. A process that is killed loses its lock.

    Args:
        target: the folder; it need not exist.
        wait: seconds to wait for another writer.

    Raises:
        TokMemError: another writer still holds the lock after `wait` seconds, or there is no folder above.
    """
    target = target.resolve()
    if not target.parent.is_dir():
        raise TokMemError(f"no folder {target.parent}", "a folder that exists", "check the path")
    path = target.with_name(f".{target.name}.tokmem-lock")
    lock, until = _LOCKS.setdefault(target, _Lock()), time.monotonic() + wait
    if not lock.thread.acquire(timeout=wait):
        raise _busy(target, f"process {os.getpid()}")
    try:
        if lock.depth == 0:
            lock.handle = _acquire(path, target, until)
        lock.depth += 1
        try:
            yield
        finally:
            lock.depth -= 1
            if lock.depth == 0:
                _release(path, lock.handle)
    finally:
        lock.thread.release()


def _acquire(path: Path, target: Path, until: float) -> int:
    """Waits for the lock file; returns its handle."""
    told = False
    while (handle := _try(path)) is None:
        owner = _owner(path)
        if time.monotonic() > until:
            raise _busy(target, owner)
        if not told:
            logging.getLogger("tokmem").info("%s is writing %s; waiting for it", owner, target)
        told = True
        time.sleep(_POLL)
    return handle


def _try(path: Path) -> int | None:
    """Locks the file if no other process holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        locked = _lock(handle) and os.fstat(handle).st_nlink > 0  # else its last holder has removed it
        if locked:
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
    except BaseException:
        os.close(handle)
        raise
    if locked:
        return handle
    os.close(handle)
    return None


def _release(path: Path, handle: int) -> None:
    """Removes the lock file while it is still held, then gives the lock back."""
    with suppress(OSError):  # Windows removes no file that is open
        path.unlink()
    os.close(handle)


def _owner(path: Path) -> str:
    with suppress(OSError, ValueError):
        return f"process {int(path.read_text())}"
    return "another process"


def _busy(target: Path, owner: str) -> TokMemError:
    return TokMemError(
        f"{owner} is writing {target}", "one writer at a time", "wait until it ends, then try again"
    )


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

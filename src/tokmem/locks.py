"""Locks between processes that write one folder. The second writer waits; after a time it gets an error."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tokmem.errors import TokMemError

WAIT = 300.0
"""Seconds that a writer waits for another one."""
LONGEST = 220
"""Most bytes in the name of a folder that is saved: file systems take 255, and hidden names are longer."""


def hidden_beside(target: Path, kind: str) -> Path:
    """A hidden name beside a folder that nobody gives by hand, so what has it may be removed.

    Raises:
        TokMemError: the folder's own name is so long that file systems may refuse the hidden one.
    """
    size = len(os.fsencode(target.name))
    if size > LONGEST:
        got, do = f"a folder {target.name[:40]}..., whose name has {size} bytes", "choose a shorter name"
        raise TokMemError(got, f"at most {LONGEST} bytes, for files beside it have longer names", do)
    return target.with_name(f".{target.name}.tokmem-{kind}")


@contextmanager
def lock_folder(target: Path, wait: float = WAIT) -> Iterator[None]:
    """Holds the lock of a folder within the block.

    Take the lock before you read a folder that you will change, and keep it until you have written. Then no
    other writer's change is lost. Every save takes the lock too. One thread may take it several times. The
    lock is a file beside the folder, which the last holder removes. A process that is killed loses its lock.

    Args:
        target: the folder; it need not exist.
        wait: seconds to wait for another writer.

    Raises:
        TokMemError: another writer still holds the lock after `wait` seconds, the name of the folder is too
            long, or there is no folder above.
        OSError: the folder above takes no file.
    """
    target = target.resolve()
    if not target.parent.is_dir():
        raise TokMemError(f"no folder {target.parent}", "a folder that exists", "check the path")
    path = hidden_beside(target, "lock")
    lock = FileLock(path, is_singleton=True)  # one object a path: a thread that holds it may take it again
    try:
        _acquire(lock, target, wait)
    except Timeout as error:
        raise TokMemError(
            f"another process is writing {target}",
            "one writer at a time",
            "wait until it ends, then try again",
        ) from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            with suppress(OSError):  # Windows removes no file that is open
                path.unlink()
        lock.release()


def _require_place(path: Path) -> None:
    """Creates the lock's file if it is missing. `filelock` waits in vain where no file can be created.

    Raises:
        OSError: the folder takes no file.
    """
    if not path.exists():
        with suppress(PermissionError):  # Windows is still removing the last holder's file
            path.touch()


def _acquire(lock: FileLock, target: Path, wait: float) -> None:
    """Takes the lock; logs if it has to wait."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _require_place(Path(lock.lock_file))
        logging.getLogger("tokmem").info("another process is writing %s; waiting for it", target)
        lock.acquire(timeout=wait)

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tokmem.errors import TokMemError
from tokmem.files import replace_folder
from tokmem.locks import lock_folder

ADD = """
import sys, time
from pathlib import Path
from tokmem.files import replace_folder
from tokmem.locks import lock_folder
target, own = Path(sys.argv[1]), sys.argv[2]
for number in range(5):
    with lock_folder(target):
        lines = (target / "bank.json").read_text().splitlines()
        time.sleep(0.01)
        with replace_folder(target, ("bank.json",)) as draft:
            (draft / "bank.json").write_text("\\n".join([*lines, f"{own}.{number}"]))
"""
HOLD = """
import sys, time
from pathlib import Path
from tokmem.locks import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True)


def holder(target: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until it is killed."""
    process = start(HOLD, str(target))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_no_change_is_lost_when_several_processes_add_to_one_folder(tmp_path: Path) -> None:
    target = tmp_path / "bank"
    with replace_folder(target, ("bank.json",)) as draft:
        (draft / "bank.json").write_text("first")
    processes = [start(ADD, str(target), str(number)) for number in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    wanted = {"first", *(f"{own}.{number}" for own in range(4) for number in range(5))}
    assert sorted((target / "bank.json").read_text().splitlines()) == sorted(wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["bank"]


def test_a_second_writer_is_refused_by_name_and_a_killed_one_gives_its_lock_back(tmp_path: Path) -> None:
    process = holder(tmp_path / "bank")
    started = time.monotonic()
    with (
        pytest.raises(TokMemError, match=r"another process is writing .*bank"),
        lock_folder(tmp_path / "bank", wait=0.2),
    ):
        pytest.fail("the lock is held")
    assert time.monotonic() - started > 0.2
    process.kill()
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == [".bank.tokmem-lock"]
    with lock_folder(tmp_path / "bank", wait=0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_thread_takes_its_lock_again_and_another_one_waits(tmp_path: Path) -> None:
    seen: list[str] = []

    def other() -> None:
        with lock_folder(tmp_path / "bank"):
            seen.append("other")

    thread = threading.Thread(target=other)
    with lock_folder(tmp_path / "bank"), lock_folder(tmp_path / "x" / ".." / "bank"):
        thread.start()
        with pytest.raises(ZeroDivisionError), lock_folder(tmp_path / "bank"):
            raise ZeroDivisionError
        time.sleep(0.1)
        seen.append("own")
    thread.join()
    assert seen == ["own", "other"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_place_that_takes_no_file_is_refused_without_a_wait() -> None:
    with pytest.raises(OSError, match="lock"), lock_folder(Path("/proc/nothing"), wait=10):
        pytest.fail("no lock can stand there")


def test_drafts_of_killed_writers_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".bank.tokmem-new-99-abc" / "sub").mkdir(parents=True)
    (tmp_path / ".bank2.tokmem-new-99-abc").mkdir()
    with replace_folder(tmp_path / "bank", ("bank.json",)) as draft:
        (draft / "bank.json").write_text("{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".bank2.tokmem-new-99-abc", "bank"]


def test_a_lock_makes_no_folders(tmp_path: Path) -> None:
    with pytest.raises(TokMemError, match=r"no folder .*typo"), lock_folder(tmp_path / "typo" / "bank"):
        pytest.fail("there is nothing to lock")
    assert list(tmp_path.iterdir()) == []

"""Shares jobs among processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue
from typing import Any

import torch
from tqdm import tqdm

from tokmem.errors import TokMemError
from tokmem.log import bars_on_line, configure, logger, progress


def cores() -> int:
    """The number of processor cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_each(workers: int) -> int | None:
    """The number of torch threads in each of `workers` processes: an even share of the cores.

    None if `OMP_NUM_THREADS` is set: torch reads it in every process by itself.
    """
    return None if os.environ.get("OMP_NUM_THREADS") else max(1, cores() // workers)


def share(workers: int, work: Callable[..., None], jobs: Sequence[tuple[Any, ...]]) -> None:
    """Calls `work(*job)` for each job, in fresh processes of `threads_each` threads.

    Args:
        workers: number of processes.
        work: a function of a module; it leaves its results on disk.
        jobs: arguments for `work`, sent to the processes by pickle.

    Raises:
        TokMemError: a process ended before its job: a system that runs out of memory kills it.
        Exception: a job raised it; jobs that have not begun are dropped.
    """
    context = multiprocessing.get_context("spawn")  # a forked process would inherit the threads' locks
    workers = min(workers, len(jobs))
    lines: SimpleQueue[int] = context.SimpleQueue()
    for line in range(1, workers + 1):
        lines.put(line)
    begin = (threads_each(workers), lines, context.RLock(), logger.level)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=begin) as pool:
        futures = [pool.submit(work, *job) for job in jobs]
        try:
            with progress(len(jobs), "jobs", unit="job") as bar:
                for done in as_completed(futures):
                    done.result()
                    bar.update()
        except BrokenProcessPool as error:
            do = "free memory, or take fewer workers; a run goes on with --resume and the --out of its folder"
            raise TokMemError("a worker process ended before its job", "its job done", do) from error
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.terminate()  # else the pool would wait until their jobs end
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(threads: int | None, lines: SimpleQueue[int], lock: Any, level: int) -> None:
    """Prepares a process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        torch.set_num_threads(threads)
    tqdm.set_lock(lock)
    bars_on_line(lines.get())
    if level:
        configure(level)


def _end_with_parent() -> None:
    """Ends this process when its parent is gone: a killed parent cannot stop its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

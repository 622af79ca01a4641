"""Scores sequences in several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

import cv2
import numpy as np

from mug.run.progress import track
from mug.run.stop import follow_parent

Key = TypeVar("Key")
Job = TypeVar("Job")
Result = TypeVar("Result")


def score_each(score: Callable[[Job], Result], jobs: Mapping[Key, Job], workers: int) -> Iterator[tuple[Key, Result]]:
    """Yields the keys of the jobs with their scores, in any order.

    Args:
        score: A function of a module, since processes are given its name.
        jobs: Longest first, so that no process is left with a long one at the end.
        workers: Number of processes.
    """
    if min(workers, len(jobs)) <= 1:
        _keep_memory()
        for key in track(list(jobs), "scoring"):
            yield key, score(jobs[key])
        return
    # spawned, not forked: threads of libraries do not survive a fork, and waiting for one would hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_enter_worker) as pool:
        futures = {pool.submit(score, job): key for key, job in jobs.items()}
        try:
            for future in track(as_completed(futures), "scoring", total=len(futures)):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def cores() -> int:
    """Number of CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _enter_worker() -> None:
    follow_parent()
    cv2.setNumThreads(1)
    _keep_memory()


def _keep_memory() -> None:
    """Makes glibc reuse freed array memory instead of returning it to the system; no effect with other C libraries.

    It keeps blocks smaller than the largest one freed so far, up to 32 MiB. The array here is never written to.
    """
    del_at_once = np.empty(31 * 2**20, np.uint8)
    del del_at_once

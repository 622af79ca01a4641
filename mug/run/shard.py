"""The part of some work that this process does: ranks given by launchers and schedulers, and shards of a list.

Shards of one command write to one folder without a lock, as each item is in exactly one shard.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mug.errors import InputError, logger

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """A part of the work.

    Attributes:
        index: Its number, from 0.
        count: Number of parts.
        source: The option or the environment variables that say so.
    """

    index: int
    count: int
    source: str = ""

    def of(self, items: Sequence[T], size: Callable[[T], float] = lambda item: 1.0) -> list[T]:
        """The items of this shard, in their order; every item is in exactly one shard.

        Items are dealt out from the largest to the smallest, each to the shard with the least so far, which is at most
        4/3 of the best possible (Graham 1969). It depends on the items alone, so that all processes agree.

        Example:
            >>> [Shard(i, 2).of([9, 5, 4, 3], float) for i in range(2)]
            [[9, 3], [5, 4]]
        """
        if self.count == 1:
            return list(items)
        sizes = [size(item) for item in items]
        totals = [0.0] * self.count
        mine = []
        for place in sorted(range(len(items)), key=lambda place: (-sizes[place], place)):
            # equal totals go by the number of the shard, and empty items round in turn
            least = min(range(self.count), key=lambda shard: (totals[shard], shard))
            totals[least] += max(sizes[place], 1.0)
            if least == self.index:
                mine.append(place)
        return [items[place] for place in sorted(mine)]

    def share(self, items: Sequence[T], size: Callable[[T], float], what: str) -> list[T]:
        """Like `of`, with a message that says how many of the items (`what`, in the plural) this shard has."""
        mine = self.of(items, size)
        if self.count > 1:
            number = len(mine) or "none"
            logger.info(
                "shard %d of %d (%s): %s of %d %s", self.index + 1, self.count, self.source, number, len(items), what
            )
        return mine


ALL = Shard(0, 1)
"""The whole work."""


def shard_of(given: str | None = None) -> Shard:
    """The shard that this process is to do.

    `--shard i/n` overrides everything else. Without it, the number of a SLURM array task and the rank of the process
    within it count together: an array of 3 tasks of 4 processes each has 12 shards. The rank is that of torchrun
    (RANK), or else that of srun (SLURM_PROCID). Without any of these there is one shard.

    Args:
        given: The option `--shard`.

    Raises:
        InputError: the option or a variable is not usable.
    """
    if given is not None:
        return _parse(given)
    ranks = [rank for rank in (_array_task(), process_rank()) if rank is not None]
    index, count = 0, 1
    for rank in ranks:
        index, count = index * rank.count + rank.index, count * rank.count
    return Shard(index, count, " and ".join(rank.source for rank in ranks))


def process_rank() -> Shard | None:
    """The rank of this process among those that torchrun or srun started together; None without a launcher.

    A batch script of SLURM has SLURM_PROCID and SLURM_NTASKS, too, although it runs once. Only srun, which starts the
    tasks of a step, sets SLURM_STEP_NUM_TASKS.

    Raises:
        InputError: a variable is not usable.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return _checked("RANK", _whole("RANK"), _whole("WORLD_SIZE"))
    if "SLURM_PROCID" in os.environ and "SLURM_STEP_NUM_TASKS" in os.environ:
        return _checked("SLURM_PROCID", _whole("SLURM_PROCID"), _whole("SLURM_STEP_NUM_TASKS"))
    return None


def place_on_node() -> int:
    """The number of this process among those of a launcher on this machine, from 0."""
    rank = process_rank()
    if rank is None:
        return 0
    return _whole("LOCAL_RANK" if rank.source == "RANK" else "SLURM_LOCALID", 0)


def is_first_process() -> bool:
    """Whether this is the first of the processes that train together, before or after the engine started the others."""
    rank = process_rank()
    # the engine's own launcher numbers the processes of a node, and the user the nodes
    started = [int(os.environ.get(name) or 0) for name in ("LOCAL_RANK", "NODE_RANK")]
    return not any(started) and (rank is None or rank.index == 0)


def _array_task() -> Shard | None:
    """The task of a SLURM array, `sbatch --array=0-7` or `--array=1-15:2`.

    One that is submitted again by itself is an array of its own, and so does all that is left to do.
    """
    name = "SLURM_ARRAY_TASK_ID"
    if name not in os.environ or "SLURM_ARRAY_TASK_COUNT" not in os.environ:
        return None
    task, count = _whole(name), _whole("SLURM_ARRAY_TASK_COUNT")
    first, step = _whole("SLURM_ARRAY_TASK_MIN", 0), _whole("SLURM_ARRAY_TASK_STEP", 1)
    last = _whole("SLURM_ARRAY_TASK_MAX", first + (count - 1) * step)
    if step < 1 or last - first != (count - 1) * step or (task - first) % step:
        raise InputError(
            f"{name}: {count} tasks from {first} to {last} are not evenly numbered, so the part of task {task} is "
            f"unclear; submit with --array=0-{count - 1}, or give --shard i/{count}"
        )
    return _checked(name, (task - first) // step, count)


def _parse(given: str) -> Shard:
    match = re.fullmatch(r"(\d+)/(\d+)", given.strip())
    if match is None:
        raise InputError(f"--shard {given}: is not i/n; give 1/4 for the first of four parts")
    number, count = int(match[1]), int(match[2])
    if not 1 <= number <= count:
        raise InputError(f"--shard {given}: parts are numbered from 1 to n; give 1/{count or 4} for the first")
    return Shard(number - 1, count, "--shard")


def _whole(name: str, default: int | None = None) -> int:
    """A variable of the environment as a whole number."""
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise InputError(f"{name}: {text!r} in the environment is no whole number; give --shard i/n") from None


def _checked(name: str, index: int, count: int) -> Shard:
    if not 0 <= index < count:
        raise InputError(f"{name}: {index} in the environment is none of {count} parts; give --shard i/n")
    return Shard(index, count, name)

"""The training loop common to all models: optimiser steps, checkpoints, exact resumption.

It is independent of the model: the caller defines how a part of a batch becomes losses.
"""

from __future__ import annotations

import datetime
import json
import math
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mug.errors import RunError, Stopped, logger
from mug.run.checkpoints import Checkpoints
from mug.run.folder import RunFolder, commit_of
from mug.run.optimise import KeyBatches, set_learning_rate
from mug.run.settings import to_plain, without_paths
from mug.run.shard import is_first_process
from mug.run.stop import StopSignals, outlast_stop_signals

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Part = TypeVar("Part")


@dataclass
class Training:
    """A run in progress."""

    folder: RunFolder
    fabric: Fabric
    model: Any
    """The trained model, as wrapped by the engine."""
    optimiser: Any
    saved: nn.Module
    """The module that checkpoints contain."""
    step: int = field(default=0, kw_only=True)
    """Number of completed steps."""
    signals: StopSignals = field(default_factory=StopSignals, kw_only=True)
    """Context of the steps, in which Ctrl-C and SIGTERM wait for the end of a step."""
    stopping: bool = field(default=False, kw_only=True)
    """Whether a process had been sent a signal when the last step ended; the same in all processes."""

    def say(self, text: str) -> None:
        """Prints a line to standard error, from the first process only."""
        if self.fabric.is_global_zero:
            logger.info(text)

    def resume(self) -> bool:
        """Resumes from the last checkpoint of the folder; returns False if there is none."""
        state = Checkpoints(self.folder.checkpoints).load()
        if state is None:
            return False
        self.saved.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        return True

    def save(self, **more: Any) -> None:
        """Writes a checkpoint, from the first process."""
        if self.fabric.is_global_zero:
            state = {"model": self.saved.state_dict(), "optimiser": self.optimiser.state_dict()}
            Checkpoints(self.folder.checkpoints).save(self.step, {"step": self.step, **more, **state})

    def end_step(self, due: bool, last: int, **more: Any) -> None:
        """Writes a checkpoint if one is due, or if the run is to stop here.

        Args:
            due: Whether a checkpoint is due.
            last: Number of steps of the whole run; after the last one there is nothing to stop.
            more: Further contents of the checkpoint.

        Raises:
            Stopped: the run was asked to stop. Of processes that were started together, the first ends with 130 for
                Ctrl-C and 143 for SIGTERM, the others with 0: else its launcher would take them for failed and kill it.
        """
        stops = self.stopping and self.step < last
        if due or stops:
            self.save(**more)
        if self.step == last:
            self.signals.asked = None
        if stops:
            self.say(f"{self.folder.path}: stopped after step {self.step}, which is saved; the same command goes on")
            self.fabric.barrier()  # no process may end while the first one writes
            asked = self.signals.asked or signal.SIGTERM  # another process may be the one that was asked
            raise Stopped(128 + asked if self.fabric.local_rank == 0 else 0)

    def batches(
        self,
        samples: Dataset[Any],
        collate: Callable[..., Part],
        keys: tuple[int, range, int, int],
        workers: int,
    ) -> Iterator[Part]:
        """The parts of this process's batches, in order; they depend only on the samples and their keys.

        Args:
            samples: Data set indexed by keys.
            collate: Combines samples into a part.
            keys: Round, steps, batch and accumulated parts, see `KeyBatches`.
            workers: Number of reading processes.
        """
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        return iter(
            DataLoader(
                samples,
                batch_sampler=KeyBatches(*keys, rank, processes),
                collate_fn=collate,
                num_workers=workers,
                worker_init_fn=_quiet_worker,
                pin_memory=self.fabric.device.type == "cuda",
                prefetch_factor=4 if workers else None,
            )
        )

    def take_step(
        self,
        parts: Iterator[Part],
        count: int,
        losses_of: Callable[[Part], Mapping[str, Tensor]],
        names_of: Callable[[Part], Collection[str]],
        rate: float,
        clip: float | None,
    ) -> dict[str, float]:
        """One optimiser step: forward and backward passes of the parts of a batch, then the update.

        Args:
            parts: Source of the parts.
            count: Number of parts per batch.
            losses_of: Runs the model on a part and returns `total`, the loss to minimise, and other scalars.
            names_of: Names of the samples of a part, for messages.
            rate: The learning rate.
            clip: Largest norm of the gradient; None for no limit.

        Returns:
            The scalars averaged over parts and processes, and `grad_norm`.

        Raises:
            RunError: the loss or the gradient is not finite; the message names the samples of the batch.
        """
        fabric = self.fabric
        set_learning_rate(self.optimiser, rate)
        sums: dict[str, Tensor] = {}
        names: list[str] = []
        for number in range(count):
            part = next(parts)
            names += names_of(part)
            with fabric.no_backward_sync(self.model, enabled=number + 1 < count):
                losses = losses_of(part)
                fabric.backward(losses["total"] / count)
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=fabric.device)) + loss.detach().float()
        norm: Any = fabric.clip_gradients(
            self.model, self.optimiser, max_norm=clip or math.inf, error_if_nonfinite=False
        )
        # a single transfer from the device; the signals take part, so that all processes stop after the same step
        asked = torch.tensor(float(self.signals.asked is not None), device=fabric.device)
        means: Any = fabric.all_reduce(torch.stack([*sums.values(), asked * count]) / count, reduce_op="mean")
        *scalars, share_asked = means.tolist()
        self.stopping = share_asked > 0
        values = dict(zip(sums, scalars, strict=True)) | {"grad_norm": float(norm)}
        if not (math.isfinite(values["total"]) and math.isfinite(values["grad_norm"])):
            raise RunError(self._what_went_wrong(values, names))
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return values

    def _what_went_wrong(self, values: Mapping[str, float], names: list[str]) -> str:
        """One line with the values that are not finite and the samples of the batch, over all processes."""
        if self.fabric.world_size > 1:
            gathered: list[Any] = [None] * self.fabric.world_size
            torch.distributed.all_gather_object(gathered, names)
            names = [name for part in gathered for name in part]
        bad = ", ".join(f"{name} is {value}" for name, value in values.items() if not math.isfinite(value))
        return f"step {self.step}: {bad}, so the run stops; the batch holds {', '.join(names)}"


def is_finished(folder: RunFolder, steps: int, weights: Path) -> bool:
    """Whether a run is complete; if so, prints a message."""
    done = Checkpoints(folder.checkpoints).latest_step() == steps and weights.is_file()
    if done and is_first_process():
        logger.info("%s: this run is finished; its weights are %s", folder.path, weights)
    return done


def provenance(options: Any, steps: int) -> dict[str, str]:
    """Origin of weights, for their metadata.

    Options that name local files are left out, as weights are passed on.

    Args:
        options: Options of the run, a dataclass.
        steps: Number of completed steps.
    """
    return {
        "options": json.dumps(to_plain(without_paths(options))),
        "steps": str(steps),
        "date": datetime.date.today().isoformat(),
        "commit": commit_of(Path(__file__).parents[2]),
    }


def _quiet_worker(_: int) -> None:
    """Limits a worker to one thread, as the cores belong to the training process, which also decides when it ends."""
    torch.set_num_threads(1)
    outlast_stop_signals()

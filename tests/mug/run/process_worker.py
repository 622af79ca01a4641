"""Runs batch norm and a training step of MuG as one of several processes; started by `test_processes.py`.

python process_worker.py RANK PROCESSES MEETING_FILE RESULT_FILE
"""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from mug.model import Batch, MuG
from mug.norm import BatchNorm
from mug.options import BackboneConfig, LossWeights, ModelConfig
from mug.run.processes import gather

SAMPLES = 6


def norm_results(own: slice, processes: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    norm, x = BatchNorm(5), torch.randn(SAMPLES, 5, 3, 4) * 3 + 7
    weight = torch.randn(SAMPLES, 5, 3, 4)
    mine = x[own].requires_grad_()
    out = norm(mine)
    # as in distributed training: each process differentiates its own mean
    (out * weight[own]).mean().backward()
    parameters = torch.stack([norm.weight.grad, norm.bias.grad])
    if processes > 1:
        dist.all_reduce(parameters)
    return {
        "norm.out": gather(out.detach()),
        "norm.input_grad": gather(mine.grad) / processes,
        "norm.parameter_grad": parameters / processes,
        "norm.mean": norm.running_mean,
        "norm.var": norm.running_var,
    }


def step_results(own: slice, processes: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = MuG(ModelConfig(BackboneConfig(depth=18, stages=2, stride=8)))
    torch.nn.init.normal_(model.kappa.theta.weight, std=0.1)
    model.double()  # a difference is then a mistake and no rounding
    frames = torch.nn.functional.interpolate(
        torch.rand(SAMPLES * 10, 3, 16, 16).double(), size=(64, 64), mode="bilinear"
    )
    labels = torch.rand(SAMPLES, 8, 8, 8)
    labels[0] = labels[1, 4] = labels[2, 3, :5] = float("nan")
    batch = Batch(
        frames=frames.view(SAMPLES, 10, 3, 64, 64)[own],
        labels=labels[own],
        patch=torch.randint(0, 49, (SAMPLES, 2))[own],
        pair=torch.tensor([[0, 1], [1, 0], [0, 1]] * 2)[own],
        warp=(torch.eye(2, 3) + 0.2 * torch.randn(SAMPLES, 2, 2, 3))[own],
    )
    network = DistributedDataParallel(model) if processes > 1 else model
    out = network(batch, LossWeights(warp=0.5))
    out["total"].backward()
    losses = torch.stack([out[name].detach() for name in (*vars(LossWeights()), "total")])
    if processes > 1:
        dist.all_reduce(losses)
    results = {"losses": losses / processes}
    results |= {f"grad.{name}": p.grad for name, p in model.named_parameters()}
    return results | {f"buffer.{name}": x for name, x in model.named_buffers()}


def main(rank: int, processes: int, meeting: str, result: str) -> None:
    torch.set_num_threads(1)
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes)
    own = slice(rank * SAMPLES // processes, (rank + 1) * SAMPLES // processes)
    results = norm_results(own, processes) | step_results(own, processes)
    if rank == 0:
        torch.save(results, result)
    if processes > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])

"""What O-VOS with a backbone of somebody else costs: frames a second, memory, and one object against ten.

python benchmarks/propagation.py [--backbone timm:vit_small_patch8_224] [--preset dino] [--height 480] [--width 854]
    [--repeat 3] [--device cpu]

The network has random weights: its cost is that of any others. The memory is filled with random features first, then
`--repeat` frames go through the network and the propagation. Each number of objects has a process of its own, so that
its peak is its own; resident memory is counted from when the network lies there and has run once on a small frame.
Ratios are of processor time, which other programs disturb less than time by the clock.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time

import numpy as np
import torch
import torch.nn.functional as F
from peak_memory import peak_memory
from torch import Tensor

from downstream.backbones.by_name import named_network
from downstream.one_shot.propagator import Propagator, fit_frame
from downstream.one_shot.protocols import PRESETS

OBJECTS = (1, 10)


class Timed:
    """The network, or random features of the same shape as long as the memory fills; adds up the time it takes."""

    def __init__(self, network: torch.nn.Module, shape: tuple[int, ...], device: str) -> None:
        self.network, self.shape, self.device = network, shape, device
        self.filling = True
        self.seconds = 0.0

    def __call__(self, frame: Tensor) -> Tensor:
        """An extractor: (1, 3, H, W) -> (1, C, h, w)."""
        if self.filling:
            return F.normalize(torch.randn(self.shape, device=self.device), dim=1)
        start = _processor_time(self.device)
        features = self.network(frame)
        self.seconds += _processor_time(self.device) - start
        return features


def _measure(objects: int, options: argparse.Namespace, answer: multiprocessing.Queue) -> None:
    """Puts (frames/s, processor s of the network, of all the rest, MiB) a frame."""
    torch.manual_seed(0)
    config = PRESETS[options.preset]
    network = named_network(options.backbone, None, config.stride).to(options.device)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (options.height, options.width, 3), dtype=np.uint8) for _ in range(2)]
    mask = np.zeros(frames[0].shape[:2], np.uint8)
    for i in range(objects):  # columns of squares, each an object
        x = (2 * i + 1) * options.width // (2 * objects)
        mask[options.height // 4 : options.height // 2, x : x + options.width // (3 * objects)] = i + 1
    shown = fit_frame(frames[0], config)
    channels = network(torch.zeros(1, 3, 64, 64, device=options.device)).shape[1]
    stride = 64 // network(torch.zeros(1, 3, 64, 64, device=options.device)).shape[2]
    shape = (1, channels, *(-(-side // stride) for side in shown.shape[:2]))
    before = peak_memory(options.device)
    extract = Timed(network, shape, options.device)
    propagator = Propagator(extract, config, options.device)
    propagator.step(frames[0], mask)
    for _ in range(config.frames):
        propagator.step(frames[1])
    extract.filling = False
    clock, start = time.perf_counter(), _processor_time(options.device)
    for _ in range(options.repeat):
        propagator.step(frames[1])
    total, clock = _processor_time(options.device) - start, time.perf_counter() - clock
    rest = (total - extract.seconds) / options.repeat
    memory = peak_memory(options.device) - before
    answer.put((options.repeat / clock, extract.seconds / options.repeat, rest, memory, shape))


def _processor_time(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Measures one object and ten, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="timm:vit_small_patch8_224")
    parser.add_argument("--preset", choices=list(PRESETS), default="dino")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    for objects in OBJECTS:
        answer = context.Queue()
        process = context.Process(target=_measure, args=(objects, options, answer))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{objects} objects: failed")
        rows.append(answer.get())
    threads, config = torch.get_num_threads(), PRESETS[options.preset]
    print(
        f"{options.backbone}, features {rows[0][4]}, preset {options.preset} ({config.frames} frames"
        f"{' and the first' if config.keep_first else ''}), {options.width}x{options.height}, "
        f"torch {torch.__version__}, {options.device}, {threads} threads"
    )
    print(f"{'objects':>8s}{'frames/s':>10s}{'network':>12s}{'the rest':>12s}{'memory':>12s}")
    for objects, (rate, network, rest, memory, _) in zip(OBJECTS, rows, strict=True):
        print(f"{objects:8d}{rate:10.3f}{network:10.2f} s{rest:10.2f} s{memory:8.0f} MiB")
    one, ten = rows
    ratio, rest = (ten[1] + ten[2]) / (one[1] + one[2]), ten[2] / one[2]
    print(f"ten objects cost {ratio:.2f} times one, without the network {rest:.2f}")


if __name__ == "__main__":
    main()

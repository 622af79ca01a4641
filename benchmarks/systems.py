"""All systems beside each other: each trained from the same data, scored by one scorer, against its own ablated form.

    python benchmarks/systems.py --out runs/systems --davis DAVIS [--textures PHOTOS] [--seeds 0 1 2]

On synthetic videos, all systems train on one set of them and are tested on others; on DAVIS, on all sequences but those
that `mug finetune --hold` keeps, which they are tested on. MuG is not trained here: it has its packaged weights, which
saw no annotation. Further options are those of every training (`--steps 150`). What was measured before is not measured
again, so that a benchmark that was stopped goes on where it was. The tables go to standard output.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import safetensors
from agnn_davis import without
from peak_memory import peak_memory

from downstream.data.kinds import open_dataset
from downstream.scoring.davis import score_folder
from downstream.scoring.unsupervised import score_unsupervised
from downstream.training.annotated import hold_out
from mug.checkpoint import packaged_weights
from mug.cli import main as mug
from mug.media.files import atomic_path

Task = Literal["zero-shot", "instances", "one-shot"]
Measured = dict[str, float]
"""J, F (in [0, 1]), T (where it is defined), frames per second, parameters and peak memory in MiB."""


@dataclass(frozen=True)
class Row:
    """A system, or a form of it."""

    system: str
    task: Task
    train: tuple[str, ...] = ()
    """Options of `mug finetune` beside those of the system's configuration for two cores."""
    use: tuple[str, ...] = ()
    """Options of `mug segment` or `mug propagate`."""
    beats: str = ""
    """The row that it is compared with, seed by seed."""
    config: str = ""
    """Its configuration, where that is not that of the system for two cores."""


ROWS: Mapping[str, Row] = {
    "MuG": Row("mug", "zero-shot"),
    "AGNN": Row("agnn", "zero-shot", beats="AGNN without the graph", config="agnn_imagenet_cpu"),
    "AGNN without the graph": Row("agnn", "zero-shot", ("--no-model.graph",), config="agnn_imagenet_cpu"),
    "COSNet": Row("cosnet", "zero-shot", beats="COSNet without co-attention"),
    "COSNet without co-attention": Row("cosnet", "zero-shot", ("--model.attention", "none")),
    "HCPN": Row("hcpn", "zero-shot", beats="HCPN without flow"),
    "HCPN without flow": Row("hcpn", "zero-shot", ("--model.input", "frames")),
    "MuG, instances": Row("mug", "instances", use=("--instances",)),
    "RVOS, instances": Row(
        "rvos", "instances", ("--model.task", "zero-shot"), ("--instances",), beats="RVOS, instances, without time"
    ),
    "RVOS, instances, without time": Row(
        "rvos", "instances", ("--model.task", "zero-shot", "--model.recurrence", "spatial"), ("--instances",)
    ),
    "MuG, mask given": Row("mug", "one-shot"),
    "RVOS, mask given": Row("rvos", "one-shot", ("--model.task", "one-shot"), beats="RVOS, mask given, without time"),
    "RVOS, mask given, without time": Row(
        "rvos", "one-shot", ("--model.task", "one-shot", "--model.recurrence", "spatial")
    ),
    "A-GAME": Row("agame", "one-shot", beats="A-GAME without appearance"),
    "A-GAME without appearance": Row("agame", "one-shot", ("--no-model.appearance",)),
}

UNTRAINED = ("--steps", "1", "--optimiser.lr", "0")
"""The initial weights as a training leaves them: pretrained trunk, random head."""


def main() -> None:
    """Trains and measures what is not there yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for data, runs and results")
    parser.add_argument(
        "--davis", type=Path, help="root of a data set in DAVIS layout; left out: synthetic videos alone"
    )
    parser.add_argument("--textures", type=Path, help="photos or videos to make the synthetic videos of")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", nargs="+", default=["synthetic", "davis", "untrained"], help="which tables")
    arguments, more = parser.parse_known_args()
    if "synthetic" in arguments.data:
        data = synthetic(arguments.out / "synthetic", arguments.textures)
        show("synthetic videos", arguments, partial(run, *data, arguments.out / "on-synthetic", more))
    if arguments.davis:
        data = davis(arguments.davis, arguments.out / "davis")
        for name, words in (("davis", more), ("untrained", (*more, *UNTRAINED))):
            if name in arguments.data:
                show(name, arguments, partial(run, *data, arguments.out / f"on-{name}", words))


def show(title: str, arguments: argparse.Namespace, measure: Callable[[Row, int], Measured]) -> None:
    """Measures all rows on one data set, seed by seed, and prints their table."""
    results: dict[str, list[Measured]] = {}
    for seed in arguments.seeds:  # seed by seed: what is stopped halfway compares all rows
        for name in arguments.rows:
            if ROWS[name].system == "mug" and seed != arguments.seeds[0]:
                continue  # nothing in it is random
            results.setdefault(name, []).append(measure(ROWS[name], seed))
            print(f"{title}, {name}, seed {seed}: J {100 * results[name][-1]['J']:.1f}", flush=True)
    print(f"\n{title}\n\n{table(results)}\n", flush=True)


def synthetic(out: Path, textures: Path | None) -> tuple[Path, Path]:
    """Synthetic videos to train on, and others to test on."""
    for name, seed, videos in (("train", 1, 24), ("test", 2, 8)):
        if not (out / name).is_dir():
            with atomic_path(out / name) as temporary:
                words = ["synth", str(temporary), "--videos", str(videos), "--frames", "16", "--seed", str(seed)]
                if mug(words + (["--textures", str(textures)] if textures else [])):
                    raise SystemExit(2)
    return out / "train", out / "test"


def davis(root: Path, out: Path) -> tuple[Path, Path]:
    """The sequences to train on and those to test on, as links."""
    names = open_dataset(root).sequences()
    held = hold_out(names, 3)
    kept = [name for name in names if name not in held]
    return without(root, held, out / "train"), without(root, kept, out / "test")


def run(train: Path, test: Path, place: Path, more: Sequence[str], row: Row, seed: int) -> Measured:
    """A row's training, masks and scores; the file of what was measured before is read instead."""
    name = "-".join([row.system, row.task, *(word.lstrip("-") for word in row.train), str(seed)])
    folder = place / name
    if not (folder / "measured.json").is_file():
        weights = trained(row, seed, train, folder / "run", more)
        masks = folder / "masks"
        command = "propagate" if row.task == "one-shot" else "segment"
        words = [command, str(test), "--system", row.system, "--out", str(masks), "--overwrite", *row.use]
        words += [] if weights is None else ["--weights", str(weights)]
        # another process, so that its peak memory is its own
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, memory = pool.apply(timed, (words,))
        frames = sum(1 for _ in masks.glob("*/*.png"))
        measured = scores(row.task, test, masks)
        measured |= {"fps": frames / seconds, "parameters": parameters(weights), "MiB": memory}
        with atomic_path(folder / "measured.json") as temporary:
            temporary.write_text(json.dumps(measured, indent=1))
    loaded: Measured = json.loads((folder / "measured.json").read_text())
    return loaded


def trained(row: Row, seed: int, data: Path, out: Path, more: Sequence[str]) -> Path | None:
    """Weights of a row's training; None for MuG."""
    if row.system == "mug":
        return None
    config = f"configs/finetune/{row.config or f'{row.system}_cpu'}.yaml"
    words = ["finetune", row.system, "--config", config, "--data", str(data), "--out", str(out), "--seed", str(seed)]
    if mug([*words, *row.train, *more]):
        raise SystemExit(2)
    return out / f"{row.system}.safetensors"


def timed(words: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak memory (MiB) of a command in this process, its start left out."""
    start = time.perf_counter()
    if mug(words):
        raise RuntimeError(" ".join(words))  # SystemExit would end the pool's process without a word to who waits
    return time.perf_counter() - start, peak_memory("cpu")


def scores(task: Task, truth: Path, masks: Path) -> Measured:
    """J, F and T of masks."""
    if task == "instances":
        found = score_unsupervised(truth, masks)
        return {"J": found["J"]["mean"], "F": found["F"]["mean"]}
    found = score_folder(truth, masks, task)
    return {name: found[name]["mean"] for name in ("J", "F")} | {"T": found["T"]["mean"]}


def parameters(weights: Path | None) -> int:
    """Numbers in a weights file."""
    with safetensors.safe_open(weights or packaged_weights(), "pt") as file:
        names = file.keys()
        return sum(file.get_tensor(name).numel() for name in names)


def table(results: Mapping[str, Sequence[Measured]]) -> str:
    """Means over seeds in Markdown, J, F and T in per cent, with what a row has over its ablated form."""
    lines = ["| | seeds | J | F | T | J beside the ablated form | frames/s | parameters, millions | peak, MiB |"]
    lines.append("|---" * 9 + "|")
    for name, runs in results.items():
        cells = [name, str(len(runs))]
        cells += [spread([100 * measured[key] for measured in runs]) if key in runs[0] else "" for key in "JFT"]
        other = results.get(ROWS[name].beats, [])
        gains = [100 * (one["J"] - two["J"]) for one, two in zip(runs, other, strict=False)]
        cells.append(spread(gains, "+") if gains else "")
        cells.append(f"{statistics.median(measured['fps'] for measured in runs):.2f}")
        cells.append(f"{runs[0]['parameters'] / 1e6:.1f}")
        cells.append(f"{max(measured['MiB'] for measured in runs):.0f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean, and standard deviation over seeds."""
    mean = f"{statistics.mean(values):{sign}.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


if __name__ == "__main__":
    main()

"""What the graph and what pretraining are worth: AGNN fine-tuned on some videos, scored on sequences of DAVIS.

Every variant is trained with the same configuration, budget, data and seeds:

    python benchmarks/agnn_davis.py DAVIS --out runs/agnn --seeds 0 1 2
    python benchmarks/agnn_davis.py DAVIS --out runs/parts --parts 3    # every sequence is tested once
    python benchmarks/agnn_davis.py DAVIS --out runs/clips --clips CLIPS --steps 300    # no label is learned from

A benchmark that was stopped goes on where it was. The table goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from agnn_head.checkpoint import load_weights
from downstream.data.kinds import open_dataset
from downstream.finetune import finetune
from downstream.metrics.boundary import f_measure
from downstream.metrics.region import jaccard
from downstream.systems.agnn import AGNNFinetuneOptions, GraphConfig
from downstream.systems.agnn.inference import as_trained, segment_by_graph
from downstream.training.annotated import hold_out
from downstream.training.pseudo import pseudo_annotations
from mug.command.options import parse
from mug.media.files import atomic_path
from mug.media.masks import VOID

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "AGNN on pretrained phi": (),
    "w/o messages": ("--model.iterations", "0"),
    "w/o AGNN": ("--no-model.graph",),
    "w/o gates": ("--no-model.gated",),
    "AGNN on phi from scratch": ("--scratch",),
}
"""Table 6 of the paper, as far as training differs; its readout on single frames; and what pretraining is for."""


def main() -> None:
    """Trains and scores what is not there yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("davis", type=Path, help="root of a data set in DAVIS layout")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--config", default="configs/finetune/agnn_cpu.yaml")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--hold", type=int, default=3, help="sequences that are tested on")
    parser.add_argument("--parts", type=int, help="test all: each such part by heads trained on the others")
    parser.add_argument("--clips", type=Path, help="test all: by heads trained on the masks MuG gives to these videos")
    parser.add_argument("--steps", help="of training, where not those of the configuration")
    arguments = parser.parse_args()
    more = ("--steps", arguments.steps) if arguments.steps else ()
    plan = [*splits(arguments)]
    results: dict[str, list[dict[str, list[float]]]] = {}
    for seed in arguments.seeds:  # seed by seed: what is stopped halfway compares all variants
        for variant in arguments.variants:
            scores: dict[str, list[float]] = {}
            for place, data, held in plan:
                run = place / f"{variant.replace(' ', '_').replace('/', '')}-{seed}"
                words = ("agnn", "--config", arguments.config, "--data", str(data), "--out", str(run))
                options = parse(
                    "agnn_davis",
                    AGNNFinetuneOptions,
                    ("system",),
                    (*words, *more, "--seed", str(seed), *VARIANTS[variant]),
                )
                scores |= trained_and_scored(options, arguments.davis, held)
            results.setdefault(variant, []).append(scores)
            print(f"{variant}, seed {seed}: J {100 * mean_of(scores, 0):.1f}", flush=True)
    print("\n" + table(results))


def splits(arguments: argparse.Namespace) -> Iterator[tuple[Path, Path, list[str]]]:
    """Where the runs of each split go, the data to train on, and the sequences of DAVIS to test on."""
    names, out = open_dataset(arguments.davis).sequences(), arguments.out
    if arguments.clips:
        pseudo_annotations([arguments.clips], out / "pseudo", AGNNFinetuneOptions.pseudo_frames)
        yield out, out / "pseudo", names
        return
    tested = parts(names, arguments.parts) if arguments.parts else [hold_out(names, arguments.hold)]
    for part, held in enumerate(tested):
        place = out / f"part{part + 1}of{arguments.parts}" if arguments.parts else out
        # named by how many are held out: a run goes on with its own data only
        yield place, without(arguments.davis, held, place / f"all-but-{len(held)}"), held


def parts(names: Sequence[str], count: int) -> list[list[str]]:
    """All sequences in so many parts, in the order of the hash of their names: the first is what `--hold` keeps."""
    found: list[list[str]] = []
    for part in range(count):
        left = [name for name in names if not any(name in before for before in found)]
        found.append(hold_out(left, len(names) * (part + 1) // count - len(names) * part // count))
    return found


def without(davis: Path, held: Sequence[str], folder: Path) -> Path:
    """A data set of links to all sequences but those held out."""
    for kind in ("JPEGImages/480p", "Annotations/480p"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for sequence in sorted((davis / kind).iterdir()):
            link = folder / kind / sequence.name
            if sequence.name not in held and not link.is_symlink():
                link.symlink_to(sequence.resolve())
    return folder


def trained_and_scored(options: AGNNFinetuneOptions, davis: Path, held: Sequence[str]) -> dict[str, list[float]]:
    """Mean J and F of each sequence held out, computed once."""
    file = options.out / "scores.json"
    finetune(options)  # what is finished costs nothing, and a run of other options or data is refused
    if not file.is_file():
        dataset = open_dataset(davis)
        model, metadata = load_weights(options.out / "agnn.safetensors")
        graph = as_trained(GraphConfig(), metadata)
        scores = {}
        for name in held:
            video = dataset.video(name)
            annotations = dataset.frames(name)
            values = []
            maps = segment_by_graph(video, model, graph)
            for index, (frame, map_hw) in enumerate(zip(video.frame_names, maps, strict=True)):
                if 0 < index < len(video) - 1:
                    truth = annotations[frame].read()
                    pair = map_hw > 0.5, (truth > 0) & (truth != VOID), truth == VOID
                    values.append((jaccard(*pair), f_measure(*pair)))
            scores[name] = [float(value) for value in np.mean(values, axis=0)]
        with atomic_path(file) as temporary:
            temporary.write_text(json.dumps(scores, indent=1))
    loaded: dict[str, list[float]] = json.loads(file.read_text())
    return loaded


def mean_of(scores: Mapping[str, list[float]], which: int) -> float:
    """Mean of J (0) or F (1) over sequences."""
    return statistics.mean(values[which] for values in scores.values())


def table(results: Mapping[str, list[dict[str, list[float]]]]) -> str:
    """Variants by sequences in Markdown, J in per cent, means over the seeds, with the spread of the mean."""
    sequences = list(next(iter(results.values()))[0])
    lines = ["| | " + " | ".join(sequences) + " | mean J | seeds | mean F |", "|---" * (len(sequences) + 4) + "|"]
    for variant, runs in results.items():
        cells = [f"{100 * statistics.mean(run[name][0] for run in runs):.1f}" for name in sequences]
        means = [100 * mean_of(run, 0) for run in runs]
        seeds = ", ".join(f"{mean:.1f}" for mean in means)
        boundary = 100 * statistics.mean(mean_of(run, 1) for run in runs)
        lines.append(f"| {variant} | {' | '.join(cells)} | {statistics.mean(means):.1f} | {seeds} | {boundary:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

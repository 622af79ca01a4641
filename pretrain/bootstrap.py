"""Bootstrapping: the model relabels the training frames for the next round (MuG Sec. 3.1, Eq. 15)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from mug.backbone import Features
from mug.errors import InputError
from mug.frames import to_tensor
from mug.granularity.frame import bootstrap_weights
from mug.grid import enlarge
from mug.media.masks import read_soft, write_soft
from mug.media.pictures import read_frame
from mug.media.refine import Refinement, recut, refine
from mug.model import MuG
from mug.run.progress import track
from pretrain.options import LabelOptions
from pretrain.training_video import TrainingVideo

CHUNK = 8
"""Frames per forward pass."""
LEAST_CUT = 1e-6
"""Lowest threshold, reached if a prior is foreground everywhere: a prediction of 0 stays background."""


@dataclass
class Relabelling:
    """Settings for turning a model's predictions into labels."""

    stride: int
    """Every `stride`-th frame of a video gets a label."""
    references: int
    """Number of reference frames, spread evenly over the video, for each frame's global information."""
    size: int
    """Shorter side of the model's input, in pixels."""
    squeeze: bool = False
    """Whether frames are squeezed into a square of that side, as in training with `sample.squeeze`."""
    refinement: Refinement = "guided"
    """Refinement of a prediction with its frame."""
    binary: bool = True
    """Whether predictions are thresholded: the P-bar in {0, 1} of Eq. 15."""


def label_frames(video: TrainingVideo, stride: int) -> range:
    """The frames of a video that have a label."""
    return range(0, len(video), stride)


def label_path(folder: Path, video: TrainingVideo, index: int) -> Path:
    """Path of a frame's label."""
    return folder / video.name / f"{video.frame_name(index)}.png"


def label_weights(prior: Path, labels: Path, number: int, options: LabelOptions) -> dict[Path, float]:
    """The folders of maps that train round `number`, with the weight of each (MuG Eq. 15)."""
    if number == 1:
        return {prior: 1.0}
    of_label, of_prediction = bootstrap_weights(options.alpha, options.keep)
    return {prior: of_label, labels / f"round{number - 1}": of_prediction}


def require_labels(folders: Iterable[Path], videos: Iterable[TrainingVideo], stride: int) -> None:
    """Checks that no map is missing.

    Raises:
        InputError: a map is missing; the message names the first one.
    """
    for folder in folders:
        for video in videos:
            for index in label_frames(video, stride):
                path = label_path(folder, video, index)
                if not path.is_file():
                    raise InputError(
                        f"{path}: this map is missing; give --maps a folder with a map for every frame in {stride} "
                        "(`mug prior` makes one), or start the run in a new folder"
                    )


def relabel(
    network: MuG, videos: Sequence[TrainingVideo], prior: Path, out: Path, how: Relabelling, device: torch.device
) -> None:
    """Writes the prediction of the readout v for every label frame, an 8-bit map `out/<video>/<frame>.png` each.

    Predictions learned from noisy maps are uncertain and biased to background: with a threshold of one half, foreground
    would vanish from round to round. So the odds of a video's predictions are scaled until the threshold one half
    leaves as much foreground as its initial maps Q have, or more if more exceeds one half without scaling. Refinement
    follows and is thresholded at one half: the output of a CRF is nearly 0 or 1, so other thresholds have no effect.

    Videos whose maps are complete are skipped, so stopped work resumes where it was. The same model and videos give the
    same maps.
    """
    trained = network.training
    network.eval()
    for video in track(videos, "relabelling"):
        indices = label_frames(video, how.stride)
        if all(label_path(out, video, index).is_file() for index in indices):
            continue
        predicted = np.stack(list(_predict(network, video, indices, how, device)))
        if how.binary:
            known = [label_path(prior, video, index) for index in indices]
            share = float(np.mean([(read_soft(path) >= 128).mean() for path in known if path.is_file()]))
            predicted = recut(predicted, _cut(predicted, share))
        for index, cells in zip(indices, predicted, strict=True):
            frame = read_frame(video.file(index))
            wide = enlarge(
                torch.from_numpy(cells)[None, None], frame.shape[:2], _seen_size(frame, how), network.phi.stride
            )
            soft = refine(frame, wide[0, 0].clamp(0, 1).numpy(), how.refinement)
            label = 255 * (soft > 0.5) if how.binary else np.rint(255 * soft)
            write_soft(label_path(out, video, index), label.astype(np.uint8))
    network.train(trained)


def _cut(predicted: np.ndarray, share: float) -> float:
    """The threshold, at most 0.5, above which at least `share` of the values lie; equal values stay together."""
    values = np.sort(predicted, axis=None)
    least = values[len(values) - int(np.ceil(share * len(values)))] if share > 0 else np.inf
    kept = values >= least
    above, below = values[kept].min(initial=1.0), values[~kept].max(initial=0.0)
    return min(max(float(above + below) / 2, LEAST_CUT), 0.5)


@torch.inference_mode()
def _predict(
    network: MuG, video: TrainingVideo, indices: Sequence[int], how: Relabelling, device: torch.device
) -> Iterator[np.ndarray]:
    """Yields the foreground probability (h, w) of each frame on phi's grid."""
    spread = np.linspace(0, len(video) - 1, min(how.references + 1, len(video))).round().astype(int).tolist()
    source = network.phi(_tensor([read_frame(video.file(i)) for i in spread], how, device))
    for start in range(0, len(indices), CHUNK):
        chunk = indices[start : start + CHUNK]
        frames = [read_frame(video.file(index)) for index in chunk]
        query = network.phi(_tensor(frames, how, device))
        others = torch.tensor([_others(spread, index) for index in chunk], device=device)
        yield from network.segment_frame(query, Features(*(x[others] for x in source)))[:, 0].cpu().numpy()


def _others(spread: list[int], index: int) -> list[int]:
    """Positions in `spread` of all frames but the nearest: no frame is its own reference, all have the same number."""
    nearest = min(range(len(spread)), key=lambda position: abs(spread[position] - index))
    return [position for position in range(len(spread)) if position != nearest]


def _tensor(frames: Sequence[np.ndarray], how: Relabelling, device: torch.device) -> Tensor:
    """(B, 3, H, W) in [0, 1], at the model's input size."""
    height, width = _seen_size(frames[0], how)
    small = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
    return to_tensor(*small, device=device)


def _seen_size(frame: np.ndarray, how: Relabelling) -> tuple[int, int]:
    """Height and width of the model's input for a frame."""
    if how.squeeze:
        return how.size, how.size
    scale = how.size / min(frame.shape[:2])
    return round(frame.shape[0] * scale), round(frame.shape[1] * scale)

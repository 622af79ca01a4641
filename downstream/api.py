"""The functions of the Python API: load a model, segment a video, score masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from downstream.metrics.boundary import f_measure
from downstream.metrics.region import jaccard
from mug.errors import InputError
from mug.media.masks import VOID, as_ids
from mug.media.video import Video, open_video

Measures = Mapping[str, float]
"""Means over frames and objects: `J`, `F` and their mean `J&F`, in [0, 1]."""


def load(weights: Path | str | None = None, *, revision: str | None = None) -> Any:
    """Loads a model from a weights file or from the Hugging Face Hub, in evaluation mode, on the CPU.

    Args:
        weights: Weights of MuG or of a system: a file (.safetensors), a folder that holds one, or, if there is nothing
            of this name, `OWNER/NAME` on the Hub (extra `hub`). None: the packaged weights of MuG.
        revision: Branch, tag or commit of the repository on the Hub; by default its main branch.

    Returns:
        A `mug.MuG`, or the network of the system, such as a `mug.AGNN`; its attribute `metadata` holds the notes in the
        file.

    Raises:
        InputError: there is no such file, folder or repository, it does not hold weights of MuG or of a system, or is
            damaged.

    Example:
        >>> import mug, torch
        >>> mug.load().phi(torch.zeros(1, 3, 64, 96)).match.shape  # L2-normalised, one cell per 8 x 8 pixels
        torch.Size([1, 64, 8, 12])
    """
    from downstream.systems.base import system_of
    from mug.checkpoint import packaged_weights
    from mug.networks.hub import weights_file

    path = packaged_weights() if weights is None else weights_file(weights, revision)
    return system_of(path).weights_format.load(path)[0]


def segment(
    video: Video | Path | str, weights: Path | str | None = None, *, system: str = "mug", **options: Any
) -> Iterator[np.ndarray]:
    """Segments the main object of a video, or each object with `instances=True`, without a given mask (Z-VOS).

    Args:
        video: A folder of frames, a video file, the address of a stream (for systems that read frame by frame), or a
            video opened with `mug.open_video`.
        weights: Weights of the system, as for `load`. None: the packaged weights of MuG.
        system: `mug` or `agnn`.
        **options: Options of `mug segment`: `mode`, `refine`, `instances`, `device` and so on.

    Yields:
        The mask (H, W) uint8 of each frame, in order: 0 background, 1 the main object, or one id per object.

    Raises:
        InputError: the video, weights or options cannot be used.

    Example:
        >>> import mug
        >>> masks = mug.segment("clip.mp4", refine="guided")  # doctest: +SKIP
    """
    from downstream.segment import open_segmenter
    from downstream.systems.base import part_of
    from mug.networks.hub import weights_file

    opened = video if isinstance(video, Video) else open_video(video)
    kind = part_of(system, "zero_shot").options
    unknown = options.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise InputError(f"{', '.join(sorted(unknown))}: system {system} has no such option")
    given = None if weights is None else weights_file(weights)
    chosen = kind(videos=opened.path, out=Path(), system=system, weights=given, **options)
    yield from open_segmenter(chosen, opened.live)(opened)


def score(
    truth: Path | str | np.ndarray,
    result: Path | str | np.ndarray,
    task: Literal["zero-shot", "one-shot"] = "zero-shot",
) -> Measures:
    """J and F of masks as defined by DAVIS.

    Args:
        truth: Root of a dataset, or masks (H, W) or (T, H, W): ids from 1 with 255 for void, or only 0 and 255.
        result: A folder of results, or masks of the same shape.
        task: `zero-shot`: all ids form one foreground. `one-shot`: the mean over the objects.

    Returns:
        See `Measures`. For folders, the means cover the frames that the dataset scores: DAVIS leaves out the first
        and the last.

    Raises:
        InputError: the folders or arrays cannot be scored.

    Example:
        >>> import mug, numpy as np
        >>> truth = np.zeros((2, 20, 30), np.uint8)
        >>> truth[:, 5:15, 5:15] = 1
        >>> mug.score(truth, truth)
        {'J': 1.0, 'F': 1.0, 'J&F': 1.0}
    """
    if isinstance(truth, np.ndarray) and isinstance(result, np.ndarray):
        j, f = _score_arrays(truth, result, task)
    elif isinstance(truth, np.ndarray) or isinstance(result, np.ndarray):
        raise InputError("score: takes two folders or two arrays, not one of each")
    else:
        from downstream.scoring.davis import score_folder

        scores = score_folder(Path(truth), Path(result), task, stability=False)
        j, f = scores["J"]["mean"], scores["F"]["mean"]
    return {"J": j, "F": f, "J&F": (j + f) / 2}


def _score_arrays(truth: np.ndarray, result: np.ndarray, task: str) -> tuple[float, float]:
    if truth.shape != result.shape or truth.ndim not in (2, 3):
        raise InputError(f"score: masks of shape {truth.shape} and {result.shape}; give two alike, (H, W) or (T, H, W)")
    shape = np.atleast_3d(truth.T).T.shape
    truth, result = (as_ids(x.reshape(-1, shape[-1])).reshape(shape) for x in (truth, result))
    void = truth == VOID
    if task == "zero-shot":
        pairs = [((result > 0) & (result != VOID), (truth > 0) & ~void)]
    else:
        pairs = [(result == i, truth == i) for i in np.unique(truth) if i not in (0, VOID)]
    if not pairs:
        raise InputError("score: the true masks show no object; they need ids from 1")
    values = [
        (jaccard(*masks), f_measure(*masks)) for found, there in pairs for masks in zip(found, there, void, strict=True)
    ]
    j, f = np.mean(values, axis=0)
    return float(j), float(f)

"""`mug prior`: initial foreground maps of videos, stored as 8-bit images."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mug.errors import InputError, logger
from mug.media.files import atomic_path, check_output, inside, is_hidden, remove_partial
from mug.media.listing import in_words
from mug.media.masks import write_soft
from mug.media.plain import parse_json
from mug.media.refine import Refinement, refine
from mug.media.video import Video
from mug.networks.names import IMAGENET
from mug.priors import PRIORS, Prior
from mug.run.progress import track
from mug.run.shard import shard_of
from mug.run.stop import follow_parent
from pretrain.options import CLASSIFIED, Kind, PriorOptions
from pretrain.videos import VideoIndex

SETTINGS = "prior.json"
"""File beside the maps with their settings, so that two kinds never mix in one folder."""


def prior(options: PriorOptions) -> None:
    """Writes initial foreground maps of unlabeled videos as 8-bit images; half of 255 is the natural threshold.

    Videos and their names are those of `mug pretrain`, which accepts the maps; unreadable files are left out.
    """
    how: dict[str, Any] = {
        "kind": options.kind,
        "stride": options.stride,
        "classifier": options.classifier,
        "weights": options.classifier_weights,
        "refinement": options.refine,
        "binary": options.binary,
        "overwrite": options.overwrite,
        "workers": options.workers,
    }
    cache_priors([], options.out, **how)  # rejects invalid options before videos are unpacked
    shard, cache = shard_of(options.shard), options.index_cache or options.out / ".videos"
    if shard.count == 1:  # else another shard may be writing
        remove_partial(options.out.rglob(".*"))
    index = VideoIndex.build(options.videos, cache, min_frames=1, shard=shard)
    logger.info("%s: %s", in_words(options.videos), index)
    videos = [video.open() for video in index]
    written = cache_priors(videos, options.out, **how)
    kept = sum(len(range(0, len(video), options.stride)) for video in videos) - written
    rest = f", {kept} were there" if kept else ""
    print(f"{options.out}: {written} maps of {len(videos)} videos written{rest}")


def cache_priors(
    videos: Sequence[Video],
    folder: Path,
    kind: Kind = "motion",
    stride: int = 1,
    *,
    classifier: str = IMAGENET,
    weights: Path | None = None,
    refinement: Refinement = "none",
    binary: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
) -> int:
    """Writes the maps FOLDER/VIDEO/FRAME.png of every `stride`-th frame; existing ones are kept.

    Maps are written atomically, so that a stopped run resumes where it was.

    Args:
        videos: The videos; their names are used for the folders. Without any, the options are checked.
        folder: Output folder.
        kind: The prior.
        stride: Frames 0, stride, 2 stride, ... get a map.
        classifier: Classifier for `cam` and `motion-cam`, see `mug.networks.classifier.open_classifier`.
        weights: Its state dict; None for `imagenet`, which has its own.
        refinement: Refinement of each map with its frame.
        binary: Whether maps are thresholded at one half, after refinement (MuG Eq. 2: Q in {0, 1}).
        overwrite: Whether to recompute existing maps.
        workers: Number of processes; None for one per core.

    Returns:
        The number of maps written.

    Raises:
        InputError: the options or the folder are not usable, or a frame cannot be read.
    """
    if stride < 1:
        raise InputError(f"--stride {stride}: give 1 for every frame, or more to leave frames out")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: give 1 or more")
    if kind not in get_args(Kind):
        raise InputError(f"--kind {kind}: is no prior; give {', '.join(get_args(Kind))}")
    source = PRIORS.get(kind)
    if source is None:
        require_classifier(classifier, weights)
        source = partial(_cam, classifier=classifier, weights=weights, moving=kind == "motion-cam")
    folder = Path(folder)
    settings: dict[str, Any] = {"kind": kind}
    settings |= {"classifier": classifier, "weights": str(weights)} if kind in CLASSIFIED else {}
    settings |= {"refine": refinement, "binary": binary} if binary or refinement != "none" else {}
    _check_folder(folder, settings, overwrite)
    if not videos:
        return 0
    for video in videos:
        inside(folder, video.name)
    with atomic_path(folder / SETTINGS) as temporary:
        temporary.write_text(json.dumps(settings) + "\n")
    task = partial(
        _cache_video, folder=folder, source=source, stride=stride, refinement=refinement, binary=binary, anew=overwrite
    )
    workers = min(workers or len(os.sched_getaffinity(0)), len(videos))
    return sum(track(_map(task, videos, workers), f"{kind} prior", total=len(videos)))


def require_classifier(classifier: str, weights: Path | None) -> None:
    """Checks, before any work starts, that the classifier for class activation maps can be opened.

    Raises:
        InputError: the classifier or its weights are missing or not usable.
    """
    from mug.networks.classifier import open_classifier

    open_classifier(classifier, weights)


def _map(task: partial[int], videos: Sequence[Video], workers: int) -> Iterator[int]:
    if workers <= 1:
        yield from map(task, videos)
        return
    # processes are spawned, as the threads or GPU state of the caller would not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_one_thread) as pool:
        jobs = [pool.submit(task, video) for video in sorted(videos, key=len, reverse=True)]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    follow_parent()
    os.environ["OMP_NUM_THREADS"] = "1"  # for torch, imported only by some priors
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(1)
    threadpool_limits(1)


def _cache_video(
    video: Video, folder: Path, source: Prior, stride: int, refinement: Refinement, binary: bool, anew: bool
) -> int:
    wanted = range(0, len(video), stride)
    files = [folder / video.name / f"{video.frame_names[i]}.png" for i in wanted]
    missing = {i for i, file in zip(wanted, files, strict=True) if anew or not file.is_file()}
    if not missing:
        return 0
    # the maps of a video depend on each other, so all are computed even if only some are missing
    for i, file, soft in zip(wanted, files, source(video, wanted), strict=True):
        if i in missing:
            if refinement != "none":
                soft = np.rint(255 * refine(video[i], soft / 255, refinement)).astype(np.uint8)
            write_soft(file, 255 * (soft >= 128).astype(np.uint8) if binary else soft)
    return len(missing)


def _cam(
    video: Video, wanted: Sequence[int] | None, classifier: str, weights: Path | None, moving: bool
) -> Iterator[np.ndarray]:
    from mug.networks.classifier import open_classifier
    from mug.priors.cam import cam_prior

    return cam_prior(video, wanted, open_classifier(classifier, weights), moving)


def require_binary(folder: Path) -> None:
    """Rejects soft maps written by `mug prior`.

    Raises:
        InputError: the maps are soft.
    """
    if not _settings_of(folder).get("binary", True):
        raise InputError(
            f"{folder}: holds soft maps and --bootstrap.binary_prior is on; make them with `mug prior --binary`, or "
            "give --no-bootstrap.binary_prior"
        )


def _settings_of(folder: Path) -> dict[str, Any]:
    """The settings that `mug prior` stored with the maps in a folder; empty if it did not write them."""
    try:
        found = parse_json((folder / SETTINGS).read_text())
    except (OSError, ValueError):
        return {}
    return {"binary": False} | found if isinstance(found, dict) else {}


def _check_folder(folder: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Rejects a folder that maps cannot be written to, or that has other contents."""
    check_output(folder, overwrite=True)
    file = folder / SETTINGS
    # listed first: another shard writes its settings before its maps
    holds = any(not is_hidden(name) for name in os.listdir(folder)) if folder.is_dir() else False
    if file.is_file() and not overwrite:
        try:
            found = parse_json(file.read_text())
        except ValueError:
            found = None
        if found != settings:
            raise InputError(f"{folder}: holds maps of another prior; choose another folder or add --overwrite")
    elif holds and not overwrite:
        raise InputError(f"{folder}: already holds something else; choose another folder or add --overwrite")

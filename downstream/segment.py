"""`mug segment`: finds and outlines the main object of a video, or its objects, without a mask given (Z-VOS)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from downstream.backbones.by_name import OURS, open_backbone, suited_temperature
from downstream.backbones.device import choose_device
from downstream.data.dataset import Kind
from downstream.data.kinds import open_videos
from downstream.instances.tracks import Carrier, InstanceConfig, Instances
from downstream.one_shot.motion import whole_video
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import PRESETS, check_temperature
from downstream.systems.agnn import GraphConfig, as_trained, segment_by_graph
from downstream.zero_shot.main_object import ZeroShotConfig, check_config, segment_video, segment_video_by
from mug.checkpoint import load_weights
from mug.errors import InputError
from mug.media.files import prepare_output
from mug.media.masks import write_mask, write_soft
from mug.media.overlay import OverlayWriter
from mug.media.refine import Refinement, refine, require_crf
from mug.media.video import Video
from mug.run.progress import track
from mug.run.several import Several

ASIDE = ("raw", "soft")
"""Folders of OUT that hold what else is kept, sequence by sequence; no video may be called so."""


@dataclass
class SegmentOptions(ZeroShotConfig):
    """What `mug segment` is asked to do."""

    videos: Path = field(kw_only=True)
    """A video, a folder of videos, or the root of a dataset (DAVIS, YouTube-VOS, FBMS-59, ...); no mask is read."""
    out: Path = field(kw_only=True)
    """Folder for the results: OUT/<sequence>/<frame>.png."""
    dataset: Kind | None = None
    """Which dataset `videos` is; recognised by its layout when not given."""
    split: str | None = None
    """The part of that dataset (`2017/val`, `test`)."""
    system: Literal["mug", "agnn"] = "mug"
    """What finds the object: MuG by itself, or AGNN as `mug finetune agnn` trained it."""
    backbone: str = OURS
    """What the adapted mode reads of a frame, and instances are carried by: `mug`, or another as `mug propagate` takes
    them (`torchvision:resnet18:layer3`)."""
    weights: Path | None = None
    """Weights of the system or the backbone; MuG's that come with the package when not given."""
    temperature: float | None = None
    """Of matching, where the adapted mode carries masks; when not given, what MuG's weights say suits them, and of
    another backbone 0.05 (`mug calibrate` tells)."""
    graph: GraphConfig = field(default_factory=GraphConfig)
    """How AGNN looks at a video."""
    instances: bool = False
    """Tell the objects apart: an id for each, the surest first, that stays with it through the video."""
    instance: InstanceConfig = field(default_factory=InstanceConfig)
    """How objects are told apart."""
    refine: Refinement = "none"
    """Sharpens the map by its frame before it is cut at 0.5: `guided` (fast), `crf` (extra `crf`) or `none`."""
    raw: bool = False
    """Keep the masks before refinement too, as OUT/raw/<sequence>/<frame>.png, so that both can be scored."""
    soft: bool = False
    """Keep the refined 8-bit maps too, as OUT/soft/<sequence>/<frame>.png."""
    overlay: bool = False
    """Write OUT/<sequence>.mp4 too, with the masks drawn over the frames."""
    overwrite: bool = False
    """Replace results that are there already."""
    device: str = "auto"
    """`cpu`, `cuda` or `auto`: a GPU where there is one."""


def segment(options: SegmentOptions) -> None:
    """Segments the main object of each video, or with `--instances` its objects (Z-VOS)."""
    device = choose_device(options.device)
    check_temperature(options.temperature)
    if options.refine == "crf":
        require_crf()
    videos = open_videos(options.videos, options.dataset, options.split)
    finder = find_by(options, device)
    split = Instances(options.instance, device, carrier_by(options, device)) if options.instances else None
    _check_overlays(videos, options)
    for folder in _folders(videos, options):  # every folder is looked at before the first is written to
        prepare_output(folder, options.overwrite)
    several = Several(len(videos))
    for video in videos:
        with several.attempt(video.name):
            maps = _refined(video, finder(video), options)
            masks = split(video, maps) if split else (_mask(map_hw) for map_hw in maps)
            _write(video, masks, options)
    several.finish()


def find_by(options: SegmentOptions, device: torch.device) -> Callable[[Video], Iterator[np.ndarray]]:
    """What gives the foreground probability (H, W) of each frame of a video.

    Raises:
        InputError: weights or settings that cannot be used.
    """
    if options.backbone != OURS:
        return find_by_backbone(options, device)
    if options.system == "mug":
        check_config(options)
        mug, metadata = load_weights(options.weights)
        mug = mug.to(device).eval()
        temperature = options.temperature or suited_temperature(mug, metadata)
        return lambda video: segment_video(video, mug, options, temperature)
    from agnn_head.checkpoint import load_weights as load_agnn

    graph = options.graph
    graph.check()
    if options.weights is None:
        raise InputError("--system agnn: no weights come with the package; give --weights of `mug finetune agnn`")
    agnn, metadata = load_agnn(options.weights)
    agnn = agnn.to(device).eval()
    graph = as_trained(graph, metadata)
    return lambda video: segment_by_graph(video, agnn, graph)


def find_by_backbone(options: SegmentOptions, device: torch.device) -> Callable[[Video], Iterator[np.ndarray]]:
    """The same by MuG's adapted mode on the features of another backbone.

    Raises:
        InputError: a backbone, weights or settings that cannot be used.
    """
    if options.system != "mug":
        raise InputError(f"--backbone {options.backbone}: goes with --system mug; AGNN brings its own")
    if options.mode != "adapted":
        raise InputError(f"--mode {options.mode}: is MuG's own readout; another --backbone goes with --mode adapted")
    check_config(options)
    extract, _ = open_backbone(options.backbone, options.weights, device, PRESETS["mug"].stride)
    temperature = options.temperature or PRESETS["mug"].temperature
    return lambda video: segment_video_by(video, extract, device, options, temperature)


def carrier_by(options: SegmentOptions, device: torch.device) -> Carrier | None:
    """O-VOS by the backbone's features, where the options ask for it.

    Raises:
        InputError: weights that cannot be used.
    """
    if not options.instance.propagate:
        return None
    # AGNN's weights have no matching head of their own
    weights = options.weights if options.system == "mug" else None
    config = PRESETS["mug"]
    extract, temperature = open_backbone(options.backbone, weights, device, config.stride)
    config = replace(config, temperature=temperature or config.temperature)

    def carry(video: Video, first: np.ndarray) -> Iterator[np.ndarray]:
        propagator = Propagator(extract, config, device, whole_video(video))
        for index, frame in enumerate(video):
            yield propagator.step(frame, None if index else first)

    return carry


def _folders(videos: Iterable[Video], options: SegmentOptions) -> list[Path]:
    roots = [options.out, *(options.out / aside for aside in ASIDE if getattr(options, aside))]
    names = [video.name for video in videos]
    for name in set(names) & set(ASIDE):
        raise InputError(f"{options.videos}: a video called {name!r} would mix with other results; rename it")
    return [root / name for root in roots for name in names]


def _check_overlays(videos: Iterable[Video], options: SegmentOptions) -> None:
    for video in videos if options.overlay and not options.overwrite else ():
        if _movie(video, options).exists():
            raise InputError(f"{_movie(video, options)}: is there already; choose another folder or add --overwrite")


def _movie(video: Video, options: SegmentOptions) -> Path:
    return options.out / f"{video.name}.mp4"


def _refined(video: Video, found: Iterator[np.ndarray], options: SegmentOptions) -> Iterator[np.ndarray]:
    """The refined object-level maps; what else of them is kept is written on the way."""
    maps = track(found, video.name, len(video))
    for name, frame, map_hw in zip(video.frame_names, video, maps, strict=True):
        refined = refine(frame, map_hw, options.refine)
        if options.raw:
            write_mask(options.out / "raw" / video.name / f"{name}.png", _mask(map_hw))
        if options.soft:
            write_soft(options.out / "soft" / video.name / f"{name}.png", np.rint(refined * 255).astype(np.uint8))
        yield refined


def _write(video: Video, masks: Iterator[np.ndarray], options: SegmentOptions) -> None:
    with ExitStack() as stack:
        writer = None
        if options.overlay:
            writer = stack.enter_context(OverlayWriter(_movie(video, options), video.fps, video.size))
        for name, frame, mask in zip(video.frame_names, video, masks, strict=True):
            write_mask(options.out / video.name / f"{name}.png", mask)
            if writer is not None:
                writer.write(frame, mask)


def _mask(map_hw: np.ndarray) -> np.ndarray:
    return (map_hw > 0.5).astype(np.uint8)

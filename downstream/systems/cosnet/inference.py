"""Z-VOS with COSNet: every frame in the light of reference frames of its video (COSNet Sec. 3.3, Eq. 13)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from downstream.systems.base import ZeroShot
from downstream.systems.cosnet import COSNetSegmentOptions, ReferenceConfig
from downstream.systems.cosnet.network import FORMAT, COSNet
from downstream.systems.trained import PAPER_SIDE, as_trained, opened
from downstream.zero_shot.in_order import in_order, square
from mug.media.video import Video


def open_zero_shot(options: COSNetSegmentOptions, device: torch.device) -> ZeroShot:
    """Opens COSNet with weights of `mug finetune cosnet` or `mug convert cosnet`.

    Raises:
        InputError: the weights or settings cannot be used.
    """
    options.reference.check()
    network, metadata = opened(FORMAT, options.weights, device)
    config = as_trained(options.reference, metadata)
    return ZeroShot(lambda video: segment_by_references(video, network, config), crf="cosnet")


def segment_by_references(video: Video, network: COSNet, config: ReferenceConfig | None = None) -> Iterator[np.ndarray]:
    """Foreground probability of each frame, in order, shifted so that the threshold for this video is 0.5.

    Each frame is embedded once. Embeddings of at most N + 1 frames are kept, and maps are buffered on disk, so memory
    does not grow with the video.

    Args:
        video: As for `downstream.systems.base.ZeroShot`, which also says what is yielded.
        network: The network in evaluation mode, on its device.
        config: Inference options; None: the defaults.

    Raises:
        InputError: a frame cannot be read, or a setting is out of range.
    """
    config = config or ReferenceConfig()
    config.check()
    yield from in_order(video, enumerate(_maps(video, network, config)), config.cut)


def references(frames: int, config: ReferenceConfig, name: str = "") -> Callable[[int], list[int]]:
    """Maps a frame's number to those of its references, N or all if the video has fewer frames.

    Uniform and random references are the same for all frames of a video, so each of them reads itself as well. A
    neighbour is never the frame itself, unless it is the only one.

    Args:
        frames: Length of the video.
        config: N and the sampling.
        name: Name of the video, a seed of random sampling.

    >>> references(100, ReferenceConfig(count=5))(7)
    [10, 30, 50, 70, 90]
    >>> references(100, ReferenceConfig(count=4, sampling="consecutive"))(7)
    [5, 6, 8, 9]
    """
    count = min(config.count, frames)
    if config.sampling == "consecutive":
        window = min(config.count + 1, frames)

        def neighbours(t: int) -> list[int]:
            start = min(max(t - window // 2, 0), frames - window)
            return [n for n in range(start, start + window) if n != t] or [t]

        return neighbours
    if config.sampling == "uniform":
        chosen = [(2 * k + 1) * frames // (2 * count) for k in range(count)]
    else:
        rng = np.random.default_rng([config.seed, zlib.crc32(name.encode())])
        chosen = sorted(int(n) for n in rng.choice(frames, count, replace=False))
    return lambda t: chosen


@torch.inference_mode()
def _maps(video: Video, network: COSNet, config: ReferenceConfig) -> Iterator[np.ndarray]:
    """Foreground probability (h, w) float16 of each frame."""
    side = config.side or PAPER_SIDE
    device = next(network.parameters()).device
    alone = network.co_attention is None
    choose = references(len(video), config, video.name)
    kept: dict[int, Tensor] = {}
    for t in range(len(video)):
        chosen = [t] if alone else choose(t)
        kept = {
            n: kept[n] if n in kept else network.embed(square(video[n], side)[None].to(device).float() / 255)
            for n in sorted({t, *chosen})
        }
        others_nchw = torch.cat([kept[n] for n in chosen])
        map_hw = network.probability(kept[t][0], others_nchw, config.fusion == "prediction")
        yield map_hw.half().cpu().numpy()

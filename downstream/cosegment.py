"""`mug cosegment`: masks of the object that the images of a group share (AGNN Sec. 4.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.backbones.device import choose_device
from downstream.data.groups import Group, find_groups
from downstream.options import CosegmentOptions
from downstream.systems.trained import is_calibrated, trained_side
from downstream.zero_shot.cut import expected_cut
from mug.errors import InputError
from mug.frames import to_tensor
from mug.media.results import FREE_KEYS, Results
from mug.run.progress import track
from mug.run.settings import settings_of
from mug.run.shard import shard_of


class GraphNetwork(Protocol):
    """Interface of the network: AGNN, or any network that passes messages between the images of a graph."""

    def embed(self, frames_bchw: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> v (B, C, h, w)."""

    def propagate(self, v_bnchw: Tensor, state_bnchw: Tensor | None = None) -> Tensor:
        """Passes messages between N nodes, starting from `state`; returns their new states."""

    def read(self, h_bnchw: Tensor, v_bnchw: Tensor) -> Tensor:
        """States and embeddings -> logits (B, N, 1, h, w)."""


def cosegment(options: CosegmentOptions) -> None:
    """Segments the object that the images of each group share."""
    _check(options)
    device = choose_device(options.device)
    # every image is compared with all others of its group
    groups = shard_of(options.shard).share(
        find_groups(options.images, options.split), lambda group: len(group) ** 2, "groups"
    )
    if not groups:
        return
    from agnn_head.checkpoint import load_weights

    model, metadata = load_weights(options.weights)
    side = options.size or trained_side(metadata)
    for group in groups:
        if (options.out / group.name).resolve() == group.images[0].parent.resolve():
            raise InputError(f"{options.out / group.name}: holds the images; choose another folder for --out")
    results = Results(
        options.out,
        [group.name for group in groups],
        settings_of(options, (*FREE_KEYS, "batch", "memory")),
        overwrite=options.overwrite,
        resume=options.resume,
    )
    model = model.to(device).eval()
    for group in groups:
        if group.name in results.finished:
            continue
        v_nchw, sizes = embed_group(group, model, side, device, options.memory)
        found = cosegment_group(v_nchw, model, options.nodes, options.batch, device)
        logits_nhw = torch.stack(list(track(found, f"{group.name}: segmenting", len(group)))).cpu()
        cut = expected_cut(logits_nhw.sigmoid().numpy()) if is_calibrated(metadata) else 0.5
        with results.sequence(group.name):
            for path, size, logits_hw in zip(group.images, sizes, logits_nhw - math.log(cut / (1 - cut)), strict=True):
                results.write_mask(group.name, path.stem, to_mask(logits_hw, size))


@torch.inference_mode()
def embed_group(
    group: Group, model: GraphNetwork, size: int, device: torch.device, memory: float
) -> tuple[Tensor, list[tuple[int, int]]]:
    """Embeds each image of a group once, resized to a square.

    Returns:
        v (N, C, h, w) in half precision on the CPU, 2 C h w bytes per image: 1.8 MB for 256 channels at stride 8 and
        473 x 473 pixels, 2.4 GB for the 1,306 cars of the Internet images; and the original height and width of each
        image.

    Raises:
        InputError: an image cannot be read, or the embeddings would need more than `memory` GiB.
    """
    v_nchw, sizes = torch.empty(0), []
    for index in track(range(len(group)), f"{group.name}: reading"):
        image = group.image(index)
        sizes.append((image.shape[0], image.shape[1]))
        shrinks = max(sizes[-1]) > size
        square = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        frame_bchw = to_tensor(square, device=device)
        v_chw = model.embed(frame_bchw)[0]
        if index == 0:
            _check_memory(group, 2 * v_chw.numel() * len(group), memory)
            v_nchw = torch.empty(len(group), *v_chw.shape, dtype=torch.float16)
        v_nchw[index] = v_chw
    return v_nchw, sizes


@torch.inference_mode()
def cosegment_group(
    v_nchw: Tensor, model: GraphNetwork, nodes: int, batch: int, device: torch.device
) -> Iterator[Tensor]:
    """Logits (h, w) of the shared object in each image of a group, in order (AGNN Sec. 4.2.1).

    The other N - 1 images are split into T = ceil((N - 1) / (N' - 1)) subsets: subset t holds those at positions t,
    t + T, ..., so subset sizes differ by at most one. Each subset in turn forms a graph with the image. The image's
    state is passed on to the next graph, while the others start from their embeddings; its last state is read out.

    Args:
        v_nchw: Embeddings of the N images.
        model: The network.
        nodes: N', images per graph; 1 segments each image by itself, as does a group of one image.
        batch: Images segmented at a time; the result does not depend on it.
        device: Device of the model.
    """
    for start in range(0, len(v_nchw), batch):
        chosen = range(start, min(start + batch, len(v_nchw)))
        own_b1chw = _take(v_nchw, [[i] for i in chosen], device)
        state_b1chw = own_b1chw
        for step in zip(*(subsets(i, len(v_nchw), nodes) for i in chosen), strict=True):
            others = _take(v_nchw, step, device)
            v_bnchw = torch.cat([own_b1chw, others], 1)
            state_b1chw = model.propagate(v_bnchw, torch.cat([state_b1chw, others], 1))[:, :1]
        yield from model.read(state_b1chw, own_b1chw)[:, 0, 0].float()


def subsets(index: int, count: int, nodes: int) -> list[list[int]]:
    """Subsets of the other images for image `index` of `count`, in graphs of at most `nodes`; one empty subset if none.

    >>> subsets(2, 6, 3)
    [[0, 4], [1, 5], [3]]
    """
    others = [other for other in range(count) if other != index]
    if nodes == 1 or not others:
        return [[]]
    steps = -(-len(others) // (nodes - 1))
    return [others[step::steps] for step in range(steps)]


def to_mask(logits_hw: Tensor, size: tuple[int, int]) -> np.ndarray:
    """HW uint8 mask, 0 or 1, at the given height and width."""
    logits = F.interpolate(logits_hw[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    return (logits > 0).to(torch.uint8).numpy()


def _take(v_nchw: Tensor, indices: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Embeddings (B, M, C, h, w), in single precision, of M images for each of B graphs."""
    chosen = torch.tensor([list(row) for row in indices], dtype=torch.long)
    return v_nchw[chosen].to(device).float()


def _check_memory(group: Group, needed: int, memory: float) -> None:
    if needed > memory * 2**30:
        raise InputError(
            f"{group.images[0].parent}: the embeddings of {len(group)} images of {group.name} take "
            f"{needed / 2**30:.2g} GiB; allow more with --memory or choose a smaller --size"
        )


def _check(options: CosegmentOptions) -> None:
    for name, least in (("nodes", 1), ("size", 32), ("batch", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise InputError(f"--{name} {getattr(options, name)}: must be at least {least}")
    if not options.memory > 0:
        raise InputError(f"--memory {options.memory}: must be above 0, in GiB")

"""Z-VOS and O-VOS with RVOS: frame by frame, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.systems.base import Masks, OneShot, ZeroShot
from downstream.systems.rvos import InputConfig, RVOSPropagateOptions, RVOSSegmentOptions
from downstream.systems.rvos.network import FORMAT, RVOS, Decoded, enlarge
from downstream.systems.trained import opened, trained_shape
from mug.errors import InputError
from mug.frames import to_tensor
from mug.media.masks import ids_of, with_given
from mug.media.video import Video

PAPER_SHAPE = (256, 448)
"""Height and width in pixels of the network input (RVOS Sec. 4)."""


def open_zero_shot(options: RVOSSegmentOptions, device: torch.device) -> ZeroShot:
    """Opens RVOS with weights for zero-shot.

    Raises:
        InputError: the weights or settings cannot be used.
    """
    options.check()
    network, shape = _opened(options.weights, options, "zero-shot", device)
    find = partial(segment, network=network, shape=shape, most=options.objects, stop=options.stop)

    def maps(video: Video) -> Iterator[np.ndarray]:
        return (likely for likely, _ in find(video))

    def ids(video: Video) -> Iterator[np.ndarray]:
        return (mask for _, mask in find(video))

    return ZeroShot(maps, tell_apart=ids, live=True)


def open_one_shot(options: RVOSPropagateOptions, device: torch.device) -> OneShot:
    """Opens RVOS with weights for one-shot.

    Raises:
        InputError: the weights or settings cannot be used.
    """
    options.check()
    network, shape = _opened(options.weights, options, "one-shot", device)
    return partial(carry, network=network, shape=shape)


def _opened(path: Path | None, config: InputConfig, task: str, device: torch.device) -> tuple[RVOS, tuple[int, int]]:
    """The network in evaluation mode, and the height and width of its input."""
    network, metadata = opened(FORMAT, path, device)
    if network.config.task != task:
        raise InputError(
            f"{path}: is for the task {network.config.task}; give weights of `mug finetune rvos --model.task {task}`"
        )
    height, width = trained_shape(metadata, PAPER_SHAPE)
    return network, (config.size or height, config.width or width)


@torch.inference_mode()
def segment(
    video: Video, network: RVOS, shape: tuple[int, int], most: int, stop: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Finds up to `most` objects in each frame; prediction i is object i + 1 throughout the video.

    The objects of a frame are the predictions before the first whose stop score is below `stop`; weights without stop
    scores keep all. The recurrent states of all `most` predictions go on to the next frame.

    Yields:
        Of each frame, in order: the foreground probability (H, W) float32, the highest of its objects; and the mask
        (H, W) uint8 of the most probable object where that is above 0.5, else 0.
    """
    hidden: Sequence[Tensor] | None = None
    for frame in video:
        found = network.decode(_see(network, frame, shape), shape, most, hidden)
        hidden = found.hidden
        best, which = strongest(found.logits[0, : _kept(found, stop)], video.size)
        yield best.sigmoid().cpu().numpy(), torch.where(best > 0, which + 1, 0).byte().cpu().numpy()


@torch.inference_mode()
def carry(video: Video, given: Masks, network: RVOS, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Propagates given masks; see `downstream.systems.base.OneShot`.

    S is the given mask for the frame that it belongs to and the next, then the own prediction for each object, soft and
    regardless of the other objects. Objects that are given later are appended to the order of the objects; those given
    again begin anew from the new mask.
    """
    ids: list[int] = []
    hidden: Sequence[Tensor] | None = None
    masks_1nhw = next(network.parameters()).new_zeros(1, 0, *shape)
    for name, frame in zip(video.frame_names, video, strict=True):
        mask = given.get(name)
        told = [] if mask is None else ids_of(mask)
        new = [i for i in told if i not in ids]
        ids += new
        if not ids:  # there is nothing to find before the first mask
            yield np.zeros(video.size, np.uint8)
            continue
        places = [ids.index(i) for i in told]
        masks_1nhw = F.pad(masks_1nhw, (0, 0, 0, 0, 0, len(new)))
        if mask is not None and told:
            masks_1nhw[0, places] = _planes(mask, told, shape).to(masks_1nhw)
        found = network.decode(_see(network, frame, shape), shape, len(ids), hidden, masks_1nhw)
        hidden = found.hidden
        previous_1nhw, masks_1nhw = masks_1nhw, found.logits.sigmoid()
        masks_1nhw[0, places] = previous_1nhw[0, places]
        best, which = strongest(found.logits[0], video.size)
        carried = np.array([0, *ids], np.uint8)[torch.where(best > 0, which + 1, 0).cpu().numpy()]
        yield carried if mask is None else with_given(carried, mask)


def strongest(logits_nhw: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The highest logit of any object at each pixel of a size, and the index of that object.

    Objects are resized one at a time, so memory does not grow with their number.

    Args:
        logits_nhw: (n, h, w); n may be 0.
        size: H, W.

    Returns:
        (H, W) float, -infinity without objects; and (H, W) int64.
    """
    best = logits_nhw.new_full(size, -torch.inf)
    which = torch.zeros(size, dtype=torch.int64, device=best.device)
    for i, logits_hw in enumerate(logits_nhw):
        full_hw = enlarge(logits_hw[None, None], size)[0, 0]
        which[full_hw > best] = i
        best = torch.maximum(best, full_hw)
    return best, which


def _see(network: RVOS, frame: np.ndarray, shape: tuple[int, int]) -> list[Tensor]:
    device = next(network.parameters()).device
    return network.see(to_tensor(cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_AREA), device=device))


def _planes(mask: np.ndarray, ids: Sequence[int], shape: tuple[int, int]) -> Tensor:
    """The masks (n, h, w) bool of objects in a mask (H, W) uint8, resized as in training."""
    small = torch.from_numpy(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST))
    return small == torch.tensor(ids, dtype=torch.uint8)[:, None, None]


def _kept(found: Decoded, stop: float) -> int:
    """Number of predictions before the first whose stop score is below `stop`."""
    if found.stops is None:
        return found.logits.shape[1]
    return int((found.stops[0].sigmoid() >= stop).cumprod(0).sum())

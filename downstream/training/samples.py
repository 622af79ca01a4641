"""Training samples of a head: N' frames of a video or N' images of a group, with random crops and colour jitter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from downstream.backbones.lattice import EVEN, Lattice
from downstream.training.annotated import Annotated, merged
from downstream.training.flows import Flow, Flows, in_colours
from downstream.training.options import DEFAULT_CLIP, Clip, SampleOptions
from mug.errors import InputError
from mug.media.masks import VOID
from mug.run.optimise import Key


class Samples(Dataset[dict[str, Any]]):
    """Maps a key (_, s, i) to sample i of step s, determined by the key and the seed alone.

    With still images, even steps use them and odd steps videos (AGNN Sec. 4.1.1); otherwise all steps use videos. All
    videos are used about equally often.

    Args:
        sources: Videos or groups.
        stills: Still images.
        options: Sampling options.
        seed: Seed of the run.
        clip: Which frames make a sample.
        flows: The optical flow, for a clip that has it.
    """

    def __init__(
        self,
        sources: Sequence[Annotated],
        stills: Sequence[Annotated],
        options: SampleOptions,
        seed: int,
        clip: Clip = DEFAULT_CLIP,
        flows: Flows | None = None,
    ) -> None:
        self.sources, self.stills, self.options, self.seed, self.clip = sources, stills, options, seed, clip
        self.flows = flows
        self._change = changes(options)

    def shows_stills(self, step: int) -> bool:
        """Whether a step uses still images, which train the embedding alone."""
        return bool(self.stills) and step % 2 == 0

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """Frames uint8 (N', 3, H, W), masks uint8 (N', H, W) with 255 void, and the name of the video.

        With flows also `flow`, uint8 (N' - 1, 3, H, W): from each frame to the next, in colours.
        """
        _, step, i = key
        rng = np.random.default_rng([self.seed, step, i])
        if self.shows_stills(step):
            source = self.stills[int(rng.integers(len(self.stills)))]
            chosen = rng.integers(len(source), size=self.options.nodes)
        else:
            source = self.source(step, i)
            chosen = draw_nodes(source, self.options.nodes, rng, self.clip)
        read = [source.read(int(n), self.options.size) for n in chosen]
        if source.alike and len({mask.shape for _, mask in read}) > 1:
            raise InputError(f"{source.name}: its frames differ in size; make all frames of the sequence one size")
        if not self.clip.objects:
            read = [(frame, merged(mask)) for frame, mask in read]
        parts = [read] if source.alike else [[pair] for pair in read]
        flows = [self.flows.read(source, int(a), int(b)) for a, b in pairwise(chosen)] if self.flows else []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            # slightly larger than needed, so that crops stay sharp
            shape = [round(1.125 * side) for side in self.options.shape]
            beside = [v2.functional.resize(Flow(torch.stack(flows)), shape)] if flows else []
            changed = [self._change(*as_tensors(part, shape), *beside) for part in parts]
        frames, masks, *beside = (torch.cat(list(all_of_it)) for all_of_it in zip(*changed, strict=True))
        sample = {"frames": frames, "masks": masks, "name": source.name}
        return sample | ({"flow": in_colours(beside[0])} if beside else {})

    def source(self, step: int, i: int) -> Annotated:
        """The video of sample i of a step: steps run through random permutations of all videos."""
        place = (step // 2 if self.stills else step) * self.options.videos + i
        lap, at = divmod(place, len(self.sources))
        order = np.random.default_rng([self.seed, lap, 2**32 - 1]).permutation(len(self.sources))
        return self.sources[int(order[at])]


def draw_nodes(source: Annotated, nodes: int, rng: np.random.Generator, clip: Clip = DEFAULT_CLIP) -> np.ndarray:
    """(N',) indices of the frames of a sample: by `clip` of a video, or any N' images of a group.

    With `spread` it is one frame of each of N' equal segments (AGNN Sec. 3.3). Frames repeat if there are too few.
    """
    length = len(source)
    if not source.alike or clip.choose == "any":
        return rng.choice(length, nodes, replace=nodes > length)
    if clip.choose == "successive":
        widest = max(1, (length - 1) // max(nodes - 1, 1))
        gap = int(rng.integers(1, min(clip.gap, widest) + 1))
        start = int(rng.integers(max(1, length - gap * (nodes - 1))))
        return np.minimum(start + gap * np.arange(nodes), length - 1)
    starts = [k * length // nodes for k in range(nodes + 1)]
    return np.array([rng.integers(a, max(b, a + 1)) for a, b in pairwise(starts)])


def changes(options: SampleOptions) -> v2.Transform:
    """The random augmentation; frames passed together get the same one."""
    height, width = options.shape
    stretch, jitter = width / height, options.jitter
    ratio = (stretch / options.aspect, stretch * options.aspect)
    outside: Any = {tv_tensors.Mask: VOID, "others": 0}
    turn = [v2.RandomRotation(options.turn, InterpolationMode.BILINEAR, fill=outside)] if options.turn else []
    return v2.Compose([
        *turn,
        v2.RandomResizedCrop(
            (height, width), scale=(options.crop, 1.0), ratio=ratio, interpolation=InterpolationMode.BILINEAR
        ),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(jitter, jitter, jitter, options.hue),
    ])  # fmt: skip


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collates samples: a batch (B, ...) of each of their tensors, and B names."""
    tensors = [name for name, x in samples[0].items() if isinstance(x, Tensor)]
    out: dict[str, Any] = {name: torch.stack([s[name] for s in samples]) for name in tensors}
    return out | {"names": [s["name"] for s in samples]}


def grid_target(masks_nhw: Tensor, size: tuple[int, int], over: Lattice = EVEN) -> Tensor:
    """Masks uint8 (N, H, W) -> (N, h, w): share of foreground among a cell's non-void pixels, NaN if all are void."""
    known, there = (over.shrink(x[:, None].float(), size)[:, 0] for x in (masks_nhw != VOID, masks_nhw == 1))
    return there / known  # 0 / 0 = NaN where all is void


def overlap(found_nhw: Tensor, truth_nhw: Tensor) -> Tensor:
    """Mean J of masks (bool) on a grid, ignoring cells whose truth is NaN; 1 if both masks are empty."""
    known = ~truth_nhw.isnan()
    found, there = found_nhw & known, (truth_nhw > 0.5) & known
    both, either = (found & there).sum((1, 2)), (found | there).sum((1, 2))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean()


def as_tensors(pairs: Sequence[tuple[np.ndarray, np.ndarray]], shape: list[int]) -> tuple[Tensor, Tensor]:
    """Frames and masks of one size, resized to a height and width: uint8 (N, 3, H, W) and (N, H, W)."""
    frames = torch.stack([torch.from_numpy(frame).permute(2, 0, 1) for frame, _ in pairs])
    masks = torch.stack([torch.from_numpy(mask) for _, mask in pairs])
    frames = v2.functional.resize(frames, shape, antialias=True)
    masks = v2.functional.resize(masks[:, None], shape, InterpolationMode.NEAREST)[:, 0]
    return tv_tensors.Image(frames), tv_tensors.Mask(masks)

"""Refining the readout on the very video it looks at, without a label (MuG Eq. 15, carried to test time).

A motion prior is right about a video more often than about any frame of it: it misses what rests for a moment and
fires on what moves beside the object. Three things about a video mend that, and none of them needs a label:

- the object stays: evidence is *carried* along the optical flow from both ends of the video, as far as the flow there
  and back agrees, so that a frame that shows little is filled from those that show more;
- the object is one: what lies apart from the main part of a frame, and is small beside it, is held for clutter;
- the object looks alike: small *readouts* are fitted to that evidence, on what phi sees (r and the trained readout's
  own answer), on colour and on place, and asked again; a fit over the whole video averages the noise of its frames.
  Their log odds join those of the evidence, and the sum is the target of the next round;
- the object has an outline: the map of a video is cut not at 0.5 but close to it, where moving the cut changes the mask
  least and the outline runs along edges of the frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.backbones.colour import colours
from downstream.backbones.lattice import Lattice
from mug.priors import PRIORS, Prior

if TYPE_CHECKING:
    from downstream.zero_shot.sight import Sight

CERTAINTY = 0.01
"""Probabilities are held within [CERTAINTY, 1 - CERTAINTY] wherever their log odds are added."""
CUTS = np.linspace(0.2, 0.8, 13)
"""Where the map of a video may be cut; the middle one is 0.5."""
OUTLINE_STRIDE = 4
"""Of so many frames one is looked at to see how well an outline fits."""
EDGE_BLUR = 2.0
"""Width, in pixels at the size phi sees, of the blur before edges are taken."""
DROPPED = 0.4
"""What is left of the probability of clutter: not foreground, but the flow may bring it back."""
AGREEMENT_PX = 1.0
"""Pixels, at the size phi sees, that flow there and back may miss by."""
PLACE_UNIT = 0.25
"""Place is measured from the middle of the evidence, in this share of the frame's height."""
BATCH = 2048
"""Pixels of one gradient step."""
PHI_CHANNELS = 32
"""Directions of r, those along which it varies most in this video, that a readout sees."""


@dataclass(frozen=True)
class AdaptConfig:
    """How the readout is refined on a video."""

    stretch: int = 128
    """Frames worked off together at most: bounds memory in long videos."""
    rounds: int = 2
    """How often the readouts are fitted to evidence and asked for new one."""
    fresh: float = 0.07
    """What a frame's own evidence counts against what the flow brings from its neighbours."""
    clutter: float = 0.4
    """Parts of a frame's foreground with less than this share of the largest part's evidence are dropped."""
    trust: float = 0.25
    """What the readouts' log odds count against those of the evidence carried."""
    leeway: float = 1.5
    """By what factor the area of the foreground may differ from that of the evidence cut at 0.5."""
    steps: int = 100
    """Gradient steps of a fit."""
    samples: int = 20_000
    """Pixels of the video that a fit sees."""
    hidden: int = 32
    """Width of a readout's two hidden layers."""


def adapt(
    sight: Sight, config: AdaptConfig | None = None, prior: Prior = PRIORS["motion"]
) -> Iterator[tuple[range, np.ndarray]]:
    """Stretches of the video, in order, with (T, h, w) float32 foreground probability at the size that phi sees.

    Args:
        sight: The video, as phi sees it.
        config: The defaults when not given.
        prior: Gives the evidence to begin with.
    """
    config = config or AdaptConfig()
    for stretch in stretches(len(sight.video), config.stretch):
        yield stretch, foreground(watch(sight, stretch, prior), config)


def stretches(frames: int, longest: int) -> list[range]:
    """Cuts a video into parts of even length, none longer than `longest`.

    >>> stretches(250, 100)
    [range(0, 83), range(83, 166), range(166, 250)]
    """
    parts = -(-frames // longest)
    return [range(k * frames // parts, (k + 1) * frames // parts) for k in range(parts)]


@dataclass
class Watched:
    """All that is known of a stretch of T frames before anything is fitted to it."""

    frames: np.ndarray
    """(T, H, W, 3) uint8 RGB."""
    prior: np.ndarray
    """(T, H, W) float32 in [0, 1]."""
    ahead: np.ndarray
    """(T - 1, H, W, 2) float16: flow in pixels from each frame to the next."""
    back: np.ndarray
    """(T - 1, H, W, 2) float16: from each but the first to the one before."""
    phi: np.ndarray
    """(T, h, w, C) float16 on phi's grid: the main directions of r, and the log odds of the trained readout."""
    lattice: Lattice
    """Where the cells of that grid lie."""


def watch(sight: Sight, stretch: range, prior: Prior) -> Watched:
    """Reads a stretch of the video once: frames, prior, optical flow and what phi makes of them."""
    height, width = sight.size
    frames, r, read = [], [], []
    for index in stretch:
        frame = sight.video[index]
        r_bchw = sight.augmented(index, frame)
        r.append(r_bchw[0].half().cpu())
        read.append(log_odds(sight.read(r_bchw)))
        frames.append(sight.shrink(frame))
    maps = [cv2.resize(q, (width, height), interpolation=cv2.INTER_AREA) for q in prior(sight.video, stretch)]
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    phi = np.concatenate([principal(torch.stack(r)), np.stack(read)[..., None]], -1)
    return Watched(
        np.stack(frames),
        np.stack(maps).astype(np.float32) / 255,
        _flows(grey[:-1], grey[1:]),
        _flows(grey[1:], grey[:-1]),
        phi.astype(np.float16),
        sight.lattice,
    )


def foreground(watched: Watched, config: AdaptConfig) -> np.ndarray:
    """(T, H, W) float32 foreground probability: the rounds."""
    flow = Flow(watched)
    own = target = flow.carry(without_clutter(watched.prior, config.clutter), config.fresh)
    for round_ in range(config.rounds):
        share = float((own > 0.5).mean())
        views = (View(watched, None), View(watched, target))
        answers = sum(levelled(ask(fit(view, target, config, round_), view), share) for view in views) / len(views)
        target = probability(levelled(log_odds(own) + config.trust * answers, share))
    target = without_clutter(target, config.clutter)
    cut = best_cut(target, watched.frames, config.leeway)
    return probability(log_odds(target) - math.log(cut / (1 - cut))).astype(np.float32)


def levelled(odds_thw: np.ndarray, share: float) -> np.ndarray:
    """Log odds moved so that `share` of the video is foreground.

    A fit to noisy evidence is unsure everywhere, and of a small object surest that it is not there: what it knows is
    which pixel is likelier than which. How much foreground there is the evidence knows better.
    """
    if not 0 < share < 1:
        return odds_thw
    odds: np.ndarray = odds_thw - np.quantile(odds_thw[:, ::2, ::2], 1 - share).astype(np.float32)
    return odds


def best_cut(map_thw: np.ndarray, frames: np.ndarray, leeway: float) -> float:
    """Where to cut the maps of a video, one of CUTS.

    The cut is where the mask is steadiest (as in maximally stable extremal regions, Matas et al. 2002) and its outline
    strongest, by the least ratio of the change of area with the cut to the squared strength of the edges beneath the
    outline; among the cuts that give an area within a factor of `leeway` of that at 0.5.

    Args:
        map_thw: Foreground probability.
        frames: (T, H, W, 3) uint8 RGB.
        leeway: How far the area is allowed to stray.
    """
    area = np.array([(map_thw > cut).mean() for cut in CUTS])
    log_area = np.log(area + 1e-5)
    change = np.convolve(np.pad(-np.gradient(log_area, CUTS), 1, mode="edge"), (0.25, 0.5, 0.25), "valid")
    badness = (change + 1e-3) / (outline_strength(map_thw, frames) + 1e-6) ** 2
    middle = len(CUTS) // 2
    badness[np.abs(log_area - log_area[middle]) > math.log(leeway)] = np.inf
    return float(CUTS[badness.argmin()])


def outline_strength(map_thw: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mean strength of the frames' edges along the outline of the mask at each of CUTS."""
    total, length = np.zeros(len(CUTS)), np.zeros(len(CUTS))
    for map_hw, frame in zip(map_thw[::OUTLINE_STRIDE], frames[::OUTLINE_STRIDE], strict=True):
        strength = edges(frame)
        high, low = (change(map_hw, np.ones((3, 3), np.uint8)) for change in (cv2.dilate, cv2.erode))
        for at, cut in enumerate(CUTS):
            outline = (high > cut) & (low <= cut)
            total[at] += strength[outline].sum()
            length[at] += outline.sum()
    return total / np.maximum(length, 1)


def edges(frame: np.ndarray) -> np.ndarray:
    """(H, W) gradient of Lab colour, of its smoothed version."""
    lab = cv2.GaussianBlur(cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), EDGE_BLUR)
    steps = [cv2.Sobel(lab, -1, dx, 1 - dx, ksize=3) for dx in (0, 1)]
    return np.sqrt(sum(np.square(step).sum(-1) for step in steps))


# --- the object stays, and is one ------------------------------------------------------------------------------------


class Flow:
    """Optical flow through a stretch, and where it can be relied on."""

    def __init__(self, watched: Watched) -> None:
        self._ahead, self._back = watched.ahead, watched.back
        pairs = list(zip(self._ahead, self._back, strict=True))
        self._sure_ahead = [agreement(ahead, back) for ahead, back in pairs]
        self._sure_back = [agreement(back, ahead) for ahead, back in pairs]

    def carry(self, map_thw: np.ndarray, fresh: float) -> np.ndarray:
        """Averages maps along the flow, with weights that fall by 1 - `fresh` a frame, faster where flows disagree."""
        frames = range(len(map_thw))
        past = _sweep(map_thw, frames, self._back, self._sure_back, -1, 1 - fresh)
        future = _sweep(map_thw, frames[::-1], self._ahead, self._sure_ahead, 0, 1 - fresh)
        carried = [(a + b - m) / (v + w - 1) for m, (a, v), (b, w) in zip(map_thw, past, future[::-1], strict=True)]
        return np.stack(carried)


def _sweep(
    map_thw: np.ndarray, order: range, flows: np.ndarray, sure: list[np.ndarray], shift: int, decay: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weighted sums and their weights, in `order`; frame t's flow to the one before in the order is at t + shift."""
    sums: list[tuple[np.ndarray, np.ndarray]] = []
    for t in order:
        total, weight = map_thw[t], np.ones_like(map_thw[t])
        if sums:
            kept = decay * sure[t + shift]
            total = total + kept * warp(sums[-1][0], flows[t + shift])
            weight = weight + kept * warp(sums[-1][1], flows[t + shift])
        sums.append((total, weight))
    return sums


def agreement(flow_hw2: np.ndarray, back_hw2: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1]: whether going along the flow and back again ends where it began, within AGREEMENT_PX."""
    there = flow_hw2.astype(np.float32)
    returned = warp(back_hw2.astype(np.float32), there)
    return np.exp(-np.square(there + returned).sum(-1) / AGREEMENT_PX**2)


def warp(map_hw: np.ndarray, flow_hw2: np.ndarray) -> np.ndarray:
    """Reads a map (H, W) or (H, W, C) of another frame where the flow (px) of this one points to."""
    height, width = map_hw.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow_hw2[..., 0], y + flow_hw2[..., 1]
    return cv2.remap(map_hw, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def without_clutter(map_thw: np.ndarray, share: float) -> np.ndarray:
    """Lowers the parts of each frame's foreground whose evidence is under `share` of its largest part's."""
    out = map_thw.copy()
    for map_hw in out:
        count, part_hw = cv2.connectedComponents((map_hw > 0.5).astype(np.uint8))
        if count > 2:
            mass = np.bincount(part_hw.ravel(), map_hw.ravel(), count)
            minor = mass < share * mass[1:].max()
            minor[0] = False
            np.minimum(map_hw, DROPPED, out=map_hw, where=minor[part_hw])
    return out


def _flows(grey: list[np.ndarray], other: list[np.ndarray]) -> np.ndarray:
    """Optical flow (px) from frames to others, (T, H, W, 2) float16."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    fields = [_flow(method, a, b) for a, b in zip(grey, other, strict=True)]
    return np.stack(fields) if fields else np.zeros((0, 1, 1, 2), np.float16)


def _flow(method: cv2.DISOpticalFlow, grey: np.ndarray, other: np.ndarray) -> np.ndarray:
    if min(grey.shape) < 16:  # less than the method can build its coarsest level of
        return np.zeros((*grey.shape, 2), np.float16)
    return method.calc(grey, other, np.zeros((*grey.shape, 2), np.float32)).astype(np.float16)


# --- the object looks alike ------------------------------------------------------------------------------------------


class View:
    """What a readout sees of a stretch: colour alone, or colour, place and phi together."""

    def __init__(self, watched: Watched, evidence_thw: np.ndarray | None) -> None:
        self._watched = watched
        self._middles = None if evidence_thw is None else middles(evidence_thw)

    def __len__(self) -> int:
        return len(self._watched.frames)

    def __getitem__(self, t: int) -> np.ndarray:
        """(H, W, C) float32 of frame t."""
        seen = [colours(self._watched.frames[t])]
        if self._middles is not None:
            height, width = seen[0].shape[:2]
            seen.append(places((height, width), self._middles[t]))
            phi = torch.from_numpy(self._watched.phi[t].astype(np.float32)).permute(2, 0, 1)
            seen.append(self._watched.lattice.enlarge(phi[None], (height, width))[0].permute(1, 2, 0).numpy())
        return np.concatenate(seen, -1)


def places(size: tuple[int, int], middle: np.ndarray) -> np.ndarray:
    """(H, W, 5): place in the frame, and place and distance from the middle of the evidence."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = ((axis - m) / (PLACE_UNIT * height) for axis, m in zip((x, y), middle, strict=True))
    return np.stack([2 * x / width - 1, 2 * y / height - 1, dx, dy, np.hypot(dx, dy)], -1).astype(np.float32)


def middles(evidence_thw: np.ndarray, spread: float = 3.0) -> np.ndarray:
    """(T, 2): the (x, y) middle of the evidence in each frame, steadied over `spread` frames."""
    weight = np.square(evidence_thw, dtype=np.float64) + 1e-9
    total = weight.sum((1, 2))
    y, x = (np.arange(n) for n in evidence_thw.shape[1:])
    path = np.stack([weight.sum(1) @ x / total, weight.sum(2) @ y / total], -1)
    steady = cv2.GaussianBlur(path[:, None], (1, 0), 0.1, sigmaY=spread, borderType=cv2.BORDER_REPLICATE)
    return steady.reshape(-1, 2)


def principal(r_tchw: Tensor, channels: int = PHI_CHANNELS) -> np.ndarray:
    """(T, C, h, w) -> (T, h, w, channels): projections onto the main directions, each of unit variance."""
    flat = r_tchw.float().movedim(1, -1).flatten(0, 2)
    flat = flat - flat.mean(0)
    variance, directions = torch.linalg.eigh(flat.T @ flat / len(flat))
    variance, directions = variance[-channels:], directions[:, -channels:]
    flat = flat @ (directions * variance.clamp_min(1e-8).rsqrt())
    t, _, h, w = r_tchw.shape
    projected: np.ndarray = flat.view(t, h, w, -1).numpy()
    return projected


def fit(view: View, target_thw: np.ndarray, config: AdaptConfig, seed: int) -> nn.Module:
    """A small readout whose answer over the video comes closest to the evidence (MuG Eq. 15, P-bar the evidence)."""
    rng = np.random.default_rng(seed)
    each = -(-config.samples // len(view))
    x, y = [], []
    for t in range(len(view)):
        chosen = rng.integers(0, target_thw[t].size, each)
        x.append(view[t].reshape(target_thw[t].size, -1)[chosen])
        y.append(target_thw[t].ravel()[chosen])
    x_nc, y_n = torch.from_numpy(np.concatenate(x)), torch.from_numpy(np.concatenate(y))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = _readout(x_nc.shape[1], config.hidden)
        optimizer = torch.optim.AdamW(net.parameters(), 2e-2, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-2, total_steps=config.steps)
        for _ in range(config.steps):
            batch = torch.from_numpy(rng.integers(0, len(y_n), BATCH))
            loss = F.binary_cross_entropy_with_logits(net(x_nc[batch])[:, 0], y_n[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net


@torch.no_grad()
def ask(net: nn.Module, view: View) -> np.ndarray:
    """(T, H, W) log odds of the readout, held within the same bounds as all evidence."""
    bound = math.log(1 / CERTAINTY - 1)
    answers = []
    for t in range(len(view)):
        seen = torch.from_numpy(view[t])
        answers.append(net(seen.flatten(0, 1)).view(seen.shape[:2]).clamp(-bound, bound).numpy())
    return np.stack(answers)


def _readout(channels: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
    )


def log_odds(p: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) with p held off 0 and 1."""
    held = np.clip(p, CERTAINTY, 1 - CERTAINTY)
    return np.log(held / (1 - held))


def probability(odds: np.ndarray) -> np.ndarray:
    """The inverse of `log_odds`."""
    out: np.ndarray = 1 / (1 + np.exp(-odds))
    return out

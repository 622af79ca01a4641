"""MuG: phi and the four granularities that train it (MuG Sec. 3.1, 3.2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mug.backbone import Features, Phi
from mug.granularity.frame import FrameHead, frame_loss
from mug.granularity.long_term import Kappa, known_warp_loss, long_term_loss
from mug.granularity.shares import gradient_shares
from mug.granularity.short_term import Response, short_term_loss
from mug.granularity.video import Readout, aggregate, instance_loss
from mug.networks.hub import Pretrained
from mug.options import LossWeights, ModelConfig

CLIP_FRAMES = 3

LABELLED = ("clip", "abstract", "instance", "references")
"""The parts of a batch, in order, whose frames may have a label. Warped frames have none, as a known warp may reach
outside the frame, where nothing is known."""

TEMPERATURE = (0.05, 0.2)
"""Bounds of the learned temperature of the matching features: far below them, training fits pixel detail."""


@dataclass
class Batch:
    """N training videos, F = 3 + K + 1 + R + K frames of each, with labels and known warps."""

    frames: Tensor
    """(N, F, 3, S, S) in [0, 1]: a clip of 3, the abstract of K, one instance, its R references, K warped."""
    labels: Tensor
    """(N, 3 + K + 1 + R, h, w): targets of all but the warped frames on phi's grid (`mug.grid`), NaN where there is
    none."""
    patch: Tensor
    """(N, 2): (x, y) px of the top left corner of the patch tracked from the clip's first frame."""
    pair: Tensor
    """(N, 2): the two frames of the abstract that form the long-term pair, in random order."""
    warp: Tensor
    """(N, K, 2, 3): maps [-1, 1] coordinates of each of `warped` to those of the abstract's frame."""
    names: list[str] = field(default_factory=list)
    """Names of the videos, for messages."""

    @property
    def segments(self) -> int:
        """K, the frames of the abstract."""
        return self.warp.shape[1]

    @property
    def spans(self) -> dict[str, slice]:
        """Positions of the parts among the frames, by name; those of `LABELLED` are the same among the labels."""
        instance, warped = CLIP_FRAMES + self.segments, self.frames.shape[1] - self.segments
        edges = (0, CLIP_FRAMES, instance, instance + 1, warped, self.frames.shape[1])
        return dict(zip((*LABELLED, "warped"), itertools.starmap(slice, itertools.pairwise(edges)), strict=True))

    @property
    def clip(self) -> Tensor:
        """(N, 3, 3, S, S): three frames in temporal order."""
        return self.frames[:, self.spans["clip"]]

    @property
    def abstract(self) -> Tensor:
        """(N, K, 3, S, S): one frame from each of K segments."""
        return self.frames[:, self.spans["abstract"]]

    @property
    def instance(self) -> Tensor:
        """(N, 1, 3, S, S): a frame X^n of the video, not in the abstract."""
        return self.frames[:, self.spans["instance"]]

    @property
    def references(self) -> Tensor:
        """(N, R, 3, S, S): sources of global information for X^n; labelled if any frame is, and not in the abstract."""
        return self.frames[:, self.spans["references"]]

    @property
    def warped(self) -> Tensor:
        """(N, K, 3, S, S): the abstract's frames, each with its known warp and colour jitter."""
        return self.frames[:, self.spans["warped"]]

    @property
    def pair_index(self) -> tuple[Tensor, Tensor]:
        """Index that selects the long-term pair (N, 2, ...) from any tensor over the abstract's frames (N, K, ...)."""
        return torch.arange(len(self.pair), device=self.pair.device)[:, None], self.pair.long()

    @property
    def copies(self) -> Tensor:
        """(N, 2, 3, S, S): the warped copies of the long-term pair."""
        return self.warped[self.pair_index]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        return Batch(
            frames=self.frames.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            patch=self.patch.to(device, non_blocking=non_blocking),
            pair=self.pair.to(device, non_blocking=non_blocking),
            warp=self.warp.to(device, non_blocking=non_blocking),
            names=self.names,
        )


class MuG(Pretrained):
    """phi, rho, kappa and v, trained together by `forward` with one loss term per granularity."""

    stored_as = "mug.checkpoint:FORMAT"

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.phi = Phi(config.backbone)
        self.rho = FrameHead()
        self.short = Response()
        self.kappa = Kappa()
        self.readout = Readout()
        self.log_temperature = nn.Parameter(torch.tensor(config.temperature).log())

    @property
    def temperature(self) -> Tensor:
        """The temperature of the matching features, within its bounds; only the known-warp loss trains it.

        The gradient passes straight through the bounds, so the temperature can return: a clamp would have no gradient
        there. `forward` clamps the parameter to the bound, from which one step leads back inside.
        """
        free = self.log_temperature.exp()
        return free + (free.clamp(*TEMPERATURE) - free).detach()

    def forward(self, batch: Batch, weights: LossWeights, shares: bool = False) -> dict[str, Tensor]:
        """Losses of one training step (MuG Eq. 16): unweighted, by their names in `LossWeights`, and the `total`.

        Eq. 5 and 8 are sums over the lattice, Eq. 2, 14 and 15 means (see `short_term_loss`, `long_term_loss`,
        `frame_loss`, `instance_loss`). Averaged over processes, they are the losses of the whole batch. The result also
        has, without gradient, `temperature` and, if their terms are on, `inlier_share` (hard, Eq. 8), `short_error_px`
        (mean distance between the start and the end of a track), `instance_accuracy`, `warp_geometry` and
        `warp_matching`.

        Args:
            batch: The videos.
            weights: Weights of the terms in the total.
            shares: Whether to measure each weighted term's share of the trunk's gradient (`share_<term>`), at the last
                convolution that all heads share.
        """
        with torch.no_grad():
            self.log_temperature.clamp_(*map(math.log, TEMPERATURE))
        seen = self._see(batch, weights)
        out: dict[str, Tensor] = {"temperature": self.temperature.detach()}
        abstract = seen.get("abstract")
        if weights.frame:  # on all encoded frames
            logits = {name: self.rho(seen[name].trunk.flatten(0, 1)) for name in LABELLED if name in seen}
            labels = [batch.labels[:, batch.spans[name]].flatten(0, 1) for name in logits]
            out["frame"] = frame_loss(torch.cat(list(logits.values())), torch.cat(labels))
        if weights.short:
            out["short"], end = short_term_loss(self.phi, self.short, batch.clip, seen["clip"].match, batch.patch)
            out["short_error_px"] = (end - batch.patch).float().norm(dim=1).mean()
        if weights.long:
            assert abstract is not None
            chosen = batch.pair_index
            copies = seen["warped"].match[chosen] if weights.warp else seen["copies"].match
            out["long"], out["inlier_share"] = long_term_loss(
                self.kappa,
                abstract.match[chosen],
                copies,
                batch.warp[chosen],
                self.temperature.detach(),
                self.phi.stride,
            )
        if weights.readout or weights.video:
            assert abstract is not None
            count = batch.segments
            r_nkchw = self._augment(abstract, abstract, lambda k: [other for other in range(count) if other != k])
        if weights.readout:
            assert abstract is not None
            r_nrchw = self._augment(seen["references"], abstract, lambda _: list(range(count)))
            labels = [batch.labels[:, batch.spans[name]] for name in ("abstract", "references")]
            logits = self.readout(torch.cat([r_nkchw, r_nrchw], 1).flatten(0, 1))
            out["readout"] = frame_loss(logits, torch.cat(labels, 1).flatten(0, 1))
        if weights.video:
            assert abstract is not None
            instance = Features(*(x[:, 0] for x in seen["instance"]))
            r_nchw = self.aggregate(instance, seen["references"])
            out["video"], out["instance_accuracy"] = instance_loss(r_nkchw, r_nchw)
        if weights.warp:
            assert abstract is not None
            out["warp"], out["warp_geometry"], out["warp_matching"] = known_warp_loss(
                self.kappa, seen["warped"].match, abstract.match, batch.warp, self.temperature, self.phi.stride
            )
        # unused parameters take part with a gradient of zero: distributed training waits for every parameter
        total = torch.stack([p.sum() for p in self.parameters()]).sum() * 0
        terms = {name: weight * out[name] for name, weight in vars(weights).items() if weight}
        for term in terms.values():
            total = total + term
        if shares:
            out |= {f"share_{name}": x for name, x in gradient_shares(terms, self.phi.last_shared).items()}
        return out | {"total": total}

    def aggregate(self, query: Features, source: Features) -> Tensor:
        """Globally augmented features r = [x', x] (B, 256, h, w) of B query frames (MuG Eq. 11).

        Args:
            query: Features (B, C, h, w).
            source: Features (B, R, C, h, w) of the R reference frames of each query.
        """
        return aggregate(query.match, query.value, source.match, source.value, self.temperature.detach())

    def segment_frame(self, query: Features, source: Features) -> Tensor:
        """Foreground probability (B, 1, h, w) from r; arguments as in `aggregate` (MuG Sec. 3.3)."""
        return self.readout(self.aggregate(query, source)).float().sigmoid()

    def _see(self, batch: Batch, weights: LossWeights) -> dict[str, Features]:
        """Features (N, frames, C, h, w) of the parts of the batch that the terms need, from one pass through phi."""
        needed = {
            "clip": weights.short,
            "abstract": weights.readout or weights.long or weights.video or weights.warp,
            "instance": weights.video,
            "references": weights.frame or weights.readout or weights.video,
            "warped": weights.warp,
            "copies": weights.long and not weights.warp,
        }
        parts = {name: getattr(batch, name) for name, need in needed.items() if need}
        if not parts:
            return {}
        count = len(batch.frames)
        features = self.phi(torch.cat(list(parts.values()), 1).flatten(0, 1))
        lengths = [part.shape[1] for part in parts.values()]
        split: Sequence[tuple[Tensor, ...]] = [x.unflatten(0, (count, -1)).split(lengths, 1) for x in features]
        return {name: Features(*(x[i] for x in split)) for i, name in enumerate(parts)}

    def _augment(self, query: Features, source: Features, references: Callable[[int], list[int]]) -> Tensor:
        """Globally augmented features r (N, Q, 256, h, w) of Q query frames (MuG Eq. 9 - 11).

        Args:
            query: Features (N, Q, C, h, w).
            source: Features (N, S, C, h, w).
            references: Maps the index of a query to the indices of its references in `source`.
        """
        rows = []
        for q in range(query.match.shape[1]):
            chosen = references(q)
            rows.append(self.aggregate(Features(*(x[:, q] for x in query)), Features(*(x[:, chosen] for x in source))))
        return torch.stack(rows, 1)

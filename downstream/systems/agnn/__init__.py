"""AGNN (ICCV 2019), frames of a video as the nodes of a graph that reason together: its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agnn_head.options import AGNNConfig
from downstream.options import FinetuneOptions, SegmentOptions
from downstream.systems.base import Part, System
from mug.errors import InputError


@dataclass
class GraphConfig:
    """How AGNN looks at a video."""

    nodes: int = 5
    """N', frames in a graph."""
    side: int | None = None
    """Side of the square that frames are brought to, in pixels; the one the head was trained at when not given."""
    iterations: int | None = None
    """K, rounds of messages; as in training when not given."""
    scales: list[float] = field(default_factory=lambda: [1.0])
    """The maps at these multiples of `side` are averaged."""
    flip: bool = False
    """Whether the mirrored frames are looked at too and the maps averaged."""
    cut: Literal["expected", "half"] | None = None
    """Where the maps of a video are cut: where the mask is `expected` to overlap the object best, if the maps are
    probabilities, or at a `half`; the first where the head was calibrated, when not given."""

    def check(self) -> None:
        """Raises `InputError` where a setting is out of range."""
        if self.nodes < 1:
            raise InputError(f"--graph.nodes {self.nodes}: must be at least 1")
        if self.side is not None and self.side < 32:
            raise InputError(f"--graph.side {self.side}: must be at least 32 pixels")
        if self.iterations is not None and self.iterations < 0:
            raise InputError(f"--graph.iterations {self.iterations}: must be at least 0")
        if not self.scales or min(self.scales) <= 0:
            raise InputError(f"--graph.scales {self.scales}: must be one or more numbers above 0")


@dataclass(kw_only=True)
class AGNNSegmentOptions(SegmentOptions):
    """`mug segment --system agnn`."""

    graph: GraphConfig = field(default_factory=GraphConfig)
    """How AGNN looks at a video."""


@dataclass(kw_only=True)
class AGNNFinetuneOptions(FinetuneOptions):
    """`mug finetune agnn`."""

    model: AGNNConfig = field(default_factory=AGNNConfig)
    """The network."""
    stills: list[Path] = field(default_factory=list)
    """Data sets of salient objects in still images (MSRA10K, DUT-OMRON, DUTS); every other step trains on them."""
    carry: int = 0
    """Most graphs that a node's state may have come through, drawn anew each step, before the one that is learned
    from. Co-segmentation carries states from graph to graph (Sec. 4.2.1): one that it never met in training drifts."""
    freeze_norm: bool = True
    """Whether the trunk keeps its batch norm as it was pretrained; with `--scratch` it learns it."""
    trunk_rate: float = 0.1
    """Learning rate of the trunk, as a factor. With 0 it stays as it was pretrained; one that begins at random
    (`--scratch`) then learns at 0.1."""
    head_rate: float = 1.0
    """Learning rate of the graph and the readout, as a factor; that of the embedding's pyramid is 1."""
    calibrate: bool = True
    """Whether the readout's bias is moved in the end, so that maps are probabilities: the loss alone takes every object
    for half of its frame. The maps of a video are then cut where the mask is expected to overlap the object best;
    without, as in the paper, at 0.5."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        unused = dict(super().unused())
        if self.scratch:
            unused["freeze_norm"] = "a trunk that begins at random (--scratch) learns its batch norm"
        if self.scratch and self.labels == "annotations":
            unused["weights"] = "--scratch begins at random"
        other = "depth" if self.model.embedding.kind == "phi" else "backbone"
        unused[f"model.embedding.{other}"] = f"is not of --model.embedding.kind {self.model.embedding.kind}"
        return unused

    @property
    def teacher(self) -> Path | None:
        """MuG's weights that pseudo labels are made with: those that the embedding starts from, if it is MuG's."""
        return self.weights if self.model.embedding.kind == "phi" else None


SYSTEM = System(
    zero_shot=Part(AGNNSegmentOptions, "downstream.systems.agnn.inference:open_zero_shot"),
    training=Part(AGNNFinetuneOptions, "downstream.systems.agnn.training:AGNNTraining"),
)

"""AGNN (ICCV 2019), an attentive graph network over the frames of a video: its options."""

from __future__ import annotations

from dataclasses import dataclass, field

from agnn_head.options import AGNNConfig
from downstream.options import BalancedOptions, CutConfig, SegmentOptions
from downstream.systems.base import Part, System
from mug.errors import InputError
from mug.options import TrunkConfig


@dataclass
class GraphConfig(CutConfig):
    """Inference options of AGNN."""

    option = "graph"
    nodes: int = 5
    """N', frames per graph."""
    iterations: int | None = None
    """K, rounds of message passing; by default as in training."""
    scales: list[float] = field(default_factory=lambda: [1.0])
    """Scales, as multiples of `side`, over which the maps are averaged."""
    flip: bool = False
    """Also average over mirrored frames."""

    def check(self) -> None:
        """Raises `InputError` if a setting is out of range."""
        super().check()
        if self.nodes < 1:
            raise InputError(f"--graph.nodes {self.nodes}: must be at least 1")
        if self.iterations is not None and self.iterations < 0:
            raise InputError(f"--graph.iterations {self.iterations}: must be at least 0")
        if not self.scales or min(self.scales) <= 0:
            raise InputError(f"--graph.scales {self.scales}: must be one or more numbers above 0")


@dataclass(kw_only=True)
class AGNNSegmentOptions(SegmentOptions):
    """`mug segment --system agnn`."""

    graph: GraphConfig = field(default_factory=GraphConfig)
    """Inference options of AGNN."""


@dataclass(kw_only=True)
class AGNNFinetuneOptions(BalancedOptions):
    """`mug finetune agnn`."""

    model: AGNNConfig = field(default_factory=AGNNConfig)
    """The network architecture."""
    graphs: int = 0
    """Maximum number of graphs that a state passes through before the loss; sampled at each step. Co-segmentation
    carries states from graph to graph (Sec. 4.2.1); without such training they drift."""

    @property
    def trunk(self) -> TrunkConfig:
        """See `FinetuneOptions`."""
        return self.model.embedding

    @property
    def trunk_option(self) -> str:
        """See `FinetuneOptions`."""
        return "model.embedding"


SYSTEM = System(
    zero_shot=Part(AGNNSegmentOptions, "downstream.systems.agnn.inference:open_zero_shot"),
    format="agnn_head.checkpoint:FORMAT",
    training=Part(AGNNFinetuneOptions, "downstream.systems.agnn.training:AGNNTraining"),
    released="downstream.systems.agnn.released:released",
    exported="downstream.systems.agnn.exported:parts",
)

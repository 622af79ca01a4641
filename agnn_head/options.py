"""Options of the AGNN architecture; importing this module loads no library."""

from __future__ import annotations

from dataclasses import dataclass, field

from mug.options import EmbeddingConfig


@dataclass
class AGNNConfig:
    """Architecture of AGNN."""

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """Network that maps a frame to its node."""
    channels: int = 256
    """C, the channels of a node's state."""
    graph: bool = True
    """Whether to use the graph. Without it each frame is segmented alone, from the embedding (Table 6, "w/o AGNN")."""
    iterations: int = 3
    """K, the rounds of messages. With 0 the graph's readout sees each frame alone."""
    gated: bool = True
    """Whether messages pass the gate of Eq. 8; false gives "w/o Gated Message" of Table 6."""

"""What AGNN's weights can become a program of."""

from __future__ import annotations

from collections.abc import Mapping

from agnn_head.model import AGNN
from downstream.systems.agnn import GraphConfig
from mug.networks.program import BATCH, HEIGHT, WIDTH, Part, Size


def parts(network: AGNN) -> Mapping[str, Part]:
    """The network at its own number of rounds. The nodes of a graph are a loop, so their number has to be fixed."""
    frames = (BATCH, Size("frames", needed=GraphConfig().nodes), 3, HEIGHT, WIDTH)
    return {"agnn": Part(network, {"frames": frames}, ("logits",), {"iterations": str(network.rounds())})}

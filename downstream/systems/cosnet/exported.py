"""What COSNet's weights can become a program of."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

from torch import Tensor, nn

from downstream.systems.cosnet.network import COSNet
from mug.networks.program import BATCH, HEIGHT, WIDTH, Part


class Constant(nn.Module):
    """A weight of the affinity that does not change any more: ONNX cannot invert matrices."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())

    def forward(self) -> Tensor:
        """W (C, C)."""
        return self.weight


def parts(network: COSNet) -> Mapping[str, Part]:
    """The network on pairs of frames."""
    ready = deepcopy(network)
    if ready.co_attention is not None:
        ready.co_attention.affinity = Constant(ready.co_attention.affinity())
    return {"cosnet": Part(ready, {"frames": (BATCH, 2, 3, HEIGHT, WIDTH)}, ("logits",), {})}

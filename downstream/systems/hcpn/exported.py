"""What HCPN's weights can become a program of."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from downstream.systems.hcpn.network import HCPN
from mug.networks.program import BATCH, HEIGHT, WIDTH, Part, Shape


class Masks(nn.Module):
    """HCPN without its contours."""

    def __init__(self, network: HCPN) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames_bnchw: Tensor, flow_bchw: Tensor | None = None) -> Tensor:
        """Logits (B, n, 1, h, w)."""
        masks: Tensor = self.network(frames_bnchw, flow_bchw).masks
        return masks


def parts(network: HCPN) -> Mapping[str, Part]:
    """The masks of pairs of frames, from the frames and the flow between them in colours."""
    frames: dict[str, Shape] = {"frames": (BATCH, 2, 3, HEIGHT, WIDTH)}
    flow: dict[str, Shape] = {} if network.config.input == "frames" else {"flow": (BATCH, 3, HEIGHT, WIDTH)}
    return {"hcpn": Part(Masks(network), frames | flow, ("logits",), {})}

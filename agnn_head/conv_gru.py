"""State update of a node from its message (AGNN Eq. 10; ConvGRU of Ballas et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvGRU(nn.Module):
    """h' = (1 - z) h + z tanh(W m + U (r h)), with 1x1 kernels: position by position (AGNN Eq. 10).

    Update gate z = sigmoid(W_z m + U_z h), reset gate r = sigmoid(W_r m + U_r h), each with a bias. The bias of z
    starts at -1: the network starts close to one without a graph and learns what to take in, rather than having to
    learn first to keep its state.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.message = nn.Linear(channels, 3 * channels)
        nn.init.constant_(self.message.bias[:channels], -1.0)
        self.state = nn.Linear(channels, 2 * channels, bias=False)
        self.reset = nn.Linear(channels, channels, bias=False)

    def forward(self, state_bpc: Tensor, message_bpc: Tensor) -> Tensor:
        """The new state (B, P, C)."""
        channels = state_bpc.shape[-1]
        gates_m, candidate_m = self.message(message_bpc).split((2 * channels, channels), -1)
        z, r = self.state(state_bpc).add_(gates_m).sigmoid_().chunk(2, -1)
        candidate = self.reset(r * state_bpc).add_(candidate_m).tanh_()
        return torch.lerp(state_bpc, candidate.to(state_bpc.dtype), z.to(state_bpc.dtype))

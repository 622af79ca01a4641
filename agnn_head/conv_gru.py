"""How a node takes in what it heard (AGNN Eq. 10; ConvGRU of Ballas et al. 2016)."""

from __future__ import annotations

from torch import Tensor, nn


class ConvGRU(nn.Module):
    """h' = (1 - z) h + z tanh(W m + U (r h)), with 1x1 kernels: each position by itself (AGNN Eq. 10).

    Update gate z = sigmoid(W_z m + U_z h), reset gate r = sigmoid(W_r m + U_r h), each with a bias.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.message = nn.Linear(channels, 3 * channels)
        self.state = nn.Linear(channels, 2 * channels, bias=False)
        self.reset = nn.Linear(channels, channels, bias=False)

    def forward(self, state_bpc: Tensor, message_bpc: Tensor) -> Tensor:
        """The new state (B, P, C)."""
        z_m, r_m, n_m = self.message(message_bpc).chunk(3, -1)
        z_h, r_h = self.state(state_bpc).chunk(2, -1)
        z, r = (z_m + z_h).sigmoid(), (r_m + r_h).sigmoid()
        candidate = (n_m + self.reset(r * state_bpc)).tanh()
        return state_bpc + z * (candidate - state_bpc)

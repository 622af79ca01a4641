"""Gates of whole channels: channel attention, and the global-local attention context (HCPN Eq. 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mug.precision import widen

EPSILON = 1e-5


class ChannelAttention(nn.Module):
    """V (1 + tanh(gamma s / rms_c(s) + beta)) with s = alpha ||V||, channel by channel.

    The gated channel transformation (Yang et al. 2020), as the authors' release has it for C of Eq. 3. It starts as the
    identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))
        self.gamma, self.beta = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, v_bchw: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        share = across_channels(self.alpha.view(-1, 1, 1) * l2(v_bchw))
        gate = 1 + torch.tanh(self.gamma.view(-1, 1, 1) * share + self.beta.view(-1, 1, 1))
        return v_bchw * gate.to(v_bchw.dtype)


class GlobalLocalContext(nn.Module):
    """V^ = G + L with G = W_g N_l(V), L = W_g N_l(V) tanh(W_l N_c(V) + b), channel by channel (HCPN Eq. 4).

    N_l(V) = sqrt(P) V / ||V|| divides a channel by its l2 norm over its P positions; the factor keeps the scale the
    same for all sizes. N_c(V) = ||V|| / rms_c(||V||) compares its norm with those of the other channels. (Eq. 4 prints
    a sum over c, which would leave one channel.) W_g starts at 1, W_l and b at 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.gain, self.shift = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, v_bchw: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        norm = l2(v_bchw)
        gate = torch.tanh(self.gain.view(-1, 1, 1) * across_channels(norm) + self.shift.view(-1, 1, 1))
        positions = v_bchw.shape[-2] * v_bchw.shape[-1]
        factor = self.scale.view(-1, 1, 1) * positions**0.5 / norm * (1 + gate)
        return v_bchw * factor.to(v_bchw.dtype)


def l2(v_bchw: Tensor) -> Tensor:
    """||V|| (B, C, 1, 1): the l2 norm of each channel over its positions, above 0."""
    return (widen(v_bchw).square().sum((2, 3), keepdim=True) + EPSILON).sqrt()


def across_channels(norm_bc11: Tensor) -> Tensor:
    """Norms (B, C, 1, 1) divided by their root mean square over the channels."""
    return norm_bc11 / (norm_bc11.square().mean(1, keepdim=True) + EPSILON).sqrt()

"""What a node hears: the gated sum of its neighbours' messages and its own (AGNN Eq. 6 - 9)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from agnn_head.edges import LineEdge, LoopEdge
from mug.precision import widen


class Gate(nn.Module):
    """g = sigmoid(GAP(W_g * m + b_g)), how much of each channel of a message is trusted (AGNN Eq. 8).

    The mean of a 1x1 convolution is the convolution of the mean, so it is applied to C numbers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, message_bpc: Tensor) -> Tensor:
        """(B, P, C) -> (B, 1, C) in [0, 1]."""
        return self.linear(widen(message_bpc).mean(1, keepdim=True)).sigmoid()


class Messages(nn.Module):
    """m_i = sum over j, i among them, of g_ji * m_ji (AGNN Eq. 9).

    Args:
        channels: C of a state.
        gated: False trusts every message fully (AGNN Table 6, "w/o Gated Message").
    """

    def __init__(self, channels: int, gated: bool = True) -> None:
        super().__init__()
        self.loop = LoopEdge(channels)
        self.line = LineEdge(channels)
        self.gate = Gate(channels) if gated else None

    def hear(self, receiver: int, states: Sequence[Tensor]) -> list[Tensor]:
        """The messages m_ji (B, P, C) of all other nodes j to node `receiver` (AGNN Eq. 7).

        Args:
            receiver: i.
            states: h_j (B, P, C) of all nodes, i among them.
        """
        query = self.line.query(states[receiver])
        return [self.line.message(query, state) for sender, state in enumerate(states) if sender != receiver]

    def collect(self, state_bpc: Tensor, heard: Sequence[Tensor]) -> Tensor:
        """The gated sum (B, P, C) of what a node tells itself (Eq. 6) and of what it hears (AGNN Eq. 9)."""
        own = self.loop(state_bpc)
        total = own if self.gate is None else self.gate(own) * own
        for message in heard:
            # in place: what comes and goes between tensors that stay is memory that the allocator scatters
            total = total.add_(message) if self.gate is None else total.addcmul_(self.gate(message), message)
        return total

    def gates(self, receiver: int, states: Sequence[Tensor]) -> Tensor:
        """g_ji (B, N, C) of what node `receiver` hears from each node j, itself among them; ones without gates.

        Args: as of `hear`.
        """
        if self.gate is None:
            return torch.ones_like(torch.stack([state[:, 0] for state in states], 1))
        heard = self.hear(receiver, states)
        heard.insert(receiver, self.loop(states[receiver]))
        return torch.cat([self.gate(message_bpc) for message_bpc in heard], 1)

"""Message aggregation: the gated sum of a node's own message and its neighbours' (AGNN Eq. 6 - 9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from agnn_head.edges import LineEdge, LoopEdge
from mug.precision import widen


class Gate(nn.Module):
    """g = sigmoid(GAP(W_g * m + b_g)), how much of each channel of a message is trusted (AGNN Eq. 8).

    The mean of a 1x1 convolution is the convolution of the mean, so it runs on only C numbers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, message_bpc: Tensor) -> Tensor:
        """(B, P, C) -> (B, 1, C) in [0, 1]."""
        return self.linear(widen(message_bpc).mean(1, keepdim=True)).sigmoid()


class Messages(nn.Module):
    """m_i = sum over j, including i, of g_ji * m_ji (AGNN Eq. 9).

    Args:
        channels: C of a state.
        gated: False trusts every message fully (AGNN Table 6, "w/o Gated Message").
    """

    def __init__(self, channels: int, gated: bool = True) -> None:
        super().__init__()
        self.loop = LoopEdge(channels)
        self.line = LineEdge(channels)
        self.gate = Gate(channels) if gated else None

    def forward(self, states: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yields m_i (B, P, C) of each node in turn, from the states h_i (B, P, C) of all nodes.

        Each m_i is yielded as soon as it is complete. If the caller uses it before asking for the next, the backward
        pass also runs node by node and keeps the gradients of few messages at a time.
        """
        heard = [torch.zeros_like(h) for h in states]
        for i, h in enumerate(states):
            heard[i].add_(self._own(h))
            for receiver, _, message in self._along_edges(i, states):
                # in place: short-lived tensors allocated between long-lived ones fragment memory
                if self.gate is None:
                    heard[receiver].add_(message)
                else:
                    heard[receiver].addcmul_(self.gate(message), message)
            yield heard[i]

    def gates(self, states: Sequence[Tensor]) -> Tensor:
        """The gates (B, N, N, C), g_ji at [b, i, j], of the message from node j to node i; states h_i are (B, P, C).

        All ones without gates.
        """
        count, (batch, _, channels) = len(states), states[0].shape
        gates = states[0].new_ones(batch, count, count, channels)
        if self.gate is None:
            return gates
        for i, h in enumerate(states):
            gates[:, i, i] = self.gate(self.loop(h))[:, 0]
            for receiver, sender, message in self._along_edges(i, states):
                gates[:, receiver, sender] = self.gate(message)[:, 0]
        return gates

    def _own(self, state_bpc: Tensor) -> Tensor:
        """The gated message of a node to itself; the backward pass keeps the attention result, recomputes the rest."""
        return checkpoint(self._own_of, self.loop.read(state_bpc), state_bpc, use_reentrant=False)

    def _own_of(self, read_bpc: Tensor, state_bpc: Tensor) -> Tensor:
        own = self.loop.message(read_bpc, state_bpc)
        return own if self.gate is None else self.gate(own) * own

    def _along_edges(self, i: int, states: Sequence[Tensor]) -> Iterator[tuple[int, int, Tensor]]:
        """Receiver, sender and message of both directions of the edges between node i and those after it (Eq. 7)."""
        for j in range(i + 1, len(states)):
            to_i, to_j = self.line(states[i], states[j])
            yield i, j, to_i
            yield j, i, to_j

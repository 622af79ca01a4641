"""AGNN: frames as the nodes of a fully connected graph that reason together (AGNN ICCV 2019, Sec. 3.2, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from agnn_head.conv_gru import ConvGRU
from agnn_head.messages import Messages
from agnn_head.options import AGNNConfig
from agnn_head.readout import Readout
from mug.errors import InputError
from mug.networks.hub import Pretrained
from mug.networks.pyramid import Embedding
from mug.precision import widen


class AGNN(Pretrained):
    """Node embedding, messages, state update and readout; nodes and rounds share all weights.

    The numbers of frames and rounds are not fixed: both may differ from training.

    Raises:
        InputError: an invalid number of channels or rounds, or an unknown trunk.
    """

    stored_as = "agnn_head.checkpoint:FORMAT"

    def __init__(self, config: AGNNConfig) -> None:
        super().__init__()
        if config.channels < 1:
            raise InputError(f"channels: {config.channels} is too few; use 1 or more (256 in the paper)")
        if config.iterations < 0:
            raise InputError(f"iterations: {config.iterations} is negative; use 0 or more (3 in the paper)")
        self.config = config
        self.embedding = Embedding(config.embedding, config.channels)
        if config.graph:
            self.messages = Messages(config.channels, config.gated)
            self.update = ConvGRU(config.channels)
            self.readout = Readout(config.channels)
        self.intermediate = nn.Conv2d(config.channels, 1, 1)

    def load_trunk(self, path: Path | None) -> None:
        """Loads initial weights of the embedding; see `mug.networks.pyramid.Embedding.load`."""
        self.embedding.load(path)

    def forward(self, frames_bnchw: Tensor, iterations: int | None = None) -> Tensor:
        """N frames of each of B videos, RGB (B, N, 3, H, W) in [0, 1] -> foreground logits (B, N, 1, h, w)."""
        v_bnchw = self.embed(frames_bnchw.flatten(0, 1)).unflatten(0, frames_bnchw.shape[:2])
        return self.read(self.propagate(v_bnchw, iterations=iterations), v_bnchw)

    def rounds(self, iterations: int | None = None) -> int:
        """The number of rounds to run: `iterations`, or the configured K if None; 0 in a model without the graph."""
        if not self.config.graph:
            return 0
        return self.config.iterations if iterations is None else iterations

    @property
    def output(self) -> nn.Conv2d:
        """The last layer, whose output is the logits of `read`."""
        return self.readout.output if self.config.graph else self.intermediate

    def embed(self, frames_bchw: Tensor) -> Tensor:
        """RGB frames (B, 3, H, W) in [0, 1] -> v = h^0 (B, C, h, w), channels last in memory (AGNN Eq. 3)."""
        return self.embedding(frames_bchw).contiguous(memory_format=torch.channels_last)

    def auxiliary(self, v_bchw: Tensor) -> Tensor:
        """Foreground logits (B, 1, h, w) of single images from `embed`, without the graph (AGNN Sec. 4.1.1)."""
        return self.intermediate(v_bchw)

    def propagate(self, v_bnchw: Tensor, state_bnchw: Tensor | None = None, iterations: int | None = None) -> Tensor:
        """Lets the nodes of each graph exchange messages (AGNN Eq. 4 - 10).

        Args:
            v_bnchw: (B, N, C, h, w), the embedding of N >= 1 frames. A single frame only gets its own message.
            state_bnchw: The states to continue from; default v.
            iterations: K; None for the configured number. A model without the graph returns the states unchanged.

        Returns:
            h^K (B, N, C, h, w), equivariant to the order of the frames.

        Raises:
            ValueError: a negative number of iterations.
        """
        rounds = self.rounds(iterations)
        if rounds < 0:
            raise ValueError(f"iterations: {rounds} is negative")
        state_bnchw = v_bnchw if state_bnchw is None else state_bnchw
        states = _by_node(state_bnchw)
        for _ in range(rounds):
            states = self._round(states)
        return torch.stack([x.transpose(1, 2) for x in states], 1).unflatten(3, state_bnchw.shape[-2:])

    def read(self, h_bnchw: Tensor, v_bnchw: Tensor) -> Tensor:
        """Foreground logits (B, N, 1, h, w) from the last states and the embedding, (B, N, C, h, w) (AGNN Eq. 11).

        A model without the graph reads the embedding alone.
        """
        h_bchw, v_bchw = h_bnchw.flatten(0, 1), v_bnchw.flatten(0, 1)
        logits = self.readout(h_bchw, v_bchw) if self.config.graph else self.auxiliary(v_bchw)
        return logits.unflatten(0, h_bnchw.shape[:2])

    @torch.no_grad()
    def attention_map(self, h_query_chw: Tensor, h_source_chw: Tensor, point: tuple[int, int]) -> Tensor:
        """Attention of one cell of a frame over another frame: a row of softmax(e_ij) (AGNN Eq. 5, 7).

        Args:
            h_query_chw: (C, h, w), state of the frame that receives.
            h_source_chw: (C, h', w'), state of the frame that sends.
            point: (x, y) of a cell of the receiving frame.

        Returns:
            (h', w'), float, sums to 1.

        Raises:
            ValueError: a point outside the grid.
        """
        query = self.messages.line.query(_cell(h_query_chw, point))
        logits = widen(query @ h_source_chw.flatten(1))
        return logits.softmax(0).view(h_source_chw.shape[1:])

    @torch.no_grad()
    def loop_attention_map(self, h_chw: Tensor, point: tuple[int, int]) -> Tensor:
        """Attention of one cell over its own frame: a row of softmax((W_f h)(W_h h)^T) (AGNN Eq. 4).

        Args:
            h_chw: (C, h, w), state of the frame.
            point: (x, y) of a cell.

        Returns:
            (h, w), float, sums to 1.

        Raises:
            ValueError: a point outside the grid.
        """
        loop = self.messages.loop
        logits = widen(loop.h(h_chw.flatten(1).T) @ loop.f(_cell(h_chw, point)))
        return logits.softmax(0).view(h_chw.shape[1:])

    @torch.no_grad()
    def gates(self, h_bnchw: Tensor) -> Tensor:
        """The gate of each channel of each message in the round that starts from these states (AGNN Eq. 8).

        Args:
            h_bnchw: (B, N, C, h, w).

        Returns:
            (B, N, N, C) in [0, 1]: g_ji at [b, i, j], for the message from j to i. All ones in a model without gates.
        """
        return self.messages.gates(_by_node(h_bnchw))

    def _round(self, states: Sequence[Tensor]) -> list[Tensor]:
        """One exchange of messages between the N states (B, P, C); all messages come from the states before the round.

        A round stores states and messages for the backward pass. The update's intermediates, about ten cheap maps, are
        recomputed.
        """
        heard = self.messages(states)
        return [checkpoint(self.update, h, m, use_reentrant=False) for h, m in zip(states, heard, strict=True)]


def _by_node(state_bnchw: Tensor) -> list[Tensor]:
    """(B, N, C, h, w) -> N times (B, P, C)."""
    return [x.flatten(2).transpose(1, 2).contiguous() for x in state_bnchw.unbind(1)]


def _cell(h_chw: Tensor, point: tuple[int, int]) -> Tensor:
    """(C,): the state at (x, y)."""
    x, y = point
    _, height, width = h_chw.shape
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"the point ({x}, {y}) is outside the grid of {width} x {height} cells")
    return h_chw[:, y, x]

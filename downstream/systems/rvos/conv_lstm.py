"""ConvLSTM over the objects of a frame that also sees each object's state in the previous frame (RVOS Sec. 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvLSTM(nn.Module):
    """A step of the recurrence, with 3x3 kernels.

    From the input x and the hidden states g = [h(t,i-1,k) | h(t-1,i,k)] of the previous object and the previous frame:

        (a, f, o, u) = W * [x | g] + b
        c(t,i,k) = sigmoid(f) c(t,i-1,k) + sigmoid(a) tanh(u)
        h(t,i,k) = sigmoid(o) tanh(c(t,i,k))

    The cell c is passed on from object to object alone; from frame to frame only h is. The frame's features f'(t,k)
    are a part of x that all objects share: their convolution (`frame`) is computed once per frame, that of all else
    (`rest`) once per object. Their sum is the convolution of the concatenation.

    Args:
        frame: Channels of the frame's features.
        rest: Channels of all else: upsampled state of the level before, previous mask, hidden states.
        hidden: Channels of h and c.
    """

    def __init__(self, frame: int, rest: int, hidden: int) -> None:
        super().__init__()
        self.frame = nn.Conv2d(frame, 4 * hidden, 3, padding=1)
        self.rest = nn.Conv2d(rest, 4 * hidden, 3, padding=1, bias=False)
        for part in (self.frame, self.rest):  # one kernel, in two parts
            nn.init.normal_(part.weight, std=(9 * (frame + rest)) ** -0.5)

    def forward(self, frame_bghw: Tensor, rest_bchw: Tensor, cell_bhhw: Tensor | None) -> tuple[Tensor, Tensor]:
        """The hidden state and the cell, each (B, hidden, h, w).

        Args:
            frame_bghw: `frame` of the frame's features, (B, 4 hidden, h, w).
            rest_bchw: All else, (B, rest, h, w).
            cell_bhhw: c(t,i-1,k); None for zeros.
        """
        take, keep, show, new = (frame_bghw + self.rest(rest_bchw)).chunk(4, 1)
        cell = take.sigmoid() * new.tanh()
        if cell_bhhw is not None:
            cell = cell + keep.sigmoid() * cell_bhhw
        return show.sigmoid() * torch.tanh(cell), cell

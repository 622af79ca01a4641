"""Long-term granularity: distant frames of a video match under one affine warp (MuG Eq. 6-8), and its warm-up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mug.affinity.inliers import inlier_score, inlier_share
from mug.grid import compose, warp_cells
from mug.norm import BatchNorm
from mug.run.processes import first_row, gather, share_of_mean

GRID = 16
"""Side of the grid to which kappa's correlation is pooled; its two convolutions and linear layer expect it."""

TOO_NEAR = 1.5
"""Cells around the true position that are no negatives."""

QUERIES = 1024
"""How many cells of a frame, at most, ask for their true position."""


class Kappa(nn.Module):
    """Estimates the affine warp between two frames from their correlation (MuG Eq. 7): identity to begin with."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(GRID * GRID, 128, 7), BatchNorm(128), nn.ReLU(inplace=True),
            nn.Conv2d(128, 64, 5), BatchNorm(64), nn.ReLU(inplace=True),
            nn.Flatten(),
        )  # fmt: skip
        self.theta = nn.Linear(64 * (GRID - 10) ** 2, 6)
        nn.init.zeros_(self.theta.weight)
        with torch.no_grad():
            self.theta.bias.copy_(torch.eye(2, 3).flatten())

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        """Two (B, 64, h, w) of matching features -> theta (B, 2, 3), from query to source coordinates in [-1, 1]."""
        # coordinates need more digits than bf16 has, and this is cheap
        with torch.autocast(query.device.type, enabled=False):
            # the pooled correlation is the correlation of the pooled features: the large one is never built
            q, s = (F.adaptive_avg_pool2d(x, GRID).flatten(2) for x in (query, source))
            correlation = F.normalize((s.transpose(1, 2) @ q).relu(), dim=1)
            seen = self.layers(correlation.unflatten(2, (GRID, GRID)))
            # thousands of inputs that all take the same step would throw theta out of the frame
            return self.theta(seen / seen.shape[1] ** 0.5).view(-1, 2, 3)


def long_term_loss(
    kappa: Kappa, pair: Tensor, warped: Tensor, known: Tensor, temperature: Tensor, stride: int = 1
) -> tuple[Tensor, Tensor]:
    """The negative soft inlier scores in both directions (MuG Eq. 8), each a sum over the lattice as it is printed.

    Eq. 8 alone has a solution that looks at nothing: where features say which place of the frame they are of, the
    identity makes inliers of all, on any two frames, and within a hundred steps from scratch they do. So the affinity
    is that of X_i to a warped copy of X_j, and a query is taken to X_i by the known warp first, then by kappa's for X_i
    and X_j themselves. To find X_j's places in its copy, features have to tell what is there.

    A mean would have h w times less weight in Eq. 16 against the cross-entropy, which is a mean over the lattice here.

    Args:
        kappa: Estimates both warps.
        pair: (N, 2, 64, h, w), matching features of X_i and X_j, distant frames of the same video.
        warped: (N, 2, 64, h, w), of copies of both through known warps.
        known: (N, 2, 2, 3), takes [-1, 1] coordinates of the copies to those of the frames.
        temperature: Of the affinity (Eq. 6).
        stride: Pixels of the frames to a cell.

    Returns:
        The mean loss over this process's batch in [-2 h w, 0], and the mean hard inlier share, without gradient.
    """
    source = pair.flatten(0, 1)
    with torch.autocast(source.device.type, enabled=False):
        theta = compose(kappa(pair.flip(1).flatten(0, 1), source), known.flip(1).flatten(0, 1).to(source.dtype))
    query = warped.flip(1).flatten(0, 1)
    score = inlier_score(query, source, theta, temperature, stride)
    share = inlier_share(query.detach(), source.detach(), theta.detach(), temperature, stride)
    cells = source.shape[-2] * source.shape[-1]
    return -2 * cells * score.mean(), share.mean()


def known_warp_loss(
    kappa: Kappa, warped: Tensor, original: Tensor, theta: Tensor, temperature: Tensor, stride: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Teaches kappa and the matching head from a warp that we made ourselves; beyond the paper.

    kappa: the mean squared distance between where its warp and the true one take the points of a grid. Matching:
    InfoNCE for each cell of `warped`; its positive is read at the true position, its negatives are the other cells of
    its original and all cells of the other videos' k-th. Other frames of its own video show the same things again.

    Args:
        kappa: Estimates the warp.
        warped: (N, K, 64, h, w), matching features of the warped frames, K of each video.
        original: (N, K, 64, h, w), of the frames they were made from.
        theta: (N, K, 2, 3), from [-1, 1] coordinates of the frames of `warped` to those of `original`.
        temperature: Of the matching; receives a gradient.
        stride: Pixels of the frames to a cell.

    Returns:
        The sum of the two losses and each of them, as shares of the mean over all processes.
    """
    with torch.autocast(warped.device.type, enabled=False):
        theta = theta.to(warped.dtype)
        estimate = kappa(warped.flatten(0, 1), original.flatten(0, 1))
        points, guess = (warp_cells(t, (GRID, GRID)) for t in (theta.flatten(0, 1), estimate))
        geometry = (guess - points).mul(2 / GRID).square().sum(-1).mean()
        matching = _matching_loss(warped, original, theta, temperature, stride)
    return geometry + matching, geometry.detach(), matching.detach()


def _matching_loss(warped: Tensor, original: Tensor, theta: Tensor, temperature: Tensor, stride: int) -> Tensor:
    videos, frames, _, height, width = warped.shape
    points = warp_cells(theta.flatten(0, 1), (height, width), stride)
    limit = points.new_tensor([width - 1, height - 1])
    asked = _lattice(height, width, warped.device)
    inside = ((points >= 0) & (points <= limit)).all(-1)[:, asked]
    points = points[:, asked]
    query = warped.flatten(3)[..., asked].flatten(0, 1).transpose(1, 2) / temperature
    grid = ((points * 2 + 1) / (limit + 1) - 1).unsqueeze(1)
    true = F.grid_sample(original.flatten(0, 1), grid, padding_mode="border", align_corners=False)[:, :, 0]
    positive = (query * F.normalize(true.transpose(1, 2), dim=-1)).sum(-1)
    everyone = gather(original.flatten(3).transpose(2, 3))
    cells = warp_cells(torch.eye(2, 3).to(points)[None], (height, width))[0]
    losses = []
    for index in range(videos * frames):
        video, frame = divmod(index, frames)
        own = (first_row(original) + video) * len(cells)
        near = torch.cdist(points[index], cells) <= TOO_NEAR
        arguments = (query[index], everyone[:, frame].flatten(0, 1), positive[index], near, own)
        losses.append(checkpoint(_nce, *arguments, use_reentrant=False, preserve_rng_state=False))
    return share_of_mean((torch.stack(losses) * inside).sum(), inside.sum())


def _nce(query_qc: Tensor, source_mc: Tensor, positive_q: Tensor, near_qs: Tensor, own: int) -> Tensor:
    """-log of the positive's share (Q,); `near` masks cells of the query's own frame, which begin at row `own`."""
    negative = query_qc @ source_mc.T
    spared = torch.zeros_like(negative, dtype=torch.bool)
    spared[:, own : own + near_qs.shape[1]] = near_qs
    negative = negative.masked_fill(spared, -torch.inf)
    return torch.cat([positive_q[:, None], negative], 1).logsumexp(1) - positive_q


def _lattice(height: int, width: int, device: torch.device) -> Tensor:
    """Indices of a regular choice of at most `QUERIES` cells; the warp is random, so the choice need not be."""
    step = 1
    while -(-height // step) * -(-width // step) > QUERIES:
        step += 1
    cells = torch.arange(height * width, device=device).view(height, width)
    return cells[step // 2 :: step, step // 2 :: step].flatten()

"""Long-term granularity: distant frames of a video match under an affine warp (MuG Eq. 6-8); and its warm-up loss."""

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
"""Radius in cells around the true position within which cells are not used as negatives."""

QUERIES = 1024
"""Maximum number of query cells per frame."""


class Kappa(nn.Module):
    """Estimates the affine warp between two frames from their correlation (MuG Eq. 7); initially the identity."""

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
        # coordinates need more precision than bf16 has, and this is cheap
        with torch.autocast(query.device.type, enabled=False):
            # the pooled correlation is the correlation of the pooled features, so the large one is never computed
            q, s = (F.adaptive_avg_pool2d(x, GRID).flatten(2) for x in (query, source))
            correlation = F.normalize((s.transpose(1, 2) @ q).relu(), dim=1)
            seen = self.layers(correlation.unflatten(2, (GRID, GRID)))
            # thousands of inputs whose weights take equal steps would move theta out of the frame
            return self.theta(seen / seen.shape[1] ** 0.5).view(-1, 2, 3)


def long_term_loss(
    kappa: Kappa, pair: Tensor, warped: Tensor, known: Tensor, temperature: Tensor, stride: int = 1
) -> tuple[Tensor, Tensor]:
    """The negative soft inlier scores in both directions (MuG Eq. 8), each a sum over the lattice, as printed.

    Eq. 8 alone has a trivial solution: if features encode their position in the frame, the identity makes every cell an
    inlier for any two frames. Training from scratch finds it within a hundred steps. Therefore the affinity is computed
    between X_i and a warped copy of X_j, and a query is mapped by the known warp first, then by kappa's warp between
    X_j and X_i themselves. To match across the copy, features have to encode content.

    A mean would weigh h w times less in Eq. 16 against the cross-entropy, which is a mean over the lattice here.

    Args:
        kappa: Estimates both warps.
        pair: (N, 2, 64, h, w), matching features of X_i and X_j, distant frames of the same video.
        warped: (N, 2, 64, h, w), matching features of copies of both under known warps.
        known: (N, 2, 2, 3), maps [-1, 1] coordinates of the copies to those of the frames.
        temperature: Temperature of the affinity (Eq. 6).
        stride: Pixels of the frames per cell.

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
    """Trains kappa and the matching head with synthetic, known warps; not in the paper.

    kappa: mean squared distance between grid points under its warp and under the true one. Matching: InfoNCE for each
    cell of `warped`. Its positive is sampled at the true position; its negatives are the other cells of its original
    and all cells of the k-th frames of the other videos. Other frames of its own video are excluded, as they show the
    same content.

    Args:
        kappa: Estimates the warp.
        warped: (N, K, 64, h, w), matching features of the warped frames, K of each video.
        original: (N, K, 64, h, w), matching features of the frames before warping.
        theta: (N, K, 2, 3), from [-1, 1] coordinates of the frames of `warped` to those of `original`.
        temperature: Temperature of the matching; receives a gradient.
        stride: Pixels of the frames per cell.

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
    """-log softmax of the positive (Q,); `near` masks cells of the query's own frame, which start at row `own`."""
    negative = query_qc @ source_mc.T
    spared = torch.zeros_like(negative, dtype=torch.bool)
    spared[:, own : own + near_qs.shape[1]] = near_qs
    negative = negative.masked_fill(spared, -torch.inf)
    return torch.cat([positive_q[:, None], negative], 1).logsumexp(1) - positive_q


def _lattice(height: int, width: int, device: torch.device) -> Tensor:
    """Indices of at most `QUERIES` cells on a regular lattice; the warp is random, so the choice need not be."""
    step = 1
    while -(-height // step) * -(-width // step) > QUERIES:
        step += 1
    cells = torch.arange(height * width, device=device).view(height, width)
    return cells[step // 2 :: step, step // 2 :: step].flatten()

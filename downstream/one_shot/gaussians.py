"""Appearance of an object and of its background as a few Gaussians, in closed form (A-GAME, CVPR 2019).

Components 0 and 1 model all of the background and all of the object; 2 and 3 model the parts of each that the first two
take for the other: distractors. All covariances are diagonal and all components equally likely.

Shapes: M objects, K components, C features, P positions. Computed in at least single precision, also under autocast, as
densities of hundreds of features have exponents of thousands.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mug.precision import widen

UPDATE = 0.1
"""lambda, the weight of a new frame's estimate (A-GAME's release)."""
SAFETY = 1.0
"""Positions that are added to every sum of assignments, so that an empty component is finite: its mean is 0 and its
variance r. The release divides means over N positions and adds 1/N, which is the same."""


class Gaussians(NamedTuple):
    """Parameters theta of the components."""

    mean: Tensor
    """mu, (M, K, C)"""
    variance: Tensor
    """Diagonal of Sigma, (M, K, C)"""

    def detach(self) -> Gaussians:
        """The same parameters without gradient."""
        return Gaussians(self.mean.detach(), self.variance.detach())


def estimate(x_mcp: Tensor, alpha_mkp: Tensor, floor_kc: Tensor, safety: float = SAFETY) -> Gaussians:
    """Maximum-likelihood estimate of each component from soft assignments of the positions.

    mu~ = sum(alpha x) / sum(alpha); Sigma~ = r + sum(alpha (x - mu~)^2) / sum(alpha), with `safety` added to
    sum(alpha). The slide has r under the sum, which is the same where sum(alpha) is above 0.

    Args:
        x_mcp: Features x, (M, C, P).
        alpha_mkp: Assignments alpha in [0, 1], (M, K, P).
        floor_kc: r, (K, C), above 0.
        safety: What is added to the sums of assignments; 0 for the plain estimate.
    """
    x, alpha = widen(x_mcp)[:, None], widen(alpha_mkp)[:, :, None]
    total = alpha.sum(-1) + safety
    mean = (alpha * x).sum(-1) / total
    variance = widen(floor_kc) + (alpha * (x - mean[..., None]).square()).sum(-1) / total
    return Gaussians(mean, variance)


def log_scores(x_mcp: Tensor, theta: Gaussians) -> Tensor:
    """s_k = log(p(z = k) p(x | z = k)) + const, (M, K, P).

    The constant, log K + C/2 log 2 pi, is that of all components.
    """
    distance = widen(x_mcp)[:, None] - theta.mean[..., None]
    return -0.5 * (distance.square() / theta.variance[..., None] + theta.variance.log()[..., None]).sum(2)


def fit(x_mcp: Tensor, y_mp: Tensor, floor_kc: Tensor, known_mp: Tensor | None = None) -> Gaussians:
    """Parameters for features with a mask: first the base components, then, if K is 4, the distractors.

    alpha_0 = 1 - y, alpha_1 = y; alpha_2 = max(0, alpha_0 - p(z = 0 | x)), alpha_3 = max(0, alpha_1 - p(z = 1 | x)),
    with posteriors of the base components alone, at their new parameters.

    Args:
        x_mcp: Features, (M, C, P).
        y_mp: The mask of each object, (M, P) in [0, 1].
        floor_kc: r, (K, C) with K = 2 or 4.
        known_mp: Share of each position that is labelled, (M, P) in [0, 1]; default 1.
    """
    y = widen(y_mp)
    base_alpha = torch.stack([(1 if known_mp is None else known_mp) - y, y], 1)
    base = estimate(x_mcp, base_alpha, floor_kc[:2])
    if len(floor_kc) == 2:
        return base
    missed = (base_alpha - log_scores(x_mcp, base).softmax(1)).clamp_min(0)
    distractors = estimate(x_mcp, missed, floor_kc[2:])
    return Gaussians(*(torch.cat(both, 1) for both in zip(base, distractors, strict=True)))


def updated(old: Gaussians, new: Gaussians, rate: float = UPDATE) -> Gaussians:
    """New parameters, theta = (1 - lambda) theta_old + lambda theta_new."""
    return Gaussians(*(torch.lerp(a, b, rate) for a, b in zip(old, new, strict=True)))


def log_odds(scores_mkp: Tensor) -> Tensor:
    """Log odds of the object against its background, (M, P), from the scores of K = 2 or 4 components."""
    return scores_mkp[:, 1::2].logsumexp(1) - scores_mkp[:, ::2].logsumexp(1)

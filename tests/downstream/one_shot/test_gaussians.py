"""The Gaussians of A-GAME against transcriptions of its equations in float64, and against maximum likelihood."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from downstream.one_shot.gaussians import Gaussians, estimate, fit, log_odds, log_scores, updated

M, C, P = 2, 3, 17


def inputs(components: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Features whose object and background overlap, a soft mask, and r."""
    y = torch.rand(M, P, dtype=torch.float64)
    x = torch.randn(M, C, P, dtype=torch.float64) + 1.5 * y[:, None]
    floor = 0.1 + torch.rand(components, C, dtype=torch.float64)
    return x.requires_grad_(), y.requires_grad_(), floor.requires_grad_()


def density(x_c: Tensor, mean_c: Tensor, variance_c: Tensor) -> Tensor:
    """N(x | mu, Sigma) with a diagonal Sigma, as a full matrix."""
    sigma = torch.diag(variance_c)
    distance = x_c - mean_c
    power = torch.exp(-0.5 * distance @ torch.linalg.inv(sigma) @ distance)
    return power / torch.sqrt((2 * math.pi) ** len(x_c) * torch.linalg.det(sigma))


def transcription(x: Tensor, y: Tensor, floor: Tensor) -> Gaussians:
    """A-GAME's equations position by position, with one position added to every sum of assignments."""
    means, variances = [], []
    for m in range(len(x)):
        alpha = [[1 - y[m, p] for p in range(P)], [y[m, p] for p in range(P)]]
        theta: list[tuple[Tensor, Tensor]] = []
        for k in range(len(floor)):
            if k == 2:
                posterior = []
                for p in range(P):
                    both = [0.5 * density(x[m, :, p], *theta[i]) for i in (0, 1)]
                    posterior.append([own / (both[0] + both[1]) for own in both])
                zero = torch.zeros((), dtype=x.dtype)
                alpha += [[torch.maximum(zero, alpha[i][p] - posterior[p][i]) for p in range(P)] for i in (0, 1)]
            total = sum(alpha[k]) + 1
            mean = sum(alpha[k][p] * x[m, :, p] for p in range(P)) / total
            spread = sum(alpha[k][p] * (x[m, :, p] - mean) ** 2 for p in range(P)) / total
            theta.append((mean, spread + floor[k]))
        means.append(torch.stack([mean for mean, _ in theta]))
        variances.append(torch.stack([variance for _, variance in theta]))
    return Gaussians(torch.stack(means), torch.stack(variances))


def same_with_gradients(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], leaves: tuple[Tensor, ...]) -> None:
    weights = [torch.randn_like(x) for x in expected]
    gradients = []
    for outputs in (found, expected):
        total = sum((w * x).sum() for w, x in zip(weights, outputs, strict=True))
        gradients.append(torch.autograd.grad(total, leaves, retain_graph=True))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)
        assert a.abs().sum() > 0


@pytest.mark.parametrize("components", [2, 4])
def test_parameters_are_those_of_the_equations(components: int) -> None:
    leaves = inputs(components)
    found = fit(*leaves)
    assert found.mean.shape == found.variance.shape == (M, components, C)
    same_with_gradients(found, transcription(*leaves), leaves)


def test_both_distractors_have_something_to_model() -> None:
    """Otherwise the test above would not see them."""
    x, y, floor = inputs()
    theta = fit(x, y, floor)
    assert (theta.variance[:, 2:] - floor[2:]).abs().min() > 1e-4


def test_scores_are_log_densities_up_to_the_constant_of_all() -> None:
    x, y, floor = inputs()
    theta = fit(x, y, floor)
    found = log_scores(x, theta)
    constant = math.log(4) + C / 2 * math.log(2 * math.pi)
    rows = [
        torch.stack(
            [
                torch.stack(
                    [torch.log(density(x[m, :, p], theta.mean[m, k], theta.variance[m, k]) / 4) for p in range(P)]
                )
                for k in range(4)
            ]
        )
        for m in range(M)
    ]
    same_with_gradients((found,), (torch.stack(rows) + constant,), (x, y, floor))


def test_the_posterior_of_the_components_is_their_softmax() -> None:
    x, y, floor = inputs()
    theta = fit(x, y, floor)
    scores = log_scores(x, theta)
    each = torch.stack([density(x[1, :, 5], theta.mean[1, k], theta.variance[1, k]) for k in range(4)])
    torch.testing.assert_close(scores.softmax(1)[1, :, 5], each / each.sum())
    odds = (each[1] + each[3]) / (each[0] + each[2])
    torch.testing.assert_close(log_odds(scores)[1, 5], odds.log())
    torch.testing.assert_close(log_odds(scores[:, :2])[1, 5], (each[1] / each[0]).log())


def test_an_estimate_is_the_maximum_step_of_scikit_learn() -> None:
    """One iteration of EM from the same start; its `reg_covar` is r."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (80, C)), rng.normal(2, 0.5, (40, C))])
    start = Gaussians(torch.tensor(rng.normal(1, 1, (1, 2, C))), torch.tensor(rng.uniform(0.5, 2, (1, 2, C))))
    mixture = GaussianMixture(
        2,
        covariance_type="diag",
        max_iter=1,
        reg_covar=0.03,
        weights_init=[0.5, 0.5],
        means_init=start.mean[0].numpy(),
        precisions_init=1 / start.variance[0].numpy(),
    )
    with pytest.warns(ConvergenceWarning):
        mixture.fit(x)
    x_mcp = torch.from_numpy(x.T[None])
    alpha = log_scores(x_mcp, start).softmax(1)
    found = estimate(x_mcp, alpha, torch.full((2, C), 0.03, dtype=torch.float64), safety=0)
    np.testing.assert_allclose(found.mean[0].numpy(), mixture.means_, rtol=1e-9)
    np.testing.assert_allclose(found.variance[0].numpy(), mixture.covariances_, rtol=1e-9)


def test_an_estimate_has_the_highest_likelihood() -> None:
    x, y, _ = inputs()
    alpha, none = torch.stack([1 - y, y], 1), torch.zeros(2, C, dtype=torch.float64)
    best = estimate(x, alpha, none, safety=0)

    def likelihood(theta: Gaussians) -> Tensor:
        return (alpha * log_scores(x, theta)).sum()

    for leaf in Gaussians(*(value.detach().requires_grad_() for value in best)):
        theta = best._replace(mean=leaf) if leaf.detach().equal(best.mean) else best._replace(variance=leaf)
        (slope,) = torch.autograd.grad(likelihood(theta), leaf)
        assert slope.abs().max() < 1e-9
        moved = Gaussians(*(value + 0.01 * torch.randn_like(value) for value in best))
        assert likelihood(moved) < likelihood(best)


def test_weights_are_counts() -> None:
    """A position of weight 1 among others of weight 0 is the only one that counts."""
    x, _, floor = inputs(2)
    alpha = torch.zeros(M, 2, P, dtype=torch.float64)
    alpha[:, :, 4] = 1
    theta = estimate(x, alpha, floor, safety=0)
    torch.testing.assert_close(theta.mean, x[:, None, :, 4].expand(M, 2, C))
    torch.testing.assert_close(theta.variance, floor.expand(M, 2, C))


def test_empty_components_are_finite() -> None:
    x, _, floor = inputs()
    for mask in (torch.zeros(M, P), torch.ones(M, P)):
        theta = fit(x.float(), mask, floor.float())
        assert all(value.isfinite().all() for value in theta)
        empty = 1 if mask.sum() == 0 else 0
        torch.testing.assert_close(theta.variance[:, empty], floor[empty].float().expand(M, C))
        assert log_scores(x.float(), theta).isfinite().all()


def test_unlabelled_positions_belong_to_neither() -> None:
    x, y, floor = inputs()
    known = torch.ones(M, P, dtype=torch.float64)
    known[:, 10:] = 0
    mask = y.detach() * known
    found, expected = fit(x, mask, floor, known), fit(x[..., :10], mask[..., :10], floor)
    torch.testing.assert_close(found, expected)


def test_an_update_moves_a_part_of_the_way() -> None:
    a, b = (Gaussians(torch.rand(M, 4, C), torch.rand(M, 4, C)) for _ in range(2))
    for old, new, moved in zip(a, b, updated(a, b, 0.1), strict=True):
        torch.testing.assert_close(moved, 0.9 * old + 0.1 * new)


def test_half_precision_is_not_used_for_them() -> None:
    x, y, floor = (value.detach().float() for value in inputs())
    plain = log_scores(x, fit(x, y, floor))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(log_scores(x, fit(x, y, floor)), plain)

"""Eq. 8 against a dense float64 transcription, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mug.affinity import inliers
from mug.affinity.inliers import inlier_score, inlier_share
from tests.mug.affinity.dense import LargestTensor, assert_same, fresh


def some_warps(batch: int) -> Tensor:
    return (torch.eye(2, 3).repeat(batch, 1, 1) + 0.25 * torch.randn(batch, 2, 3)).double().requires_grad_()


def dense_affinity_and_offsets(query: Tensor, source: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """A (B, N, M) of Eq. 6 and the vectors (B, N, M, 2) from where the warp points to every source cell."""
    height, width = query.shape[-2:]
    affinity_bnm = torch.einsum("bcn,bcm->bnm", query.flatten(2), source.flatten(2)).div(0.1).softmax(2)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y], -1).flatten(0, 1).double()
    size = torch.tensor([width, height]).double()
    homogeneous = torch.cat([(2 * cells + 1) / size - 1, torch.ones(len(cells), 1).double()], 1)
    points = ((homogeneous @ theta.transpose(1, 2) + 1) * size - 1) / 2
    return affinity_bnm, points[:, :, None] - cells


def dense_inlier_score(query: Tensor, source: Tensor, theta: Tensor) -> Tensor:
    affinity_bnm, offset = dense_affinity_and_offsets(query, source, theta)
    weight = (1 - offset.abs()).clamp(min=0).prod(-1)
    return (affinity_bnm * weight / weight.sum(1, keepdim=True).clamp(min=1)).sum(2).mean(1)


@pytest.mark.parametrize("chunk", [1, 1 << 24])
def test_inlier_score_is_equation_8_with_a_soft_iota(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inliers, "CHUNK_ELEMENTS", chunk)
    query, source, theta = fresh(3, 6, 5, 7, unit=1), fresh(3, 6, 5, 7, unit=1), some_warps(3)
    assert_same(lambda q, s, t: inlier_score(q, s, t, 0.1), dense_inlier_score, query, source, theta)


def test_inlier_score_passes_gradcheck() -> None:
    inputs = fresh(2, 3, 4, 4, unit=1), fresh(2, 3, 4, 4, unit=1), some_warps(2)
    assert torch.autograd.gradcheck(lambda q, s, t: inlier_score(q, s, t, 0.3), inputs)


def test_inlier_share_is_equation_8_with_its_hard_iota() -> None:
    query, source = fresh(2, 6, 5, 7, unit=1), fresh(2, 6, 5, 7, unit=1)
    exact = torch.eye(2, 3).double()[None]
    for theta in (some_warps(2), exact.repeat(2, 1, 1)):  # at identity neighbours are at a distance of exactly one
        affinity_bnm, offset = dense_affinity_and_offsets(query, source, theta)
        expected = (affinity_bnm * (offset.norm(dim=-1) <= 1 + 1e-4)).sum(2).mean(1)
        torch.testing.assert_close(inlier_share(query, source, theta, 0.1), expected.detach())


def test_the_full_matrix_never_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inliers, "CHUNK_ELEMENTS", 1 << 14)
    query, source = torch.randn(1, 4, 24, 24, requires_grad=True), torch.randn(1, 4, 24, 24)
    theta = torch.eye(2, 3)[None].requires_grad_()
    with LargestTensor() as seen:
        inlier_score(query, source, theta).sum().backward()
    assert seen.elements <= 1 << 14 < 576 * 576


@pytest.mark.parametrize("zoom", [0.3, 0.6, 1.6, 3.0])
@pytest.mark.parametrize("kind", ["one cell that all resemble", "all alike", "a frame and itself"])
def test_zooming_cannot_cheat(zoom: float, kind: str) -> None:
    source = fresh(1, 16, 9, 9, unit=1).detach()
    query = source.clone()
    if kind == "one cell that all resemble":
        query = source[:, :, 4:5, 4:5].expand_as(source).clone()
    elif kind == "all alike":
        query = source = torch.ones_like(source) / 4
    identity = torch.eye(2, 3).double()[None]
    zoomed = torch.diag(torch.tensor([zoom, zoom]).double()) @ identity
    score = inlier_score(query, source, zoomed, 0.05).item()
    assert score <= inlier_score(query, source, identity, 0.05).item() * 1.05


def test_a_true_shift_scores_higher_than_no_shift() -> None:
    source = fresh(1, 16, 8, 8, unit=1).detach()
    query = source.roll(-2, 3)
    shift = torch.tensor([[[1.0, 0, 2 * 2 / 8], [0, 1, 0]]]).double()
    identity = torch.eye(2, 3).double()[None]
    assert inlier_score(query, source, shift, 0.05) > 0.7 > 0.2 > inlier_score(query, source, identity, 0.05)

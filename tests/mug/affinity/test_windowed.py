"""Matching within windows against a dense float64 transcription, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mug.affinity import windowed
from mug.affinity.windowed import topk_attend
from tests.mug.affinity.dense import LargestTensor, assert_same, fresh


def dense_topk(
    query: Tensor,
    memory: Tensor,
    values: Tensor,
    k: int | None,
    radii: list[int | None],
    temperature: float,
    circle: bool = False,
    renormalise: bool = True,
) -> Tensor:
    frames, _, height, width = memory.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    out = []
    for y in range(height):
        for x in range(width):
            logits, labels = [], []
            for t in range(frames):
                r = radii[t] if radii[t] is not None else height + width
                down, right = (rows - y).abs(), (columns - x).abs()
                seen = down**2 + right**2 <= r**2 if circle else (down <= r) & (right <= r)
                logits.append(query[:, y, x] @ memory[t][:, seen] / temperature)
                labels.append(values[t][:, seen])
            logit, label = torch.cat(logits), torch.cat(labels, 1)
            total = logit.logsumexp(0)
            if k is not None:
                logit, index = logit.topk(min(k, len(logit)))
                label = label[:, index]
            out.append(label @ (logit.softmax(0) if renormalise else (logit - total).exp()))
    return torch.stack(out, 1).view(-1, height, width)


@pytest.mark.parametrize("k", [1, 5, 400, None])
@pytest.mark.parametrize("radius", [0, 2, None, [None, 3, 1]])
def test_topk_attend_reads_the_best_of_all_windows(
    k: int | None, radius: int | list[int | None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windowed, "TILE", 4)
    query, memory, values = fresh(6, 9, 7, unit=0), fresh(3, 6, 9, 7, unit=1), fresh(3, 2, 9, 7)
    radii = radius if isinstance(radius, list) else [radius] * 3
    assert_same(
        lambda q, m, v: topk_attend(q, m, v, k, radius, 0.1),
        lambda q, m, v: dense_topk(q, m, v, k, radii, 0.1),
        query, memory, values,
    )  # fmt: skip


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("radius", [1, 2.3, 3, 5])  # 3-4-5 and 1-1-sqrt(2): cells that lie on a circle and beside it
def test_a_circle_holds_its_rim(radius: float, renormalise: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windowed, "TILE", 4)
    query, memory, values = fresh(6, 9, 11, unit=0), fresh(2, 6, 9, 11, unit=1), fresh(2, 2, 9, 11)
    assert_same(
        lambda q, m, v: topk_attend(q, m, v, 5, radius, 0.1, "circle", renormalise),
        lambda q, m, v: dense_topk(q, m, v, 5, [radius] * 2, 0.1, True, renormalise),
        query, memory, values,
    )  # fmt: skip


def test_topk_comes_before_the_softmax() -> None:
    query = torch.ones(1, 1, 1)
    memory = torch.tensor([2.0, 1.0, 0.0]).view(3, 1, 1, 1)
    values = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1, 1)
    read = topk_attend(query, memory, values, 2, 5, 1.0)
    assert read.item() == pytest.approx(torch.tensor([2.0, 1.0]).softmax(0)[0].item())


def test_topk_attend_computes_a_tile_at_a_time() -> None:
    query, memory, values = torch.randn(4, 40, 50), torch.randn(3, 4, 40, 50), torch.randn(3, 2, 40, 50)
    with LargestTensor() as seen, torch.no_grad():
        topk_attend(query, memory, values, 5, 6, 1.0)
    assert seen.elements <= windowed.TILE**2 * 3 * (windowed.TILE + 12) ** 2


def test_topk_attend_wants_a_radius_for_every_frame() -> None:
    with pytest.raises(ValueError, match="2 radii for 3 frames"):
        topk_attend(torch.ones(1, 2, 2), torch.ones(3, 1, 2, 2), torch.ones(3, 1, 2, 2), 1, [None, 1], 1.0)

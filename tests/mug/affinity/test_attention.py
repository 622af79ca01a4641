"""Attention against a dense float64 transcription, in value and gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mug.affinity import chunked as chunked_attention
from mug.affinity.attention import attend, co_attend
from tests.mug.affinity.dense import LargestTensor, assert_same, fresh


def dense_attend(query: Tensor, source: Tensor, value: Tensor, temperature: float) -> Tensor:
    return (query @ source.transpose(1, 2) / temperature).softmax(2) @ value


@pytest.fixture(params=[1, 7 * 29, 13 * 29, 1 << 20], ids=["seven chunks", "four", "two", "one"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 13 queries, with 29 sources."""
    monkeypatch.setattr(chunked_attention, "CHUNK_ELEMENTS", request.param)
    monkeypatch.setattr(chunked_attention, "ALIGNED", 2 if request.param == 1 else 4)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize(("width", "carried"), [(8, 8), (8, 20), (20, 8), (5, 20)])
def test_attend_is_softmax_over_the_source(width: int, carried: int) -> None:
    inputs = fresh(2, 13, width), fresh(2, 29, width), fresh(2, 29, carried)
    assert_same(lambda q, s, v: attend(q, s, v, 0.3), lambda q, s, v: dense_attend(q, s, v, 0.3), *inputs)


def test_attend_gives_the_temperature_a_gradient() -> None:
    query, source, value, temperature = fresh(1, 5, 4), fresh(1, 6, 4), fresh(1, 6, 4), torch.tensor(0.5).double()
    temperature.requires_grad_()
    assert_same(attend, dense_attend, query, source, value, temperature)


def dense_co_attend(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    edge = left @ weight @ right.transpose(1, 2)
    return torch.cat([edge.softmax(2) @ right, edge.transpose(1, 2).softmax(2) @ left], 1)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("scale", [1, 30])
def test_both_sides_of_an_edge_attend_to_each_other(scale: float) -> None:
    """At the scale of 30 a row or a column has logits hundreds apart; chunk after chunk the largest may grow."""
    inputs = fresh(2, 13, 8), fresh(2, 29, 8), (scale * fresh(8, 8)).detach().requires_grad_()
    assert_same(lambda *x: torch.cat(co_attend(*x), 1), dense_co_attend, *inputs)
    for side in (0, 1):  # the gradient of one side alone
        dense = lambda *x: dense_co_attend(*x).split((13, 29), 1)[side]  # noqa: B023, E731
        assert_same(lambda *x: co_attend(*x)[side], dense, *inputs)  # noqa: B023


def test_in_half_precision_both_sides_read_about_the_same() -> None:
    inputs = tuple(x.float() for x in (fresh(2, 13, 8), fresh(2, 29, 8), fresh(8, 8)))
    with torch.autocast("cpu", torch.bfloat16):
        half = torch.cat(co_attend(*inputs), 1)
        narrow = attend(inputs[0][..., :2], inputs[1][..., :2], inputs[1])
    assert half.dtype == narrow.dtype == torch.float32
    torch.testing.assert_close(half, dense_co_attend(*inputs), rtol=0.1, atol=0.1)
    torch.testing.assert_close(narrow, attend(inputs[0][..., :2], inputs[1][..., :2], inputs[1]), rtol=0.1, atol=0.1)


def kept_maps(compute: Callable[[], Tensor | tuple[Tensor, ...]], one: Tensor) -> float:
    """How many times the bytes of `one` autograd keeps for the backward pass."""
    storages = {}

    def pack(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        results = compute()
    assert results is not None
    return sum(x.untyped_storage().nbytes() for x in storages.values()) / one.nbytes


def test_in_half_precision_nothing_is_kept_twice_or_padded() -> None:
    left, right, narrow = (fresh(1, 64, n).detach().float().requires_grad_() for n in (32, 32, 4))
    weight = torch.eye(32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        both = kept_maps(lambda: co_attend(left, right, weight), left)
        loop = kept_maps(lambda: attend(narrow, narrow * 2, left), left)
    assert both <= 3.5  # halves: query and sides, what was read of each, W; and the sums of the softmaxes
    assert loop <= 1.5  # the value itself, and what is narrow


@pytest.mark.parametrize("width", [2, 8])
def test_no_matrix_of_positions_is_held(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_attention, "CHUNK_ELEMENTS", 32 * 2048)
    query, source, value = torch.randn(1, 1024, width), torch.randn(1, 2048, width), torch.randn(1, 2048, 16)
    for x in (query, source, value):
        x.requires_grad_()
    with LargestTensor() as seen:
        attend(query, source, value).sum().backward()
        torch.cat(co_attend(query, source, torch.eye(width)), 1).sum().backward()
    assert seen.elements < 1024 * 2048 / 8

"""Every affinity operation against a dense float64 transcription, in value and gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mug import affinity, chunked_attention
from mug.affinity import attend, co_attend, inlier_score, inlier_share, topk_attend


class LargestTensor(TorchDispatchMode):
    """Remembers how many elements the largest result of any operation has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor):
                self.elements = max(self.elements, x.numel())
        return out


def fresh(*shape: int, unit: int | None = None) -> Tensor:
    x = torch.randn(*shape, dtype=torch.float64)
    return (F.normalize(x, dim=unit) if unit is not None else x).requires_grad_()


def assert_same(ours: Callable[..., Tensor], dense: Callable[..., Tensor], *inputs: Tensor) -> None:
    a, b = ours(*inputs), dense(*inputs)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
    weight = torch.randn_like(b)
    inputs = tuple(x for x in inputs if x.requires_grad)
    for x, y in zip(torch.autograd.grad((a * weight).sum(), inputs), torch.autograd.grad((b * weight).sum(), inputs)):  # noqa: B905
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-10)


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


def dense_topk(
    query: Tensor, memory: Tensor, values: Tensor, k: int | None, radii: list[int | None], temperature: float
) -> Tensor:
    frames, _, height, width = memory.shape
    out = []
    for y in range(height):
        for x in range(width):
            logits, labels = [], []
            for t in range(frames):
                r = radii[t] if radii[t] is not None else max(height, width)
                window = (..., slice(max(0, y - r), y + r + 1), slice(max(0, x - r), x + r + 1))
                logits.append(torch.einsum("c,cyx->yx", query[:, y, x], memory[t][window]).flatten() / temperature)
                labels.append(values[t][window].flatten(1))
            logit, label = torch.cat(logits), torch.cat(labels, 1)
            if k is not None:
                logit, index = logit.topk(min(k, len(logit)))
                label = label[:, index]
            out.append(label @ logit.softmax(0))
    return torch.stack(out, 1).view(-1, height, width)


@pytest.mark.parametrize("k", [1, 5, 400, None])
@pytest.mark.parametrize("radius", [0, 2, None, [None, 3, 1]])
def test_topk_attend_reads_the_best_of_all_windows(
    k: int | None, radius: int | list[int | None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(affinity, "TILE", 4)
    query, memory, values = fresh(6, 9, 7, unit=0), fresh(3, 6, 9, 7, unit=1), fresh(3, 2, 9, 7)
    radii = radius if isinstance(radius, list) else [radius] * 3
    assert_same(
        lambda q, m, v: topk_attend(q, m, v, k, radius, 0.1),
        lambda q, m, v: dense_topk(q, m, v, k, radii, 0.1),
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
    assert seen.elements <= affinity.TILE**2 * 3 * (affinity.TILE + 12) ** 2


def test_topk_attend_wants_a_radius_for_every_frame() -> None:
    with pytest.raises(ValueError, match="2 radii for 3 frames"):
        topk_attend(torch.ones(1, 2, 2), torch.ones(3, 1, 2, 2), torch.ones(3, 1, 2, 2), 1, [None, 1], 1.0)


# --- the warp --------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(affinity, "CHUNK_ELEMENTS", chunk)
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
    monkeypatch.setattr(affinity, "CHUNK_ELEMENTS", 1 << 14)
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

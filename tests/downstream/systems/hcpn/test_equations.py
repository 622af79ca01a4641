"""Each equation of HCPN against a dense transcription in double precision, in value and gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from downstream.systems.hcpn.attention import ParallelCoAttention, SoftAttention
from downstream.systems.hcpn.decoder import Restriction, logit_of_product
from downstream.systems.hcpn.fusion import CrossCoAttention
from downstream.systems.hcpn.gates import ChannelAttention, GlobalLocalContext
from downstream.systems.hcpn.loss import contours_of, mask_and_contour_loss


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch.seed()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def scattered(module: nn.Module) -> nn.Module:
    """In double precision, with parameters that no initialisation gives."""
    module.double()
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.7
    return module


def same(ours: Callable[[], Tensor], dense: Callable[[], Tensor], leaves: Sequence[Tensor]) -> None:
    """Equal values, and equal gradients of all leaves."""
    mine, expected = ours(), dense()
    assert mine.shape == expected.shape
    assert torch.allclose(mine, expected, rtol=1e-9, atol=1e-10)
    weight = torch.randn_like(expected)
    found, wanted = (torch.autograd.grad((out * weight).sum(), leaves) for out in (mine, expected))
    for x, y in zip(found, wanted, strict=True):
        assert y.abs().max() > 0
        assert torch.allclose(x, y, rtol=1e-7, atol=1e-9)


def attended(x: Tensor, w: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for b in range(len(x)):
        scores = torch.stack([x[b, p] @ w / x[b, p].norm() for p in range(x.shape[1])])
        share = scores.exp() / scores.exp().sum()
        out[b] = torch.stack([x.shape[1] * share[p] * x[b, p] for p in range(x.shape[1])])
    return out


def test_soft_attention_weighs_positions_and_keeps_the_mean_weight() -> None:
    module, x = scattered(SoftAttention(5)), drawn(2, 7, 5)
    w = module.score.weight  # type: ignore[union-attr]
    same(lambda: module(x), lambda: attended(x, w[0]), [x, w])
    ones = torch.ones(1, 7, 5, dtype=torch.float64)
    assert torch.allclose(module(ones), ones)


def co_attended(module: ParallelCoAttention, m: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """M^ and N^ (B, P, C), with the matrices of Eq. 2 (C, P) written out."""
    a, b = module.motion, module.appearance
    rows, columns = [], []
    for m_pc, n_pc in zip(m, n, strict=True):
        s = (a.weight @ n_pc.T + a.bias[:, None]).T @ (b.weight @ m_pc.T + b.bias[:, None])
        rows.append((m_pc.T @ (s.exp() / s.exp().sum(1, keepdim=True)).T).T)
        columns.append((n_pc.T @ (s.exp() / s.exp().sum(0, keepdim=True))).T)
    return torch.stack(rows), torch.stack(columns)


@pytest.mark.parametrize("stacks", [1, 3])
@pytest.mark.parametrize("channels", [6, 80])  # one fused, one in chunks
def test_parallel_co_attention_eq_2(stacks: int, channels: int) -> None:
    module = ParallelCoAttention(channels, stacks, 16).double()
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) / channels**0.5
    appearance, motion = drawn(2, 6, channels), drawn(2, 6, channels)

    def dense() -> Tensor:
        o, f = appearance, motion
        for _ in range(stacks):
            m = attended(o, module.see_appearance.score.weight[0])
            n = attended(f, module.see_motion.score.weight[0])
            m_hat, n_hat = co_attended(module, m, n)
            o, f = o + m_hat, f + n_hat
        return n_hat

    # softmax over the motion cancels the motion-free part of S, b^T of the appearance's side
    leaves = [appearance, motion, *(p for name, p in module.named_parameters() if name != "appearance.bias")]
    same(lambda: module(appearance, motion), dense, leaves)


def channel_attention(module: ChannelAttention, v: Tensor) -> Tensor:
    out = []
    for v_chw in v:
        s = torch.stack([a * (x.pow(2).sum() + 1e-5).sqrt() for a, x in zip(module.alpha, v_chw, strict=True)])
        share = s / (s.pow(2).mean() + 1e-5).sqrt()
        out.append(v_chw * (1 + torch.tanh(module.gamma * share + module.beta))[:, None, None])
    return torch.stack(out)


def test_channel_attention() -> None:
    module, v = scattered(ChannelAttention(4)), drawn(2, 4, 3, 5)
    assert isinstance(module, ChannelAttention)
    same(lambda: module(v), lambda: channel_attention(module, v), [v, *module.parameters()])
    assert torch.equal(ChannelAttention(4).double()(v), v)  # as it begins


def test_cross_co_attention_eq_3() -> None:
    module, x, y = scattered(CrossCoAttention(8, "gaf")), drawn(2, 8, 3, 4), drawn(2, 8, 3, 4)
    assert isinstance(module, CrossCoAttention)
    for layers in (module.fuse.overall, module.fuse.local):
        next(layers.children()).bias.data.abs_().add_(2)  # no unit is off for all that it sees

    def squeezed(layers: nn.Module, x_chw: Tensor) -> Tensor:
        first, _, last = layers.children()
        inner = torch.einsum("oc,chw->ohw", first.weight[:, :, 0, 0], x_chw) + first.bias[:, None, None]
        return torch.einsum("oc,chw->ohw", last.weight[:, :, 0, 0], inner.clamp(min=0)) + last.bias[:, None, None]

    def dense() -> Tensor:
        out = []
        both = channel_attention(module.attention, x) + channel_attention(module.attention, y)
        for f in both:
            gap = torch.stack([channel.mean() for channel in f])[:, None, None]
            gate = squeezed(module.fuse.overall, gap) + squeezed(module.fuse.local, f)
            out.append(f / (1 + (-gate).exp()))
        return torch.stack(out)

    same(lambda: module(x, y), dense, [x, y, *module.parameters()])


@pytest.mark.parametrize("fusion", ["addition", "concatenation"])
def test_other_fusions(fusion: str) -> None:
    module, x, y = scattered(CrossCoAttention(4, fusion)), drawn(2, 4, 3, 3), drawn(2, 4, 3, 3)  # type: ignore[arg-type]
    a, b = channel_attention(module.attention, x), channel_attention(module.attention, y)  # type: ignore[arg-type]
    if fusion == "addition":
        assert torch.allclose(module(x, y), a + b)
        return
    w, shift = module.fuse.mix.weight[:, :, 0, 0], module.fuse.mix.bias  # type: ignore[union-attr]
    expected = torch.einsum("oc,bchw->bohw", w, torch.cat([a, b], 1)) + shift[:, None, None]
    assert torch.allclose(module(x, y), expected)


def test_global_local_context_eq_4() -> None:
    module, v = scattered(GlobalLocalContext(5)), drawn(2, 5, 3, 4)
    assert isinstance(module, GlobalLocalContext)

    def dense() -> Tensor:
        out = torch.empty_like(v)
        for b in range(len(v)):
            norms = torch.stack([(v[b, c].pow(2).sum() + 1e-5).sqrt() for c in range(5)])
            for c in range(5):
                n_l = 12**0.5 * v[b, c] / norms[c]
                n_c = norms[c] / (norms.pow(2).mean() + 1e-5).sqrt()
                g = module.scale[c] * n_l
                out[b, c] = g + g * torch.tanh(module.gain[c] * n_c + module.shift[c])
        return out

    same(lambda: module(v), dense, [v, *module.parameters()])


def test_restriction_eq_5() -> None:
    module, t, contours = scattered(Restriction()), drawn(2, 1, 9, 8), drawn(2, 4, 9, 8)
    assert isinstance(module, Restriction)

    def dense() -> Tensor:
        total = sum(1 / (1 + (-contours[:, j]).exp()) for j in range(4))
        padded, w = F.pad(total, (3, 3, 3, 3)), module.vote.weight[0, 0]
        vote = torch.stack([
            torch.stack([(padded[:, y : y + 7, x : x + 7] * w).sum((1, 2)) for x in range(8)], -1) for y in range(9)
        ], -2) + module.vote.bias  # fmt: skip
        return (1 / (1 + (-vote).exp()))[:, None] / (1 + (-t).exp())

    same(lambda: module(t, contours).sigmoid(), dense, [t, contours, *module.parameters()])


def test_the_product_of_probabilities_does_not_overflow() -> None:
    a = torch.tensor([0.0, 900.0, -900.0, 900.0], requires_grad=True)
    b = torch.tensor([0.0, 900.0, 900.0, 0.0])
    found = logit_of_product(a, b)
    assert found.tolist() == pytest.approx([-1.0986123, 899.3068, -900.0, 0.0], rel=1e-5)
    found.sum().backward()
    assert a.grad is not None and a.grad.isfinite().all()


def test_loss_eq_6() -> None:
    masks, contours = drawn(3, 1, 5, 6), drawn(3, 2, 5, 6)
    target = torch.rand(3, 5, 6, dtype=torch.float64).round()
    target[0, 1, 2] = torch.nan
    target[2] = 0

    def neighbours(n: int, y: int, x: int) -> list[float]:
        around = [(n, i, j) for i in range(y - 1, y + 2) for j in range(x - 1, x + 2)]
        return [float(target[at]) for at in around if 0 <= at[1] < 5 and 0 <= at[2] < 6]

    def dense() -> Tensor:
        p, r = 1 / (1 + (-masks[:, 0]).exp()), 1 / (1 + (-contours).exp())
        cells = [(n, y, x) for n in range(3) for y in range(5) for x in range(6)]
        known = [at for at in cells if not target[at].isnan()]
        mask = -sum(torch.log(p[at] if target[at] == 1 else 1 - p[at]) for at in known) / len(known)
        terms, count = [], 0
        for n in range(3):
            found = {}
            for y in range(5):
                for x in range(6):
                    near = neighbours(n, y, x)
                    if not any(value != value for value in near):
                        found[y, x] = 1 if 0 in near and 1 in near else 0
            eta = min(max(sum(found.values()) / len(found), 0.01), 0.99)
            count += len(found)
            for (y, x), there in found.items():
                for j in range(2):
                    q = r[n, j, y, x]
                    terms.append(-(1 - eta) * torch.log(q) if there else -eta * torch.log(1 - q))
        return torch.stack([mask, sum(terms) / (2 * count)])

    same(lambda: torch.stack(list(mask_and_contour_loss(masks, contours, target))), dense, [masks, contours])
    alone = mask_and_contour_loss(masks, None, target)
    assert torch.allclose(alone.mask, dense()[0]) and alone.contour == 0


def test_contours_run_along_the_mask_and_not_along_the_frame() -> None:
    target = torch.zeros(1, 6, 7)
    target[0, 2:, :3] = 1
    expected = torch.tensor([
        [0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0],
    ])  # fmt: skip
    assert torch.equal(contours_of(target)[0], expected.float())

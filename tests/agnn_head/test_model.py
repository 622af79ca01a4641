"""Message passing against a dense transcription of AGNN Eq. 4 - 11, and what the graph must not depend on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from agnn_head.loss import weighted_bce
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from mug.affinity import chunked as chunked_attention
from mug.errors import InputError
from mug.options import BackboneConfig, EmbeddingConfig

SMALL = EmbeddingConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))


def small_model(seed: int = 0, channels: int = 16, **options) -> AGNN:
    torch.manual_seed(seed)
    model = AGNN(AGNNConfig(SMALL, channels=channels, **options)).double()
    if not model.config.graph:
        return model
    with torch.no_grad():  # away from what is special about the beginning
        model.messages.loop.alpha.fill_(0.7)
        model.messages.line.free.add_(0.2 * torch.randn_like(model.messages.line.free))
    return model


def features(frames: int, batch: int = 2, channels: int = 16) -> Tensor:
    return torch.randn(batch, frames, channels, 4, 5, dtype=torch.float64).relu().requires_grad_()


def dense_round(model: AGNN, h: dict[int, Tensor], gated: bool) -> dict[int, Tensor]:
    """One round of AGNN Eq. 4 - 10 for one graph, h_i (P, C), with every edge and softmax a matrix."""
    loop, gru = model.messages.loop, model.update
    w_f, w_h, w_l = loop.f.weight, loop.h.weight, loop.l.weight
    w_c = model.messages.line.weight
    edge = {}
    for i in h:
        for j in h:
            if i < j:
                edge[i, j] = h[i] @ w_c @ h[j].T  # Eq. 5
                edge[j, i] = edge[i, j].T
    new = {}
    for i in h:
        total = torch.zeros_like(h[i])
        for j in h:
            if i == j:
                attention = torch.softmax((h[i] @ w_f.T) @ (h[i] @ w_h.T).T, 1)
                m = loop.alpha * (attention @ (h[i] @ w_l.T)) + h[i]  # Eq. 4, 6
            else:
                m = torch.softmax(edge[i, j], 1) @ h[j]  # Eq. 7
            if gated:
                gate = model.messages.gate.linear
                total = total + torch.sigmoid((m @ gate.weight.T + gate.bias).mean(0)) * m  # Eq. 8, 9
            else:
                total = total + m
        w, b = gru.message.weight.chunk(3), gru.message.bias.chunk(3)
        u_z, u_r = gru.state.weight.chunk(2)
        z = torch.sigmoid(total @ w[0].T + b[0] + h[i] @ u_z.T)  # Eq. 10
        r = torch.sigmoid(total @ w[1].T + b[1] + h[i] @ u_r.T)
        candidate = torch.tanh(total @ w[2].T + b[2] + (r * h[i]) @ gru.reset.weight.T)
        new[i] = (1 - z) * h[i] + z * candidate
    return new


def dense_propagate(model: AGNN, v_bnchw: Tensor, rounds: int, gated: bool = True) -> Tensor:
    graphs = []
    for v_nchw in v_bnchw:
        h = {i: x.flatten(1).T for i, x in enumerate(v_nchw)}
        for _ in range(rounds):
            h = dense_round(model, h, gated)
        graphs.append(torch.stack([h[i].T.view_as(v_nchw[i]) for i in h]))
    return torch.stack(graphs)


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize(("frames", "rounds"), [(1, 2), (2, 3), (3, 1), (5, 2)])
def test_messages_are_equations_4_to_10_in_value_and_gradient(frames: int, rounds: int, gated: bool) -> None:
    model, v = small_model(gated=gated), features(frames)
    ours = model.propagate(v, iterations=rounds)
    dense = dense_propagate(model, v, rounds, gated)
    torch.testing.assert_close(ours, dense, rtol=1e-9, atol=1e-10)
    weight = torch.randn_like(dense)
    parameters = dict(model.messages.named_parameters()) | dict(model.update.named_parameters())
    if frames == 1:
        del parameters["line.free"]  # nobody to hear
    wanted = [v, *parameters.values()]
    for x, y in zip(
        torch.autograd.grad((ours * weight).sum(), wanted),
        torch.autograd.grad((dense * weight).sum(), wanted),
        strict=True,
    ):
        assert y.abs().max() > 0
        torch.testing.assert_close(x, y, rtol=1e-7, atol=1e-10)


def test_the_readout_is_equation_11_in_value_and_gradient() -> None:
    model = small_model().eval()
    v, h = features(3), features(3)
    for norm in (model.readout.layers[1], model.readout.layers[4]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = torch.cat([h, v], 2).flatten(0, 1)
    for conv, norm in ((0, 1), (3, 4)):
        conv, norm = model.readout.layers[conv], model.readout.layers[norm]
        windows = F.unfold(x, 3, padding=1)
        x = (conv.weight.flatten(1) @ windows).view(len(x), -1, 4, 5)
        mean, variance = norm.running_mean[:, None, None], norm.running_var[:, None, None]
        x = (x - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        x = x.clamp(min=0)
    last = model.readout.layers[6]
    dense = (torch.einsum("oc,bchw->bohw", last.weight[:, :, 0, 0], x) + last.bias[:, None, None]).view(2, 3, 1, 4, 5)
    ours = model.read(h, v)
    torch.testing.assert_close(ours, dense)
    weight, wanted = torch.randn_like(dense), [h, v, *model.readout.parameters()]
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), wanted),
        torch.autograd.grad((dense * weight).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_forward_embeds_propagates_and_reads() -> None:
    model = small_model(iterations=2).eval()
    frames = torch.rand(2, 3, 3, 33, 40, dtype=torch.float64)
    with torch.no_grad():
        v = torch.stack([model.embed(x) for x in frames])
        expected = model.read(model.propagate(v, iterations=2), v)
        ours = model(frames)
    assert ours.shape == (2, 3, 1, 5, 5)
    torch.testing.assert_close(ours, expected)
    assert model.auxiliary(v.flatten(0, 1)).shape == (6, 1, 5, 5)


def test_frames_have_no_order() -> None:
    model, frames = small_model().eval(), torch.rand(1, 4, 3, 32, 40, dtype=torch.float64)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        torch.testing.assert_close(model(frames[:, order]), model(frames)[:, order], rtol=1e-9, atol=1e-10)


def test_graphs_of_a_batch_do_not_hear_each_other() -> None:
    model, v = small_model(), features(3, batch=3)
    torch.testing.assert_close(model.propagate(v)[1:2], model.propagate(v[1:2]), rtol=1e-9, atol=1e-10)


def test_frames_and_rounds_may_change_without_training() -> None:
    model = small_model().eval()
    frames = torch.rand(1, 5, 3, 32, 40, dtype=torch.float64)
    with torch.no_grad():
        seen = {(n, k): model(frames[:, :n], iterations=k)[:, 0] for n in (1, 3, 5) for k in (0, 1, 5)}
    for k in (1, 5):  # each frame more is heard
        assert not torch.allclose(seen[1, k], seen[3, k]) and not torch.allclose(seen[3, k], seen[5, k])
    torch.testing.assert_close(seen[1, 0], seen[5, 0])  # without rounds nobody is
    v = features(2)
    torch.testing.assert_close(model.propagate(v, iterations=0), v)
    half_way = model.propagate(v, iterations=1)
    torch.testing.assert_close(model.propagate(v, half_way, 2), model.propagate(v, iterations=3))
    assert torch.equal(model.propagate(v), model.propagate(v, iterations=3))


def test_the_attention_map_is_a_row_of_the_softmax() -> None:
    model = small_model()
    query, source = torch.rand(16, 4, 5, dtype=torch.float64), torch.rand(16, 3, 7, dtype=torch.float64)
    seen = model.attention_map(query, source, (3, 1))
    dense = torch.softmax(query.flatten(1).T @ model.messages.line.weight @ source.flatten(1), 1)
    torch.testing.assert_close(seen, dense[1 * 5 + 3].view(3, 7))
    assert seen.sum().item() == pytest.approx(1)
    for outside in ((5, 0), (0, 4), (-1, 0)):
        with pytest.raises(ValueError, match="outside the grid of 5 x 4"):
            model.attention_map(query, source, outside)


def test_the_loop_attention_map_is_a_row_of_the_softmax() -> None:
    model = small_model()
    h = torch.rand(16, 4, 5, dtype=torch.float64)
    rows = h.flatten(1).T
    dense = torch.softmax((rows @ model.messages.loop.f.weight.T) @ (rows @ model.messages.loop.h.weight.T).T, 1)
    seen = model.loop_attention_map(h, (3, 1))
    torch.testing.assert_close(seen, dense[1 * 5 + 3].view(4, 5))
    with pytest.raises(ValueError, match="outside the grid of 5 x 4"):
        model.loop_attention_map(h, (5, 0))


def test_gates_are_equation_8_of_each_pair() -> None:
    model, states = small_model(), features(3).detach()
    ours, linear = model.gates(states), model.messages.gate.linear
    assert ours.shape == (2, 3, 3, 16)
    for b, i, j in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(3)).tolist():
        h_i, h_j = states[b, i].flatten(1).T, states[b, j].flatten(1).T
        if i == j:
            loop = model.messages.loop
            attention = torch.softmax((h_i @ loop.f.weight.T) @ (h_i @ loop.h.weight.T).T, 1)
            message = loop.alpha * (attention @ (h_i @ loop.l.weight.T)) + h_i
        else:
            message = torch.softmax(h_i @ model.messages.line.weight @ h_j.T, 1) @ h_j
        expected = torch.sigmoid((message @ linear.weight.T + linear.bias).mean(0))
        torch.testing.assert_close(ours[b, i, j], expected)
    assert (ours[:, 0, 1] - ours[:, 1, 0]).abs().max() > 1e-6  # the two directions of an edge differ


def test_without_gates_every_message_is_trusted() -> None:
    assert torch.equal(small_model(gated=False).gates(features(3)), torch.ones(2, 3, 3, 16, dtype=torch.float64))


class LargestTensor(TorchDispatchMode):
    """Remembers how many elements the largest result of any operation has."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor):
                self.elements = max(self.elements, x.numel())
        return out


def test_no_edge_exists_as_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_attention, "CHUNK_ELEMENTS", 1)  # 32 of 1024 queries at a time
    model = small_model(channels=8)
    v = torch.randn(1, 2, 8, 32, 32, dtype=torch.float64, requires_grad=True)
    with LargestTensor() as seen:
        model.propagate(v, iterations=1).sum().backward()
    assert seen.elements < 1024**2 / 8


@pytest.mark.parametrize("frames", [1, 3, 6])
def test_a_round_keeps_its_messages_and_a_few_maps_of_each_node_for_the_backward_pass(frames: int) -> None:
    side, channels, rounds = 16, 8, 3
    model, storages = small_model(channels=channels), {}
    v = torch.randn(1, frames, channels, side, side, dtype=torch.float64, requires_grad=True)

    def pack(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = model.propagate(v, iterations=rounds)
    assert out.requires_grad
    kept = sum(x.untyped_storage().nbytes() for x in storages.values()) / (side * side * channels * v.itemsize)
    # of each node its state, what it read in itself and heard, and one channel of eight each of W_f h and W_h h; the
    # eighth on top are the normalisers of the softmaxes
    assert kept <= 9 / 8 * rounds * (frames * (frames - 1) + 3 * frames) + rounds * frames / 4 + 2


def test_half_precision_is_close_and_trains() -> None:
    model = small_model().float()
    v = features(3).detach().float()
    full = model.propagate(v)
    with torch.autocast("cpu", torch.bfloat16):
        half = model.propagate(v)
        loss = model.read(half, v).float().square().mean()
    torch.testing.assert_close(half.float(), full, rtol=0.1, atol=0.1)
    loss.backward()
    trained = [*model.messages.parameters(), *model.update.parameters(), *model.readout.parameters()]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


def test_it_learns() -> None:
    model = small_model().float()
    torch.manual_seed(1)
    frames = torch.rand(1, 3, 3, 48, 48)
    target = torch.zeros(1, 3, 6, 6)
    target[:, :, 2:4, 2:5] = 1
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.05)
    losses = []
    for _ in range(3):
        loss = weighted_bce(model(frames), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]


def test_the_static_image_output_trains_the_embedding() -> None:
    model = small_model().float()
    weighted_bce(model.auxiliary(model.embed(torch.rand(2, 3, 32, 32))), torch.ones(2, 4, 4)).backward()
    assert model.embedding.trunk.phi.resnet.conv1.weight.grad.abs().max() > 0


def test_every_parameter_that_trains_has_a_gradient_but_the_static_image_output() -> None:
    model = small_model().float()
    model(torch.rand(1, 2, 3, 32, 32)).sum().backward()
    without = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert without == {"intermediate.weight", "intermediate.bias"}


def test_without_the_graph_each_frame_has_the_output_of_the_embedding_alone() -> None:
    model = small_model(graph=False).eval()
    assert {name.split(".")[0] for name in model.state_dict()} == {"embedding", "intermediate"}
    frames = torch.rand(2, 3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = model.auxiliary(model.embed(frames.flatten(0, 1))).unflatten(0, (2, 3))
        for asked in (None, 3):
            torch.testing.assert_close(model(frames, iterations=asked), expected)


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"iterations": -1}])
def test_what_cannot_be_built_is_named(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        AGNN(AGNNConfig(SMALL, **wrong))
    with pytest.raises(ValueError, match="iterations"):
        small_model().propagate(features(1), iterations=-1)

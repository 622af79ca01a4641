"""COSNet's equations against dense transcriptions in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from downstream.systems.cosnet import COSNetConfig
from downstream.systems.cosnet.affinity import FORMS
from downstream.systems.cosnet.attention import CoAttention
from downstream.systems.cosnet.network import COSNet
from mug.errors import InputError
from tests.downstream.systems.cosnet.made import TRUNK, small

ATTENTIONS = [*FORMS, "none"]


def dense(a_pc: Tensor, b_qc: Tensor, w: Tensor, w_f: Tensor, b_f: Tensor) -> tuple[Tensor, Tensor]:
    """Gated Z_a and Z_b as the paper writes them: V is C x WH, S = V_b^T W V_a."""
    v_a, v_b = a_pc.T, b_qc.T
    s = v_b.T @ w @ v_a
    z_a, z_b = v_b @ s.softmax(0), v_a @ s.softmax(1).T
    gated = [z * torch.sigmoid(w_f @ z + b_f) for z in (z_a, z_b)]
    return gated[0].T, gated[1].T


def module(form: str) -> CoAttention:
    torch.manual_seed(0)
    made = CoAttention(6, form).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def gradients(out: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(9), dtype=out.dtype)
    return torch.autograd.grad((out * weight).sum(), inputs, retain_graph=True)


@pytest.mark.parametrize("form", FORMS)
def test_both_summaries_of_a_pair(form: str) -> None:
    made = module(form)
    a = torch.randn(2, 11, 6, dtype=torch.float64).requires_grad_()
    b = torch.randn(2, 7, 6, dtype=torch.float64).requires_grad_()
    inputs = [a, b, *made.parameters()]
    found = made(a, b)
    w, w_f, b_f = made.affinity(), made.gate.weight, made.gate.bias
    pairs = [dense(x, y, w, w_f, b_f) for x, y in zip(a, b, strict=True)]
    expected = [torch.stack(z) for z in zip(*pairs, strict=True)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(gradients(ours, inputs), gradients(theirs, inputs))


@pytest.mark.parametrize("form", FORMS)
def test_summaries_of_a_frame_from_several_references(form: str) -> None:
    made = module(form)
    a = torch.randn(11, 6, dtype=torch.float64).requires_grad_()
    b = torch.randn(3, 7, 6, dtype=torch.float64).requires_grad_()
    inputs = [a, b, *made.parameters()]
    found = made.summaries(a, b)
    expected = torch.stack([dense(a, x, made.affinity(), made.gate.weight, made.gate.bias)[0] for x in b])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


def head(network: COSNet, *maps_bchw: Tensor) -> Tensor:
    """Convolutions, norms and ReLUs one by one."""
    x = torch.cat(maps_bchw, 1)
    tensors = network.head.layers.state_dict()
    for k in range(network.config.layers):
        x = conv2d(x, tensors[f"{3 * k}.weight"], padding=1)
        norm = {part: tensors[f"{3 * k + 1}.{part}"].view(-1, 1, 1) for part in ("weight", "bias")}
        mean, variance = (tensors[f"{3 * k + 1}.running_{part}"].view(-1, 1, 1) for part in ("mean", "var"))
        x = ((x - mean) / (variance + 1e-5).sqrt() * norm["weight"] + norm["bias"]).clamp(min=0)
    last = 3 * network.config.layers
    return conv2d(x, tensors[f"{last}.weight"], tensors[f"{last}.bias"])


def as_map(z_pc: Tensor) -> Tensor:
    """(16, C) -> (1, C, 4, 4)."""
    return z_pc.T.reshape(1, -1, 4, 4)


@pytest.mark.parametrize(("attention", "layers"), [(form, 2) for form in FORMS] + [("vanilla", 1)])
def test_both_frames_of_a_pair_are_segmented(attention: str, layers: int) -> None:
    network = small(attention, layers).double()
    frames = torch.rand(3, 2, 3, 32, 32, dtype=torch.float64)
    found = network(frames)
    module, gate = network.co_attention, network.co_attention.gate
    for pair, logits in zip(frames, found, strict=True):
        v = network.embed(pair)
        a, b = v.flatten(2).transpose(1, 2)
        z_a, z_b = dense(a, b, module.affinity(), gate.weight, gate.bias)
        torch.testing.assert_close(logits[:1], head(network, as_map(z_a), v[:1]))
        torch.testing.assert_close(logits[1:], head(network, as_map(z_b), v[1:]))


def test_references_are_fused_by_summary_or_by_prediction() -> None:
    network = small("vanilla").double()
    v = network.embed(torch.rand(4, 3, 32, 32, dtype=torch.float64))
    gate, weight = network.co_attention.gate, network.co_attention.affinity()
    a, *others = v.flatten(2).transpose(1, 2)
    z = [dense(a, b, weight, gate.weight, gate.bias)[0] for b in others]
    summary = head(network, as_map(torch.stack(z).mean(0)), v[:1]).sigmoid()[0, 0]
    prediction = torch.stack([head(network, as_map(x), v[:1]).sigmoid()[0, 0] for x in z]).mean(0)
    torch.testing.assert_close(network.probability(v[0], v[1:]), summary)
    torch.testing.assert_close(network.probability(v[0], v[1:], fuse_predictions=True), prediction)
    assert not torch.allclose(summary, prediction, atol=1e-4)
    torch.testing.assert_close(
        network.probability(v[0], v[1:2]), network.probability(v[0], v[1:2], fuse_predictions=True)
    )


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_references_matter_unless_there_is_no_co_attention(attention: str) -> None:
    network = small(attention)
    v = network.embed(torch.rand(4, 3, 32, 32))
    one, other = network.probability(v[0], v[1:3]), network.probability(v[0], v[2:4])
    assert torch.allclose(one, other, atol=1e-5) is (attention == "none")
    torch.testing.assert_close(network.probability(v[0], v[1:3].flip(0)), one)  # in any order
    pair, swapped = network.compare(v[None, :2])[0, 0], network.compare(v[None, ::2])[0, 0]
    assert torch.allclose(pair, swapped, atol=1e-5) is (attention == "none")


def test_without_co_attention_a_frame_is_read_from_its_embedding_alone() -> None:
    network = small("none").double()
    frames = torch.rand(2, 3, 3, 32, 32, dtype=torch.float64)
    v = network.embed(frames.flatten(0, 1))
    torch.testing.assert_close(network(frames).flatten(0, 1), head(network, v))
    torch.testing.assert_close(network.probability(v[4], v[:0]), head(network, v[4:5]).sigmoid()[0, 0])
    assert not any("co_attention" in name for name in network.state_dict())


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_part_has_a_gradient(attention: str) -> None:
    network = small(attention).train()
    frames = torch.rand(2, 2, 3, 32, 32)
    (network(frames).square().mean() + network.auxiliary(network.embed(frames[0])).mean()).backward()
    unused = ("phi.match_head", "phi.value_head", "phi.project")
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in still if not any(part in name for part in unused)]


def test_the_options_change_what_they_should_and_only_that() -> None:
    def shapes(**more: object) -> dict[str, tuple[int, ...]]:
        config = COSNetConfig(**({"trunk": TRUNK, "channels": 8} | more))  # type: ignore[arg-type]
        return {name: tuple(x.shape) for name, x in COSNet(config).state_dict().items()}

    def rest(**more: object) -> dict[str, tuple[int, ...]]:
        return {name: x for name, x in shapes(**more).items() if not name.startswith(("co_attention.affinity",))}

    assert rest(attention="vanilla") == rest(attention="symmetric") == rest(attention="channel-wise") == rest()
    sizes = {form: sum(p.numel() for p in FORMS[form](8).parameters()) for form in FORMS}
    assert sizes == {"symmetric": 72, "vanilla": 64, "channel-wise": 8}
    one, two = shapes(layers=1), shapes()
    assert {name.split(".")[0] for name in two.keys() - one.keys()} == {"head"}
    alone = shapes(attention="none")
    assert {name for name, x in alone.items() if two.get(name) != x} == {"head.layers.0.weight"}


@pytest.mark.parametrize(
    ("wrong", "told"), [({"channels": 0}, "channels: 0"), ({"layers": 0}, "layers: 0"), ({"attention": "x"}, "vanilla")]
)
def test_an_architecture_that_cannot_be_is_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(InputError, match=told):
        COSNet(COSNetConfig(**({"trunk": TRUNK} | wrong)))  # type: ignore[arg-type]


def test_three_frames_are_no_pair() -> None:
    with pytest.raises(ValueError, match="3 frames"):
        small()(torch.rand(1, 3, 3, 32, 32))

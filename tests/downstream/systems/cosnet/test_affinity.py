"""W in each of its forms."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from downstream.systems.cosnet.affinity import FORMS, ChannelWise, Symmetric, Vanilla
from downstream.systems.cosnet.network import FORMAT
from tests.downstream.systems.cosnet.made import small


def deviation(p: Tensor) -> float:
    """Largest entry of P^T P - I, P in single precision."""
    p = p.detach().float()
    return float((p.T @ p - torch.eye(len(p))).abs().max())


@pytest.mark.parametrize("form", FORMS)
def test_it_starts_where_alike_positions_attend_to_each_other(form: str) -> None:
    torch.testing.assert_close(FORMS[form](16)(), torch.eye(16) / 4)


def test_each_form_is_what_its_equation_says() -> None:
    torch.manual_seed(1)
    vanilla, symmetric, channel_wise = Vanilla(6), Symmetric(6), ChannelWise(6)
    for parameter in (*vanilla.parameters(), *symmetric.parameters(), *channel_wise.parameters()):
        torch.nn.init.normal_(parameter)
    torch.testing.assert_close(vanilla(), (torch.eye(6) + vanilla.free) / 6**0.5)
    symmetric = symmetric.double()
    d = torch.diag(1 + symmetric.scale) / 6**0.5
    p = symmetric.projection
    torch.testing.assert_close(symmetric(), p.T @ d @ p)
    assert torch.allclose(symmetric(), symmetric().T, atol=1e-6)
    k = symmetric.generator - symmetric.generator.T
    torch.testing.assert_close((torch.eye(6) + k) @ p, torch.eye(6).double() - k)
    torch.testing.assert_close(channel_wise(), torch.diag(1 + channel_wise.scale) / 6**0.5)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_p_is_orthogonal_however_large_its_generator(size: float) -> None:
    torch.manual_seed(2)
    symmetric = Symmetric(256)
    torch.nn.init.normal_(symmetric.generator, std=size)
    assert deviation(symmetric.projection) < 1e-5
    symmetric.generator.data = 0.1 * torch.randn(256, 256) + size * torch.outer(torch.randn(256), torch.randn(256))
    assert deviation(symmetric.projection) < 1e-5  # however far apart the scales of its parts
    assert torch.linalg.det(symmetric.projection.detach()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("optimiser", "rate"), [(torch.optim.AdamW, 0.1), (torch.optim.SGD, 100.0)])
def test_p_stays_orthogonal_in_training_and_in_half_precision(
    tmp_path: Path, optimiser: type[torch.optim.Optimizer], rate: float
) -> None:
    network = small("symmetric")
    symmetric = network.co_attention.affinity
    begun = symmetric.projection.detach().clone()
    steps = optimiser(symmetric.parameters(), lr=rate)  # type: ignore[call-arg]
    frames = torch.rand(2, 2, 3, 32, 32)
    for _ in range(5):
        steps.zero_grad()
        network(frames).square().mean().backward()
        steps.step()
        assert deviation(symmetric.projection) < 1e-5
    assert (symmetric.projection - begun).abs().max() > 1e-3
    FORMAT.save(tmp_path / "cosnet.safetensors", network, {})
    loaded, _ = FORMAT.load(tmp_path / "cosnet.safetensors")
    again = loaded.co_attention.affinity
    assert not torch.equal(again.generator, symmetric.generator)  # it was rounded
    assert deviation(again.projection) < 1e-5
    torch.testing.assert_close(again(), symmetric(), atol=2e-3, rtol=0)


def test_it_is_orthogonal_under_autocast() -> None:
    symmetric = small("symmetric").co_attention.affinity
    plain = symmetric()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(symmetric(), plain)


def test_every_symmetric_w_has_the_form() -> None:
    """By signs of the eigenvectors that leave P without an eigenvalue -1; here of each that are tried."""
    torch.manual_seed(3)
    for _ in range(5):
        w = torch.randn(5, 5, dtype=torch.float64)
        w = w + w.T
        values, vectors = torch.linalg.eigh(w)
        signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=torch.float64)] * 5)
        p = max((s[:, None] * vectors.T for s in signs), key=lambda p: torch.linalg.det(torch.eye(5) + p).abs())
        k = torch.linalg.solve(torch.eye(5, dtype=torch.float64) + p, torch.eye(5) - p)
        symmetric = Symmetric(5).double()
        symmetric.generator.data = k / 2
        symmetric.scale.data = values * 5**0.5 - 1
        torch.testing.assert_close(symmetric(), w)

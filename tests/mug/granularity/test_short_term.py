"""MuG Eq. 3-5, against loops in float64 and on a square that moves."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mug.backbone import Phi
from mug.granularity.short_term import Response, crop, patch_size, short_term_loss
from mug.options import BackboneConfig


class SmallPhi(nn.Module):
    """Stands in for phi: fixed receptive fields, so that a patch sees itself as the frame sees it."""

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(3, 16, stride, stride=stride, dtype=torch.float64)

    def forward(self, frames: Tensor) -> SimpleNamespace:
        return SimpleNamespace(match=F.normalize(self.conv(frames - 0.5), dim=1))


def dense_logits(response: Response, patch: Tensor, frame: Tensor) -> Tensor:
    """(C, p, p) on (C, h, w) by loops: (h, w)."""
    side = patch.shape[1]
    padded = F.pad(frame, (side, side, side, side))
    rows, fitting = [], []
    for cy in range(frame.shape[1]):
        for cx in range(frame.shape[2]):
            top, left = cy - side // 2, cx - side // 2
            window = padded[:, top + side : top + 2 * side, left + side : left + 2 * side]
            rows.append((patch * window).mean((1, 2)).sum())
            if 0 <= top <= frame.shape[1] - side and 0 <= left <= frame.shape[2] - side:
                fitting.append(rows[-1])
    fits = torch.stack(fitting)
    deviation = ((fits - fits.mean()) ** 2).sum() / (len(fits) - 1)
    away = (torch.stack(rows) - fits.mean()) / (deviation.sqrt() + 1e-5)
    return (response.gain * away + response.bias).view(frame.shape[1:])


@pytest.mark.parametrize("side", [2, 3])
def test_response_is_equation_3_on_the_frames_grid(side: int) -> None:
    response = Response().double()
    patch = F.normalize(torch.randn(2, 5, side, side).double(), dim=1).requires_grad_()
    frame = F.normalize(torch.randn(2, 5, 6, 7).double(), dim=1).requires_grad_()
    dense = torch.stack([dense_logits(response, patch[n], frame[n]) for n in range(2)])
    ours = response(patch, frame)
    torch.testing.assert_close(ours, dense)
    weight = torch.randn_like(dense)
    inputs = [patch, frame, response.gain, response.bias]
    ours_grad = torch.autograd.grad((ours * weight).sum(), inputs)
    torch.testing.assert_close(ours_grad, torch.autograd.grad((dense * weight).sum(), inputs))


@pytest.mark.parametrize("alike", [0.99, 0.5, 0.0])
def test_responses_do_not_saturate_however_alike_features_are(alike: float) -> None:
    """Before anything is learned: over one half at the patch, near nothing elsewhere, where it can still rise."""
    torch.manual_seed(0)
    common = F.normalize(torch.randn(1, 16, 1, 1), dim=1)
    own = F.normalize(torch.randn(1, 16, 16, 16), dim=1)
    frame = F.normalize(alike**0.5 * common + (1 - alike) ** 0.5 * own, dim=1).requires_grad_()
    seen = Response()(frame[..., 5:9, 6:10].detach(), frame).sigmoid()[0]
    assert seen[7, 8] == seen.max() > 0.5
    assert seen.median() < 0.05
    (gradient,) = torch.autograd.grad(seen[12, 12], frame)
    assert gradient.norm() > 0.01


def dense_loss(phi: SmallPhi, response: Response, clip: Tensor, top_left: Tensor) -> Tensor:
    """Eq. 5 over three frames, a sample and a step at a time."""
    size, errors = clip.shape[-1] // 4, []
    side, grid = size // phi.stride, clip.shape[-1] // phi.stride
    for n in range(len(clip)):
        x, y = top_left[n].tolist()
        for start, end in ((0, 1), (1, 2), (2, 1), (1, 0)):
            patch = phi(clip[n : n + 1, start, :, y : y + size, x : x + size]).match[0]
            logits = dense_logits(response, patch, phi(clip[n : n + 1, end]).match[0])
            tops = range(grid - side + 1)
            fits = [(float(logits[i + side // 2, j + side // 2].detach()), i, j) for i in tops for j in tops]
            best = max(fits, key=lambda candidate: candidate[0])
            x, y = best[2] * phi.stride, best[1] * phi.stride
        total = logits.new_zeros(())
        cx, cy = (top_left[n] / phi.stride + side // 2).tolist()
        sigma = max(0.1 * size / phi.stride, 0.5)
        for i in range(grid):
            for j in range(grid):
                target = math.exp(-((j - cx) ** 2 + (i - cy) ** 2) / (2 * sigma**2))
                total = total + (1 / (1 + torch.exp(-logits[i, j])) - target) ** 2
        errors.append(total / (math.pi * sigma**2))
    kept = sorted(errors, key=lambda error: error.item())[: len(errors) - round(0.1 * len(errors))]
    return torch.stack(kept).mean()


def test_short_term_loss_is_equation_5_with_gradient_through_the_last_step() -> None:
    torch.manual_seed(1)
    phi, response = SmallPhi(), Response().double()
    clip = torch.rand(6, 3, 3, 48, 48).double()
    top_left = torch.randint(0, 37, (6, 2))
    match = phi(clip.flatten(0, 1)).match.unflatten(0, (6, 3))
    ours, _ = short_term_loss(phi, response, clip, match, top_left)
    dense = dense_loss(phi, response, clip, top_left)
    torch.testing.assert_close(ours, dense)
    parameters = [*phi.parameters(), *response.parameters()]
    torch.testing.assert_close(torch.autograd.grad(ours, parameters), torch.autograd.grad(dense, parameters))


@pytest.mark.parametrize("stride", [2, 4])
def test_a_response_of_nothing_costs_one_on_any_grid(stride: int) -> None:
    """The unit of the loss: the sum that Eq. 5 prints, over that of the Gaussian itself."""
    phi, response = SmallPhi(stride), Response().double()
    torch.nn.init.constant_(response.bias, -100.0)
    clip = torch.rand(8, 3, 3, 128, 128).double()
    match = phi(clip.flatten(0, 1)).match.unflatten(0, (8, 3))
    loss, _ = short_term_loss(phi, response, clip, match, torch.randint(0, 97, (8, 2)))  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(1, abs=0.1)


def moving_square(steps: int = 3, move: int = 8) -> Tensor:
    """One clip (1, 3, 3, 64, 64) of noise in which a textured square moves."""
    clip = torch.rand(1, 3, 64, 64).double().mul(0.2).repeat(steps, 1, 1, 1)
    texture = torch.rand(3, 16, 16).double()
    for t in range(steps):
        clip[t, :, 24:40, 8 + move * t : 24 + move * t] = texture
    return clip[None]


def test_a_patch_that_can_be_found_comes_back_to_its_start() -> None:
    torch.manual_seed(0)
    phi, response, clip = SmallPhi(), Response().double(), moving_square()
    for start in ([8, 24], [40, 0]):
        _, end = short_term_loss(phi, response, clip, phi(clip[0]).match[None], torch.tensor([start]))
        assert end.tolist() == [start]
    lost = torch.cat([clip[:, :1], torch.rand(1, 2, 3, 64, 64).double()], 1)
    _, end = short_term_loss(phi, response, lost, phi(lost[0]).match[None], torch.tensor([[40, 0]]))
    assert end.tolist() != [[40, 0]]


def test_it_learns() -> None:
    torch.manual_seed(0)
    phi, response = SmallPhi(), Response().double()
    clip = torch.cat([moving_square() for _ in range(2)])
    optimiser = torch.optim.SGD([*phi.parameters(), *response.parameters()], 2e-3)
    losses = []
    for _ in range(3):
        match = phi(clip.flatten(0, 1)).match.unflatten(0, (2, 3))
        loss, _ = short_term_loss(phi, response, clip, match, torch.tensor([[8, 24], [8, 24]]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]


def test_patches_leave_phis_running_estimates_alone() -> None:
    phi, response = Phi(BackboneConfig(depth=18, stages=2)).train(), Response()
    clip = torch.rand(2, 3, 3, 64, 64)
    match = phi(clip.flatten(0, 1)).match.unflatten(0, (2, 3))
    before = {name: x.clone() for name, x in phi.named_buffers()}
    loss, _ = short_term_loss(phi, response, clip, match, torch.tensor([[3, 5], [40, 48]]))
    loss.backward()
    assert all(torch.equal(x, before[name]) for name, x in phi.named_buffers())
    assert phi.resnet.bn1.track_running_stats
    phi(clip[0])
    assert not torch.equal(phi.resnet.bn1.running_mean, before["resnet.bn1.running_mean"])


def test_crops_are_the_pixels_asked_for_and_stay_inside() -> None:
    frames = torch.rand(2, 3, 20, 20)
    cut = crop(frames, torch.tensor([[3, 7], [99, -4]]), 5)
    assert torch.equal(cut[0], frames[0, :, 7:12, 3:8])
    assert torch.equal(cut[1], frames[1, :, 0:5, 15:20])


def test_the_patch_scales_with_the_frame() -> None:
    assert (patch_size(256), patch_size(128)) == (64, 32)

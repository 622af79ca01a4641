"""Geometry and colour of training frames against what they are defined as."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mug.granularity.short_term import patch_size
from pretrain.augment import LUMA, _blur, _recolour, boxes, draw_changes, render
from pretrain.sampling import SampleOptions

SIZES = [(48, 64), (100, 30), (64, 64)]


def rng(*key: int) -> np.random.Generator:
    return np.random.default_rng([5, *key])


def corners(theta: np.ndarray) -> np.ndarray:
    """(F, 4, 2): where the corners of the training frame fall in the frame."""
    points = np.array([[x, y, 1] for x in (-1, 1) for y in (-1, 1)])
    return np.einsum("fij,pj->fpi", theta, points)


@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_crops_stay_within_the_frame(size: tuple[int, int], squeeze: bool) -> None:
    options = SampleOptions(squeeze=squeeze)
    reached = np.stack([corners(draw_changes(size, options, rng(i)).theta[:-8]) for i in range(100)])
    assert np.abs(reached).max() <= 1 + 1e-9
    assert np.abs(reached).max(axis=(0, 1, 2)).min() > 0.99  # and use all of it


@pytest.mark.parametrize("size", SIZES)
def test_crops_keep_shapes(size: tuple[int, int]) -> None:
    """No shear, and no more stretch than asked for, in pixels of the frame."""
    for i in range(50):
        theta = draw_changes(size, SampleOptions(aspect=1.2, rotation=20), rng(i)).theta[4]
        linear = np.diag([size[1], size[0]]) @ theta[:, :2]
        lengths = np.linalg.norm(linear, axis=0)
        assert abs(linear[:, 0] @ linear[:, 1]) < 1e-9 * lengths.prod()
        assert 1 / 1.2 - 1e-9 <= lengths[0] / lengths[1] <= 1.2 + 1e-9


def test_a_clip_is_changed_alike_and_nothing_else_is() -> None:
    changes = draw_changes((48, 64), SampleOptions(abstract=4, references=2, blur=1.0), rng())
    assert changes.theta.shape == (14, 2, 3)
    for values in (changes.theta, changes.colour, changes.contrast, changes.blur):
        assert (values[0] == values[1]).all() and (values[1] == values[2]).all()
        assert len(np.unique(values.reshape(14, -1), axis=0)) == 12


def test_a_sample_is_mirrored_as_a_whole() -> None:
    """Both frames of a long-term pair, and its known warps, which never mirror."""
    for flip, share in ((0.5, 0.5), (0.0, 0.0), (1.0, 1.0)):
        drawn = [draw_changes((48, 64), SampleOptions(flip=flip), rng(i)).theta[..., :2] for i in range(200)]
        mirrored = np.linalg.det(np.stack(drawn)) < 0
        assert (mirrored == mirrored[:, :1]).all()
        assert mirrored[:, 0].mean() == pytest.approx(share, abs=0.1)


def test_known_warps_are_composed_with_the_abstract_frames() -> None:
    for i in range(20):
        options = SampleOptions(abstract=4)
        changes = draw_changes((48, 64), options, rng(i))
        for k, warp in enumerate(changes.warp):
            square = np.vstack([changes.theta[3 + k], [0, 0, 1]]) @ np.vstack([warp, [0, 0, 1]])
            np.testing.assert_allclose(changes.theta[-4 + k], square[:2])
            area = abs(np.linalg.det(warp[:, :2]))
            assert options.warp_scale**-2 <= area <= options.warp_scale**2
            assert np.abs(warp[:, 2]).max() <= options.warp_shift
    assert len({tuple(warp[0]) for i in range(20) for warp in draw_changes((48, 64), options, rng(i)).warp}) == 80


def test_patches_lie_within_the_frame() -> None:
    patches = np.stack([draw_changes((48, 64), SampleOptions(size=32), rng(i)).patch for i in range(400)])
    assert set(patches[:, 0]) == set(patches[:, 1]) == set(range(32 - patch_size(32) + 1))


def test_boxes_split_the_map_in_two() -> None:
    theta = draw_changes((48, 64), SampleOptions(), rng()).theta
    box, inside = boxes(theta)
    assert box.min() >= 0 and box.max() <= 1 and (box[:, 2:] > box[:, :2]).all()
    low, high = 2 * box[:, None, :2] - 1, 2 * box[:, None, 2:] - 1
    np.testing.assert_allclose((low + high) / 2 + (high - low) / 2 * corners(inside), corners(theta), atol=1e-12)
    assert np.abs(corners(inside[:-8])).max() == pytest.approx(1)


def test_boxes_of_a_warp_that_sees_nothing() -> None:
    box, inside = boxes(np.array([[[0.1, 0, 5], [0, 0.1, 0]]]))
    assert np.isfinite(inside).all() and (box[:, 2:] > box[:, :2]).all()


def test_render_without_change_is_the_frame() -> None:
    count, side, labelled = 9, 32, 7
    canvas = torch.randint(0, 256, (2, count, 3, side, side), dtype=torch.uint8)
    raw = {
        "canvas": canvas,
        "labels": canvas[:, :labelled, 0],
        "labelled": torch.arange(2 * labelled).view(2, labelled) != 1,
        "theta": torch.eye(2, 3).expand(2, count, 2, 3),
        "warp": torch.eye(2, 3).expand(2, 2, 3),
        "colour": torch.eye(3).expand(2, count, 3, 3),
        "contrast": torch.ones(2, count),
        "blur": torch.zeros(2, count),
        "patch": torch.zeros(2, 2, dtype=torch.long),
        "pair": torch.tensor([[0, 1], [1, 0]]),
    }
    batch = render(raw, ["a", "b"], side, stride=4)
    torch.testing.assert_close(batch.frames, canvas / 255, atol=1e-5, rtol=0)
    assert batch.labels.shape == (2, labelled, 8, 8)
    around = F.pad(canvas[:, :labelled, 0] / 255, (2, 2, 2, 2), "replicate")  # two pixels before a cell's and one after
    edges = around.unfold(2, 5, 4).unfold(3, 5, 4)  # four points to a side, each between two pixels
    points = (edges[..., :-1] + edges[..., 1:]) / 2
    expected = ((points[..., :-1, :] + points[..., 1:, :]) / 2).mean((-2, -1))
    torch.testing.assert_close(batch.labels[1], expected[1], atol=1e-5, rtol=0)
    assert batch.labels[0, 1].isnan().all() and not batch.labels[0, 0].isnan().any()
    assert render(raw, ["a", "b"], 30, stride=8).labels.shape == (2, labelled, 4, 4)  # ceil(30 / 8)


def test_colours() -> None:
    pixels = torch.rand(4, 3, 6, 6) * 0.4 + 0.3
    luma = torch.tensor(LUMA, dtype=torch.float32)
    assert torch.equal(_recolour(pixels, torch.eye(3).expand(4, 3, 3), torch.ones(4)), pixels)
    flat = _recolour(pixels, torch.eye(3).expand(4, 3, 3), torch.zeros(4))
    torch.testing.assert_close(flat, torch.einsum("fchw,c->f", pixels, luma)[:, None, None, None].expand_as(flat) / 36)
    half = _recolour(pixels, 2 * torch.eye(3).expand(4, 3, 3), torch.full((4,), 0.5))
    torch.testing.assert_close(half, (pixels + flat).clamp(0, 1))


def test_drawn_colours_turn_hue_about_grey() -> None:
    for i in range(20):
        only_hue = draw_changes((8, 8), SampleOptions(jitter=0, grey=0, hue=0.3), rng(i))
        np.testing.assert_allclose(only_hue.colour @ np.ones(3), 1, atol=1e-9)
        np.testing.assert_allclose(np.einsum("c,fcd->fd", LUMA, only_hue.colour), np.tile(LUMA, (23, 1)), atol=1e-9)
        assert np.abs(only_hue.colour - np.eye(3)).max() > 0.05
    grey = draw_changes((8, 8), SampleOptions(jitter=0, grey=1, hue=0), rng()).colour @ np.array([0.9, 0.2, 0.4])
    np.testing.assert_allclose(grey, LUMA @ [0.9, 0.2, 0.4], atol=1e-9)


def test_the_warped_copies_change_most() -> None:
    options = SampleOptions(jitter=0.3, hue=0.05, warp_strength=2)
    colours = np.stack([draw_changes((8, 8), options, rng(i)).colour for i in range(200)])
    spread = colours.std(axis=0).mean(axis=(1, 2))
    assert spread[-options.abstract :].min() > 1.5 * spread[: -options.abstract].max()


def test_blur_is_gaussian() -> None:
    pixels = torch.zeros(2, 3, 65, 65)
    pixels[:, :, 32, 32] = 1
    out = _blur(pixels, torch.tensor([0.0, 0.6]))
    torch.testing.assert_close(out[0], pixels[0])
    profile = out[1, 1].sum(0)
    offsets = torch.arange(65.0) - 32
    assert profile.sum() == pytest.approx(1, abs=1e-5)
    assert float((profile * offsets.square()).sum()) == pytest.approx(0.36, rel=0.05)
    torch.testing.assert_close(
        _blur(torch.full((1, 3, 16, 16), 0.7), torch.tensor([0.5])), torch.full((1, 3, 16, 16), 0.7)
    )

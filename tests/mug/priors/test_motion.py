"""The motion prior on videos whose truth is known, and on those where nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mug.media.video import Video, open_video
from mug.priors import PRIORS
from mug.priors.consensus import CHUNK
from mug.priors.motion import Look, barrier, motion_prior, optical_flow, pass_on, time_links, without_camera
from mug.priors.superpixels import Superpixels


def _texture(rng: np.random.Generator, height: int, width: int, low: int, high: int) -> np.ndarray:
    import cv2

    noise = rng.uniform(low, high, (height // 6 + 2, width // 6 + 2, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def moving_patch(tmp_path):
    """A textured patch that goes right while the camera pans left: frames and truth."""
    rng = np.random.default_rng(0)
    ground, patch = _texture(rng, 120, 240, 40, 150), _texture(rng, 40, 48, 90, 250)
    truth = []
    for t in range(6):
        frame, mask = ground[:, 3 * t : 3 * t + 180].copy(), np.zeros((120, 180), bool)
        x, y = 40 + 4 * t, 38
        frame[y : y + 40, x : x + 48], mask[y : y + 40, x : x + 48] = patch, True
        Image.fromarray(np.clip(frame, 0, 255).astype(np.uint8)).save(tmp_path / f"{t:05d}.png")
        truth.append(mask)
    return open_video(tmp_path), truth


def _iou(soft: np.ndarray, mask: np.ndarray) -> float:
    found = soft >= 128
    return float((found & mask).sum() / (found | mask).sum())


def test_a_moving_patch_is_found_in_every_frame(moving_patch):
    video, truth = moving_patch
    maps = list(motion_prior(video))
    assert len(maps) == len(video)
    assert min(_iou(soft, mask) for soft, mask in zip(maps, truth, strict=True)) > 0.7


def test_only_wanted_frames_are_given(moving_patch):
    video, truth = moving_patch
    maps = list(motion_prior(video, [1, 4]))
    assert len(maps) == 2
    assert _iou(maps[1], truth[4]) > 0.6


def test_same_video_same_maps(moving_patch):
    video, _ = moving_patch
    for once, again in zip(motion_prior(video, [2, 3]), motion_prior(video, [2, 3]), strict=True):
        np.testing.assert_array_equal(once, again)


@pytest.mark.parametrize("count", [1, 3])
def test_where_nothing_moves_saliency_decides(tmp_path, count):
    frame = np.full((120, 160, 3), (60, 110, 70), np.uint8)
    frame[40:80, 60:110] = (210, 90, 40)
    frame = np.clip(frame + np.random.default_rng(0).normal(0, 5, frame.shape), 0, 255).astype(np.uint8)
    for t in range(count):
        Image.fromarray(frame).save(tmp_path / f"{t}.png")
    mask = np.zeros((120, 160), bool)
    mask[40:80, 60:110] = True
    maps = list(motion_prior(open_video(tmp_path)))
    assert len(maps) == count
    assert min(_iou(soft, mask) for soft in maps) > 0.7


@pytest.mark.parametrize("kind", sorted(PRIORS))
@pytest.mark.parametrize("size", [(4, 6), (12, 90), (33, 31)])
def test_tiny_and_plain_videos_have_maps(tmp_path, kind, size):
    for t in range(2):
        Image.fromarray(np.full((*size, 3), 50, np.uint8)).save(tmp_path / f"{t}.png")
    maps = list(PRIORS[kind](open_video(tmp_path), None))
    assert [soft.shape for soft in maps] == [size, size] and all(soft.dtype == np.uint8 for soft in maps)


def test_maps_have_the_size_of_the_video(tmp_path):
    rng = np.random.default_rng(0)
    for t in range(2):
        frame = np.clip(_texture(rng, 500, 330, 0, 255), 0, 255).astype(np.uint8)
        Image.fromarray(frame).save(tmp_path / f"{t}.jpg")
    assert next(motion_prior(open_video(tmp_path), [0])).shape == (500, 330)


def test_long_videos_are_read_in_chunks():
    class Grey(Video):
        name, size, fps = "grey", (24, 32), 24.0
        frame_names = tuple(str(i) for i in range(CHUNK + 7))

        def _frame(self, index: int) -> np.ndarray:
            return np.full((24, 32, 3), index, np.uint8)

    assert sum(1 for _ in motion_prior(Grey())) == CHUNK + 7


def test_camera_motion_is_taken_out():
    y, x = np.mgrid[:96, :128].astype(np.float32)
    homography = np.array([[1.02, 0.01, 3], [-0.01, 0.99, -2], [1e-5, 2e-5, 1]])
    z = homography[2, 0] * x + homography[2, 1] * y + 1
    flow = np.stack(
        [
            (homography[0, 0] * x + homography[0, 1] * y + homography[0, 2]) / z - x,
            (homography[1, 0] * x + homography[1, 1] * y + homography[1, 2]) / z - y,
        ],
        axis=-1,
    ).astype(np.float32)
    flow[30:60, 40:80] += (4, -3)
    residual = without_camera(flow)
    inside = np.zeros((96, 128), bool)
    inside[30:60, 40:80] = True
    np.testing.assert_allclose(residual[inside], np.broadcast_to((4, -3), residual[inside].shape), atol=0.05)
    assert np.abs(residual[~inside]).max() < 0.05


def test_flow_of_a_shift():
    ground = np.clip(_texture(np.random.default_rng(3), 100, 140, 0, 255), 0, 255).astype(np.uint8)
    flow = optical_flow(ground[10:90, 10:130], ground[8:88, 13:133])
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), (-3, 2), atol=0.1)


def test_barrier_is_the_least_jump_to_the_border():
    """A chain of three inside a frame of still pieces: what flows on from the border without a jump costs nothing."""
    pieces = Superpixels(np.arange(25, dtype=np.int16).reshape(5, 5), 25)
    flow = np.zeros((25, 2))
    flow[10], flow[11], flow[12] = (1, 0), (1, 0), (3, 0)  # 10 is on the border and drags 11 along
    cost = barrier(pieces, flow)
    assert cost[10] == 0 and cost[11] == pytest.approx(0, abs=1e-3)
    assert cost[12] == pytest.approx(2, abs=1e-3)
    assert cost[6] == pytest.approx(0, abs=1e-3)


def test_links_follow_the_flow_and_what_is_passed_on_follows_them():
    """Two frames of three pieces each; the flow takes piece 0 to where piece 2 of the next frame lies."""
    pieces = Superpixels(np.array([[0, 1, 2]], np.int16), 3)
    lab = np.zeros((3, 3))
    place = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    velocity = np.array([[2.0, 0.0], [0.0, 0.0], [-2.0, 0.0]])
    frame = np.zeros((1, 3, 3), np.uint8)
    looks = [
        Look(frame, pieces, lab, place, velocity, np.array([1.0, 0, 0])),
        Look(frame, pieces, lab, place, -velocity[::-1] * -1, np.zeros(3)),
    ]
    links = time_links(looks, [0, 1])
    np.testing.assert_allclose(np.asarray(links.sum(axis=1)).ravel(), 1)
    assert links[0, 5] == pytest.approx(1)
    assert links[1, 4] == pytest.approx(1)
    soft = pass_on(np.concatenate([seen.evidence for seen in looks]), links)
    assert soft[5] > 0.4 and soft[[1, 2, 3, 4]].max() < 1e-3

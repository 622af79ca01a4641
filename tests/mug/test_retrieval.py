"""Retrieval of clips against plain transcriptions, and on videos whose answer is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mug.errors import InputError
from mug.media.video import FrameFolder, Video
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig
from mug.retrieval import CLIPS, clip_descriptor, retrieval, retrieve


@pytest.fixture(scope="module")
def model() -> MuG:
    torch.manual_seed(0)
    return MuG(ModelConfig(BackboneConfig(stages=1, stride=4))).eval()


def video(folder: Path, frames: list[np.ndarray]) -> Video:
    folder.mkdir()
    for n, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{n:05d}.png"), frame)
    return FrameFolder(folder, folder.name)


def coloured(colour: tuple[int, int, int], count: int, seed: int) -> list[np.ndarray]:
    noise = np.random.default_rng(seed).integers(0, 40, (count, 40, 48, 3))
    return list((np.array(colour) + noise).astype(np.uint8))


def test_numbers_are_those_of_a_sorted_list() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), CLIPS)
    x = rng.normal(size=(20, 8)) + 1.5 * rng.normal(size=(5, 8))[labels]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    recall, precision = [], []
    for own in range(20):
        others = sorted((i for i in range(20) if i != own), key=lambda i: -float(x[i] @ x[own]))[: CLIPS - 1]
        recall.append(labels[others[0]] == labels[own])
        precision.append(np.mean(labels[others] == labels[own]))
    found = retrieve(x, labels)
    assert 0.2 < found.recall < 1
    assert found.recall == pytest.approx(np.mean(recall))
    assert found.precision == pytest.approx(np.mean(precision))
    assert found.chance == pytest.approx(3 / 19)
    assert found.clips == 20


def test_a_clip_is_not_its_own_neighbour() -> None:
    same = np.tile(np.eye(1, 4, dtype=np.float32), (8, 1))
    found = retrieve(same, np.repeat([0, 1], CLIPS))
    assert found.precision < 1  # all look alike: some neighbours are of the other video, and none is the clip itself
    assert retrieve(np.eye(8, dtype=np.float32), np.arange(8)).recall == 0


def test_random_neighbours_reach_chance() -> None:
    x = np.random.default_rng(1).normal(size=(400, 16)).astype(np.float32)
    found = retrieve(x / np.linalg.norm(x, axis=1, keepdims=True), np.repeat(np.arange(100), CLIPS))
    assert found.precision == pytest.approx(found.chance, abs=0.015)


def test_a_descriptor_is_the_mean_of_r(model: MuG, tmp_path: Path) -> None:
    frames = coloured((10, 90, 160), 13, 0)
    rows = clip_descriptor(model, video(tmp_path / "a", frames), 40)
    chosen = [0, 1, 2]  # the first of four clips of 13 frames are 0, 1 and 2
    x = torch.stack([torch.from_numpy(frames[i][..., ::-1].copy()).permute(2, 0, 1) for i in chosen]).float() / 255
    with torch.no_grad():
        seen = model.phi(x)
    pooled = []
    for n in range(3):
        others = [k for k in range(3) if k != n]
        query = seen.match[n].flatten(1).T
        source = torch.cat([seen.match[k].flatten(1) for k in others], 1)
        value = torch.cat([seen.value[k].flatten(1) for k in others], 1)
        found = (query @ source / model.temperature).softmax(1) @ value.T
        pooled.append(torch.cat([found.mean(0), seen.value[n].mean((1, 2))]))
    expected = torch.stack(pooled).mean(0)
    np.testing.assert_allclose(rows[0], expected.detach() / expected.norm().detach(), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_videos_of_their_own_colours_are_told_apart(model: MuG, tmp_path: Path) -> None:
    videos = [video(tmp_path / f"v{n}", coloured(c, 4 + n, n)) for n, c in enumerate([(200, 0, 0), (0, 0, 200)])]
    model.train()
    found = retrieval(model, videos, 40)
    assert found.recall == found.precision == 1
    assert model.training
    model.eval()


def test_too_few_videos(model: MuG, tmp_path: Path) -> None:
    videos = [video(tmp_path / "a", coloured((9, 9, 9), 5, 0)), video(tmp_path / "b", coloured((9, 9, 9), 3, 0))]
    with pytest.raises(InputError, match="two videos of at least 4 frames; there are 1"):
        retrieval(model, videos)

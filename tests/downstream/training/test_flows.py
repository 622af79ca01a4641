"""Optical flow in training samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from downstream.training.flows import Flow, Flows, in_colours, mirrored
from downstream.training.options import Clip, SampleOptions
from downstream.training.samples import Samples, collate
from mug.errors import InputError
from mug.priors.motion import optical_flow


class Textured:
    """A texture that moves by (3, 0) pixels a frame."""

    name, alike = "v", True

    def __init__(self, length: int = 4) -> None:
        self.length, self.reads = length, 0

    def __len__(self) -> int:
        return self.length

    def read(self, index: int, shorter: int) -> tuple[np.ndarray, np.ndarray]:
        self.reads += 1
        texture = np.random.default_rng(0).integers(0, 255, (48, 96, 3), np.uint8)
        return np.roll(texture, 3 * index, 1)[:, :64].copy(), np.ones((48, 64), np.uint8)


def known(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A flow that differs from place to place."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    return np.dstack([x - 10, 0.5 * y])


def test_what_is_stored_is_the_flow_in_units_of_its_longest_vector(tmp_path: Path) -> None:
    source, flows = Textured(), Flows(tmp_path, known, 48)
    flows.compute([source])
    assert len(list(tmp_path.glob("v/*.png"))) == 3
    expected = torch.from_numpy(known(*(source.read(i, 48)[0] for i in (0, 1)))).permute(2, 0, 1)
    found = flows.read(source, 1, 2)
    assert torch.allclose(found, expected / expected.norm(dim=0).max(), atol=0.5 / 127 + 1e-6)
    assert not flows.read(source, 2, 2).any()
    # colours have no more to lose
    difference = in_colours(found[None]).float() - in_colours(expected[None]).float()
    assert difference.abs().mean() < 3


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    source = Textured()
    Flows(tmp_path, known, 48).compute([source])
    missing = tmp_path / "v/00001.png"
    missing.unlink()
    source.reads = 0
    Flows(tmp_path, known, 48).compute([source])
    assert source.reads == 2 and missing.is_file()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    flows = Flows(tmp_path, known, 48)
    flows.compute([Textured()])
    (tmp_path / "v/00000.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"00000.png: is damaged"):
        flows.read(Textured(), 0, 1)


@pytest.mark.parametrize("angle", [90.0, -90.0, 180.0])
def test_rotation_turns_vectors_with_the_frames(angle: float) -> None:
    frames = [Textured().read(i, 48)[0][:48, :48] for i in (0, 1)]
    flow = torch.from_numpy(optical_flow(*frames)).permute(2, 0, 1)
    found = v2.functional.rotate(Flow(flow[None]), angle)[0].mean((1, 2))
    turned = [np.rot90(frame, int(angle // 90)).copy() for frame in frames]
    expected = optical_flow(*turned).mean((0, 1))
    assert flow[0].mean() > 1.5  # it moves
    assert np.allclose(found.numpy(), expected, atol=0.5)


def test_mirroring_turns_vectors_with_the_frames() -> None:
    frames = [Textured().read(i, 48)[0] for i in (0, 1)]
    flow = torch.from_numpy(optical_flow(*frames)).permute(2, 0, 1)[None]
    expected = optical_flow(*(frame[:, ::-1].copy() for frame in frames)).mean((0, 1))
    found = v2.functional.horizontal_flip(Flow(flow))
    assert isinstance(found, Flow)
    assert np.allclose(found[0].mean((1, 2)).numpy(), expected, atol=0.5)
    assert torch.equal(mirrored(flow), found.as_subclass(torch.Tensor))
    assert torch.equal(mirrored(mirrored(flow)), flow)


def test_crops_move_vectors_and_jitter_leaves_them() -> None:
    flow = torch.from_numpy(known(np.zeros((48, 64)), np.zeros(0))).permute(2, 0, 1)[None]
    cut = v2.functional.resized_crop(Flow(flow), 8, 16, 24, 32, [24, 32])
    assert torch.equal(cut.as_subclass(torch.Tensor), flow[..., 8:32, 16:48])
    jitter = v2.ColorJitter(0.5, 0.5, 0.5)
    _, same = jitter(tv_tensors.Image(torch.zeros(1, 3, 48, 64, dtype=torch.uint8)), Flow(flow))
    assert torch.equal(same.as_subclass(torch.Tensor), flow)


@pytest.mark.parametrize("turn", [0.0, 30.0])
def test_a_sample_holds_the_flow_of_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turn: float) -> None:
    options = SampleOptions(size=48, videos=2, nodes=3, crop=0.5, jitter=0, hue=0, turn=turn)
    flows = Flows(tmp_path, optical_flow, 48)
    source = Textured()
    flows.compute([source])
    clip = Clip("successive", flow=True)
    samples = Samples([source], [], options, 0, clip, flows)
    plain = Samples([source], [], options, 0, clip)
    batch = collate([samples[(0, 0, 0)], samples[(0, 0, 1)]])
    assert batch["flow"].shape == (2, 2, 3, 48, 48) and batch["flow"].dtype == torch.uint8
    monkeypatch.setattr("downstream.training.samples.in_colours", lambda flow: flow.as_subclass(torch.Tensor))
    seen = set()
    for step in range(12):
        sample = samples[(0, step, 0)]
        assert torch.equal(sample["frames"], plain[(0, step, 0)]["frames"])
        # the flow that comes along points where the changed frames move: to the right or, mirrored, to the left
        frames = [frame.permute(1, 2, 0).numpy() for frame in sample["frames"][:2]]
        moved = np.median(optical_flow(*frames).reshape(-1, 2), 0)
        found = sample["flow"][0].flatten(1).median(1).values.numpy()
        assert moved @ found / np.linalg.norm(moved) / np.linalg.norm(found) > 0.98
        seen.add(bool(moved[0] > 0))
    assert seen == {True, False}


def test_corners_of_a_turned_frame_are_void() -> None:
    options = SampleOptions(size=48, nodes=2, crop=1.0, aspect=1.0, jitter=0, hue=0, turn=45)
    masks = torch.stack([Samples([Textured()], [], options, 0)[(0, step, 0)]["masks"] for step in range(4)])
    assert set(masks.unique().tolist()) == {1, 255}

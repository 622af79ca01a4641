"""Segmenting a video with HCPN."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from downstream.systems.hcpn.inference import pair_probabilities, segment_by_pairs
from downstream.systems.hcpn.network import HCPN, Found
from downstream.systems.hcpn.options import HCPNConfig
from downstream.training.flows import in_colours
from mug.cli import main
from mug.media.video import Video
from mug.options import BackboneConfig, TrunkConfig

TRUNK = TrunkConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))


class Levels(Video):
    """Frame t is all of brightness t."""

    def __init__(self, frames: int, size: tuple[int, int] = (40, 60)) -> None:
        self.path, self.name, self.fps, self.size = Path("levels"), "levels", 24.0, size
        self.frame_names = [f"{t:05d}" for t in range(frames)]

    def _frame(self, index: int) -> np.ndarray:
        return np.full((*self.size, 3), index % 256, np.uint8)


class Brightness(nn.Module):
    """Stands in for HCPN: the logit of a cell is its brightness, plus 1 in the second frame of a pair."""

    def __init__(self, streams: int) -> None:
        super().__init__()
        self.scale, self.streams, self.config = nn.Parameter(torch.ones(1)), streams, HCPNConfig()
        self.seen: list[tuple[int, int]] = []
        self.flows: list[Tensor] = []

    def forward(self, frames: Tensor, flow: Tensor) -> Found:
        first, second = (round(255 * float(frame.mean())) for frame in frames[0])
        self.seen.append((first, second))
        self.flows.append(flow)
        logits = nn.functional.avg_pool2d(frames[0, :, :1], 8) + torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
        return Found(logits[None, : self.streams - 1], None)


def still(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.zeros((*frame.shape[:2], 2), np.float32)


@pytest.mark.parametrize("streams", [2, 3])
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_each_frame_meets_the_next_and_the_last_the_one_before(frames: int, streams: int) -> None:
    model = Brightness(streams)
    maps = list(segment_by_pairs(Levels(frames), model, still, 32))  # type: ignore[arg-type]
    pairs = [(t, t + 1) for t in range(frames - 1)]
    if frames == 1:
        pairs = [(0, 0)]
    elif streams == 2:
        pairs.append((frames - 1, frames - 2))
    assert model.seen == pairs
    assert [x.shape for x in maps] == [(40, 60)] * frames
    last = 1 if streams == 3 and frames > 1 else 0
    logits = [t / 255 + (last if t == frames - 1 else 0) for t in range(frames)]
    assert np.allclose([x.mean() for x in maps], 1 / (1 + np.exp(-np.array(logits))), atol=1e-5)


def test_flow_is_computed_once_a_pair_in_the_videos_proportions() -> None:
    sizes = []

    def flow(frame: np.ndarray, other: np.ndarray) -> np.ndarray:
        sizes.append((frame.shape, int(frame[0, 0, 0]), int(other[0, 0, 0])))
        return np.dstack([np.ones(frame.shape[:2]), np.zeros(frame.shape[:2])]).astype(np.float32)

    model = Brightness(3)
    list(segment_by_pairs(Levels(4), model, flow, 32, flip=True))  # type: ignore[arg-type]
    assert sizes == [((32, 48, 3), t, t + 1) for t in range(3)]
    right, left = (torch.tensor([sign, 0.0])[None, :, None, None].expand(1, 2, 32, 32) for sign in (1.0, -1.0))
    assert torch.allclose(model.flows[0], in_colours(right).float() / 255)
    assert torch.allclose(model.flows[1], in_colours(left).float() / 255)  # mirrored, then coloured
    assert len(model.flows) == 6


def test_a_video_of_one_frame_is_at_rest() -> None:
    model = Brightness(3)
    list(segment_by_pairs(Levels(1), model, lambda *_: pytest.fail("no flow to compute"), 32))  # type: ignore[arg-type]
    assert (model.flows[0] == 1).all()  # white


def test_flow_is_not_computed_for_a_model_that_sees_none() -> None:
    model = HCPN(HCPNConfig(trunk=TRUNK, rates=(1, 2, 3), channels=8, stacks=1, input="frames")).eval()
    flow = lambda *_: pytest.fail("no flow to compute")  # noqa: E731
    assert len(list(segment_by_pairs(Levels(3), model, flow, 32, flip=True))) == 3


def test_mirrored_frames_are_averaged() -> None:
    torch.manual_seed(0)
    model = HCPN(HCPNConfig(trunk=TRUNK, channels=8, rates=(1, 2, 3), stacks=1)).eval()
    model.decoder.mask.weight.data *= 10  # else its maps are almost even
    first, second = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    flow = torch.randn(2, 32, 32)
    back = flow.flip(-1) * torch.tensor([-1.0, 1.0])[:, None, None]
    plain = pair_probabilities(model, first, second, flow)
    other = pair_probabilities(model, first.flip(-1), second.flip(-1), back)[..., ::-1]
    assert not np.allclose(plain, other, atol=1e-3)
    assert np.allclose(pair_probabilities(model, first, second, flow, flip=True), (plain + other) / 2, atol=1e-5)


def test_memory_does_not_grow_with_the_video() -> None:
    def peak(frames: int) -> int:
        tracemalloc.start()
        for _ in segment_by_pairs(Levels(frames), Stateless(3), still, 64):  # type: ignore[arg-type]
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)
    assert peak(400) - peak(40) < 360 * 200


class Stateless(Brightness):
    """Remembers nothing."""

    def forward(self, frames: Tensor, flow: Tensor) -> Found:
        found = super().forward(frames, flow)
        self.seen.clear(), self.flows.clear()
        return found


def test_a_side_out_of_range_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["segment", str(tmp_path), "--system", "hcpn", "--pair.side", "8", "--out", str(tmp_path / "out")]
    (tmp_path / "00000.jpg").write_bytes(b"")
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1

"""The temperature is chosen on synthetic videos and lands in the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import downstream.calibrate
from downstream.backbones.features import lab_features
from downstream.calibrate import Recorder, best_temperature, calibration_clip, score_temperatures
from downstream.one_shot.protocols import PRESETS
from mug.checkpoint import load_weights, save_weights
from mug.cli import main
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig

MEMORY = replace(PRESETS["mug"], size=None, evidence="none")


@pytest.fixture(scope="module")
def clip() -> downstream.calibrate.Clip:
    return calibration_clip(0)


def test_clips_are_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downstream.calibrate, "CLIP_FRAMES", 2)
    frames, masks = calibration_clip(1)
    again, _ = calibration_clip(1)
    assert np.array_equal(frames, again)
    assert set(np.unique(masks)) == {0, 1, 2}


def test_a_fitting_temperature_beats_one_that_is_far_too_high(clip: downstream.calibrate.Clip) -> None:
    everywhere = replace(MEMORY, top_k=None, radius=None, first_radius=None, frames=2)
    scores = score_temperatures(lab_features, everywhere, [(clip[0][:8], clip[1][:8])], (1e-5, 1.0))
    assert scores[1e-5] > scores[1.0] + 0.3
    assert best_temperature(scores) == 1e-5


def test_features_are_extracted_once_for_all_temperatures(clip: downstream.calibrate.Clip) -> None:
    calls = 0

    def extract(frame: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return F.normalize(F.avg_pool2d(frame, 8) + 0.1, dim=1)

    frames, masks = clip
    score_temperatures(extract, MEMORY, [(frames[:5], masks[:5])], (0.01, 0.1, 1.0))
    assert calls == 5


def test_among_those_alike_the_lowest() -> None:
    assert best_temperature({0.01: 0.5, 0.02: 0.797, 0.05: 0.8, 0.1: 0.8, 0.2: 0.1}) == 0.02


def test_replay_starts_over() -> None:
    recorder = Recorder(lambda frame: frame + 1)
    first, second = recorder.replay(), recorder.replay()
    assert [float(first(torch.tensor(float(i)))) for i in range(2)] == [1, 2]
    assert [float(second(torch.tensor(9.0))) for _ in range(3)] == [1, 2, 10]


def test_the_command_writes_it_into_the_weights(
    tmp_path: Path,
    clip: downstream.calibrate.Clip,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = clip[0][:4], clip[1][:4]
    monkeypatch.setattr(downstream.calibrate, "calibration_clips", lambda count: [short])
    torch.manual_seed(0)
    path = tmp_path / "phi.safetensors"
    save_weights(path, MuG(ModelConfig(BackboneConfig(depth=18, stages=2, stride=8))).eval(), {"clips": "seven"})
    before, _ = load_weights(path)
    assert main(["calibrate", str(path), "--device", "cpu"]) == 0
    after, metadata = load_weights(path)
    assert metadata["clips"] == "seven"
    assert float(metadata["one_shot_temperature"]) in downstream.calibrate.TEMPERATURES
    assert metadata["one_shot_temperature"] in capsys.readouterr().out
    state = after.phi.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in before.phi.state_dict().items())


def test_weights_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(tmp_path / "absent.safetensors")]) == 2
    assert "absent.safetensors" in capsys.readouterr().err

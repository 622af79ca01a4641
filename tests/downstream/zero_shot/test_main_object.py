"""Z-VOS on drawn videos: the paper's mode, and the adapted one against its own prior."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from downstream.backbones.features import lab_features
from downstream.metrics.region import jaccard
from downstream.zero_shot.main_object import segment_video, segment_video_by
from downstream.zero_shot.options import ZeroShotConfig
from downstream.zero_shot.sight import reference_indices
from mug.backbone import Features
from mug.errors import InputError
from mug.grid import enlarge
from mug.media.masks import read_mask
from mug.media.pictures import fit_size
from mug.media.video import open_video

SMALL = ZeroShotConfig(size=48)


@pytest.mark.parametrize("mode", ["paper", "adapted"])
@pytest.mark.parametrize("frames", [1, 5])
def test_maps_are_probabilities_at_the_videos_size_and_repeat(square, model, mode, frames):
    video = square(frames)
    config = ZeroShotConfig(mode=mode, size=40)
    first, second = (np.stack(list(segment_video(video, model, config))) for _ in range(2))
    assert first.shape == (frames, *video.size)
    assert first.dtype == np.float32
    assert ((first >= 0) & (first <= 1)).all()
    assert np.array_equal(first, second)


def test_global_random_state_is_left_alone(square, model):
    video = square(3)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    list(segment_video(video, model, SMALL))
    assert torch.rand(1) == expected


def test_paper_mode_reads_v_on_the_globally_augmented_r(square, model):
    """Against phi, MuG Eq. 9-11 and v spelt out, densely."""
    video = square(6)
    config = ZeroShotConfig(mode="paper", size=48, references=3)
    got = list(segment_video(video, model, config))
    assert reference_indices(6, 3) == [1, 3, 5]
    with torch.no_grad():
        seen = [Features(*model.phi(torch.from_numpy(f).permute(2, 0, 1)[None].float() / 255)) for f in video]
        for index, references in ((0, (1, 3, 5)), (3, (1, 5))):
            q = seen[index].match[0].flatten(1).double()
            s = torch.cat([seen[i].match[0].flatten(1) for i in references], 1).double()
            v = torch.cat([seen[i].value[0].flatten(1) for i in references], 1).double()
            affinity = (q.T @ s / model.temperature.double()).softmax(1)
            x_new = (v @ affinity.T).view(seen[index].value[0].shape).float()
            expected = model.readout(torch.cat([x_new, seen[index].value[0]])[None]).sigmoid()
            expected = enlarge(expected, video.size, video.size, model.phi.stride)[0, 0]
            assert np.allclose(got[index], expected.numpy(), atol=1e-4)


def test_sizes_keep_the_aspect_and_never_grow():
    assert fit_size((480, 854), 240) == (240, 427)
    assert fit_size((100, 60), 240) == (100, 60)


@pytest.mark.parametrize(("change", "says"), [({"size": 8}, "--size"), ({"references": 0}, "--references")])
def test_settings_out_of_range_are_named(square, model, change, says):
    video = square(2)
    with pytest.raises(InputError, match=says):
        list(segment_video(video, model, ZeroShotConfig(**change)))


def test_any_backbone_finds_what_moves(moving_squares):
    root = moving_squares(videos=1, frames=8, height=72, width=96)
    video = open_video(root / "JPEGImages" / "480p" / "square0")
    maps = list(segment_video_by(video, lab_features, torch.device("cpu"), ZeroShotConfig(size=72), 0.05))
    for map_hw, path in zip(maps, sorted((root / "Annotations/480p/square0").iterdir()), strict=True):
        assert map_hw.shape == video.size
        assert jaccard(map_hw > 0.5, read_mask(path) > 0) > 0.5


def test_off_the_surest_frame_is_not_carried(square, model, monkeypatch):
    video = square(4)
    monkeypatch.setattr("downstream.zero_shot.main_object.carry_surest", lambda frames, maps, *rest: 1 - maps)
    plain, carried = (
        np.stack(list(segment_video(video, model, replace(SMALL, carry=carry)))) for carry in (False, True)
    )
    assert np.allclose(plain, 1 - carried, atol=1e-6)

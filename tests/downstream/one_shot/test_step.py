"""The step that is exported is that of the propagator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from downstream.backbones.features import PhiFeatures
from downstream.one_shot.propagator import Propagator, labels_to_grid
from downstream.one_shot.protocols import PRESETS
from downstream.one_shot.step import PropagationStep
from mug.affinity.windowed import topk_attend
from mug.backbone import Phi
from mug.frames import to_tensor
from mug.media.masks import read_mask
from mug.media.video import open_video
from mug.options import BackboneConfig

CONFIG = replace(PRESETS["mug"], evidence="none", size=None, grid=None, temperature=0.03)


@pytest.mark.parametrize("groups", [1, 3, 8])
def test_it_reads_what_windowed_attention_reads(groups: int) -> None:
    torch.manual_seed(groups)
    features = F.normalize(torch.randn(4, 16, 7, 13), dim=1)
    labels = torch.rand(3, 2, 7, 13)
    found = PropagationStep(CONFIG, groups)(features[0], features[1:], labels, torch.tensor([99.0, 2, 3]))
    true = topk_attend(features[0], features[1:], labels, CONFIG.top_k, [None, 2, 3], CONFIG.temperature)
    torch.testing.assert_close(found, true / true.sum(0))


def test_where_all_is_void_nothing_is_said() -> None:
    features = F.normalize(torch.randn(2, 8, 4, 5), dim=1)
    found = PropagationStep(CONFIG)(features[0], features[1:], torch.zeros(1, 2, 4, 5), torch.tensor([9.0]))
    assert torch.equal(found, torch.zeros(2, 4, 5))


def test_a_loop_of_steps_is_the_propagator(moving_squares: Callable[..., Path]) -> None:
    """As docs say it is called: the given frame stays, recent frames come and go, labels are sharpened."""
    root = moving_squares(videos=1, frames=5, objects=2)
    video = open_video(root / "JPEGImages/480p/square0")
    mask = read_mask(root / "Annotations/480p/square0/00000.png")
    torch.manual_seed(0)
    extract = PhiFeatures(Phi(BackboneConfig(stages=2)).eval())
    config = replace(CONFIG, frames=2)
    propagator, step = Propagator(extract, config), PropagationStep(config)
    propagator.step(video[0], mask)
    with torch.no_grad():
        given = extract(to_tensor(video[0]))[0]
        memory = [(given, labels_to_grid(mask, [0, 1, 2], given.shape[1:]))]
        radius = float(max(1, round(0.2 * min(given.shape[1:]))))
        for frame in video[1:]:
            query = extract(to_tensor(frame))[0]
            labels = step(query, *map(torch.stack, zip(*memory, strict=True)), torch.full((len(memory),), radius))
            propagator.step(frame)
            torch.testing.assert_close(labels, propagator.latest)
            sharp = labels**1.6
            memory = [memory[0], *memory[1:][-1:], (query, sharp / sharp.sum(0))]

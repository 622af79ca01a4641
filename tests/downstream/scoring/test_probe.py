"""The linear probe on videos whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from downstream.scoring.probe import linear_probe
from mug.backbone import Phi
from mug.errors import InputError
from mug.options import BackboneConfig


class Drawn:
    """A video of discs on grey, the discs brighter than the ground or not told from it."""

    alike = True

    def __init__(self, name: str, seed: int, contrast: int, shown: bool = True) -> None:
        self.name, self.seed, self.contrast, self.shown = name, seed, contrast, shown

    def __len__(self) -> int:
        return 3

    def read(self, index: int, shorter: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.seed, index])
        y, x = np.mgrid[:96, :96]
        mask = np.hypot(y - rng.uniform(20, 76), x - rng.uniform(20, 76)) < 18
        frame = rng.integers(60, 100, (96, 96, 3)) + self.contrast * mask[..., None]
        return frame.astype(np.uint8), (mask * self.shown).astype(np.uint8)


@pytest.fixture(scope="module")
def phi() -> Phi:
    torch.manual_seed(0)
    return Phi(BackboneConfig(stages=1, stride=4)).eval()


def test_reads_what_a_line_can_tell(phi: Phi) -> None:
    found = linear_probe(phi, [Drawn(f"v{n}", n, 120) for n in range(4)], 96)
    assert found.average_precision > 0.9 > 5 * found.chance
    assert found.jaccard > 0.8
    assert len(found.tested) == 1


def test_reads_nothing_from_noise(phi: Phi) -> None:
    found = linear_probe(phi, [Drawn(f"v{n}", n, 0) for n in range(4)], 96)
    assert found.average_precision < 0.3


def test_does_not_test_on_what_it_was_fitted_to(phi: Phi) -> None:
    """The one video that is tested on shows its discs dark: what was learned of the others is wrong there."""
    names = [f"v{n}" for n in range(4)]
    tested = linear_probe(phi, [Drawn(name, n, 120) for n, name in enumerate(names)], 96).tested[0]
    turned = [Drawn(name, n, -55 if name == tested else 120) for n, name in enumerate(names)]
    assert linear_probe(phi, turned, 96).jaccard < 0.3


def test_too_few_videos(phi: Phi) -> None:
    with pytest.raises(InputError, match="needs two annotated videos or more; there are 1"):
        linear_probe(phi, [Drawn("a", 0, 120)])


def test_no_object(phi: Phi) -> None:
    with pytest.raises(InputError, match="no video it is fitted to shows an object"):
        linear_probe(phi, [Drawn(f"v{n}", n, 120, shown=False) for n in range(3)])

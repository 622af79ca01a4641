"""Linear probe: accuracy of a linear foreground classifier on frozen features of phi."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from downstream.backbones.lattice import Cells, Lattice
from downstream.metrics.region import jaccard
from downstream.training.annotated import Annotated, hold_out, merged
from downstream.training.samples import as_tensors, grid_target
from mug.backbone import Phi
from mug.errors import InputError
from mug.run.progress import track

FRAMES = 8
"""Frames per video, evenly spread."""
SIDE = 384
"""Side in pixels of the square that frames are resized to, ignoring their aspect ratio."""
SHARE = 0.3
"""Share of the videos used for testing, selected by a hash of their names."""


class Probe(NamedTuple):
    """Results of the classifier on test videos."""

    average_precision: float
    """Area under the precision-recall curve over cells, without a threshold."""
    chance: float
    """Average precision of a random classifier: the share of foreground."""
    jaccard: float
    """Mean J over frames, at the probability threshold that is best on the training videos."""
    tested: list[str]
    """Names of the test videos."""


def linear_probe(phi: Phi, videos: Sequence[Annotated], side: int = SIDE) -> Probe:
    """Fits a logistic regression to the trunk features of some videos and tests it on the others.

    Args:
        phi: Phi in evaluation mode; it is not trained.
        videos: Two or more videos with masks.
        side: Side in pixels of the square that frames are resized to.

    Raises:
        InputError: there are too few videos, or the training or test part contains no object.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(videos) < 2:
        raise InputError(f"the linear probe needs two annotated videos or more; there are {len(videos)}")
    tested = hold_out([video.name for video in videos], max(1, round(SHARE * len(videos))))
    parts: dict[bool, list[tuple[np.ndarray, np.ndarray]]] = {False: [], True: []}
    for video in track(videos, "reading features"):
        parts[video.name in tested] += list(_cells(phi, video, side))
    fitted, test = parts[False], parts[True]
    for part, what in ((fitted, "fitted to"), (test, "tested on")):
        if not any((truth == 1).any() for _, truth in part):
            raise InputError(f"the linear probe: no video it is {what} shows an object; give more videos")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300, class_weight="balanced"))
    model.fit(*_known(fitted))
    cut = _best_cut([(model.predict_proba(x)[:, 1], truth) for x, truth in fitted])
    x, truth = _known(test)
    found = [(model.predict_proba(x)[:, 1], truth) for x, truth in test]
    return Probe(
        average_precision=float(average_precision_score(truth, model.predict_proba(x)[:, 1])),
        chance=float(truth.mean()),
        jaccard=_overlap(found, cut),
        tested=tested,
    )


@torch.inference_mode()
def _cells(phi: Phi, video: Annotated, side: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Trunk features (P, 512) of the cells of some frames, and whether each cell is foreground.

    The labels are (P,): 1, 0, or 255 for void.
    """
    device = next(phi.parameters()).device
    count = min(FRAMES, len(video))
    for k in range(count):
        image, ids = video.read((2 * k + 1) * len(video) // (2 * count), side)
        frame, mask = as_tensors([(image, merged(ids))], [side, side])
        trunk = phi(frame.to(device).float() / 255).trunk[0]
        over = Lattice((side, side), Cells(phi.stride))
        share = grid_target(mask, (trunk.shape[1], trunk.shape[2]), over)[0].flatten().numpy()
        truth = np.where(np.isnan(share), 255, share > 0.5).astype(np.uint8)
        yield trunk.flatten(1).T.float().cpu().numpy(), truth


def _known(part: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    x, truth = (np.concatenate(both) for both in zip(*part, strict=True))
    return x[truth != 255], truth[truth != 255]


def _best_cut(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    cuts = np.linspace(0.05, 0.95, 19)
    return float(max(cuts, key=lambda cut: _overlap(found, cut)))


def _overlap(found: Sequence[tuple[np.ndarray, np.ndarray]], cut: float) -> float:
    """Mean J over frames."""
    return float(np.mean([jaccard(p[None] > cut, truth[None] == 1, truth[None] == 255) for p, truth in found]))

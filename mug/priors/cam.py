"""Class activation maps of an image classifier (Zhou et al., CVPR 2016): the weakly supervised prior."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mug.frames import to_tensor
from mug.media.video import Video
from mug.networks.classifier import Classifier
from mug.priors.consensus import unit_range
from mug.priors.motion import Look, agreed_maps

VOTING_SIDE = 224
"""Shorter side of the frames that determine the video's classes: the classifiers' training size, at which they are most
reliable."""
MAP_SIDE = 320
"""Shorter side of the frames from which maps are computed, about 10 cells."""
VOTERS = 16
"""Number of frames, spread over the video, that determine its classes."""
CLASSES = 5
"""Number of classes attributed to the video: a single one is rarely certain, and the object often belongs to none."""
FLOOR = 0.2
"""Share of the motion evidence that is kept where CAM is 0: the object may belong to no class, so CAM is no veto."""


def cam_prior(
    video: Video, indices: Sequence[int] | None, classifier: Classifier, moving: bool = False
) -> Iterator[np.ndarray]:
    """Soft foreground maps from the classes of the whole video, HW uint8 at the video's size.

    The classes of the video are determined once, from frames spread over it. Each frame's activation map for these
    classes is the evidence, which is propagated through time and thresholded as in `motion_prior`.

    Args:
        video: The video.
        indices: Frames to compute maps for; None for all.
        classifier: The classifier.
        moving: Whether to multiply the evidence with that of `motion_prior`.
    """
    count = min(VOTERS, len(video))
    voters = [(2 * k + 1) * len(video) // (2 * count) for k in range(count)]
    share = class_shares(classifier, [as_image(video[index], VOTING_SIDE) for index in voters])

    def evidence(seen: Look) -> np.ndarray:
        cells = class_activation(classifier, as_image(seen.frame, MAP_SIDE), share)[None, None]
        wide = F.interpolate(cells, seen.frame.shape[:2], mode="bilinear", align_corners=False)[0, 0]
        active = seen.pieces.mean(wide.numpy())
        return seen.evidence * (FLOOR + (1 - FLOOR) * active) if moving else active

    return agreed_maps(video, indices, evidence)


def as_image(frame: np.ndarray, side: int) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, h, w) in [0, 1] with a shorter side of `side` pixels."""
    image = to_tensor(frame)
    size = [round(n * side / min(frame.shape[:2])) for n in frame.shape[:2]]
    return F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)


@torch.inference_mode()
def class_shares(classifier: Classifier, images: Sequence[Tensor]) -> Tensor:
    """The mean probability (classes,) over images; 0 except for the `CLASSES` most likely."""
    probability = torch.stack(
        [classifier.head(classifier.features(x).mean((2, 3)))[0].softmax(0) for x in images]
    ).mean(0)
    best = probability.topk(min(CLASSES, len(probability))).indices
    return torch.zeros_like(probability).index_copy_(0, best, probability[best])


@torch.inference_mode()
def class_activation(classifier: Classifier, image: Tensor, share: Tensor) -> Tensor:
    """Activation map of several classes: the sum of their maps, clamped at 0 and weighted by `share`.

    The map of a class is the contribution of each cell's features to its logit. With a linear head this is the sum over
    channels of the class's weights times the features (Zhou et al. Eq. 2).

    Args:
        classifier: See `Classifier`.
        image: (1, 3, H, W) RGB in [0, 1].
        share: (classes,)

    Returns:
        (h, w) in [0, 1] on the grid of the last feature map.
    """
    features = classifier.features(image)[0]
    cells = features.flatten(1).T
    added = classifier.head(cells) - classifier.head(torch.zeros_like(cells[:1]))
    heat = (added.clamp(min=0) @ share).view(features.shape[1:])
    return torch.from_numpy(unit_range(heat.numpy())).float()

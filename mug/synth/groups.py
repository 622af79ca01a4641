"""Synthetic groups of images that share an object, with masks, to train and test co-segmentation.

All shapes of an image are drawn in the same way; only the other images reveal which of them is the common object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from mug.errors import InputError
from mug.media.files import prepare_output, remove_partial, undone_if_refused
from mug.media.masks import write_mask
from mug.run.progress import track
from mug.synth.drawing import Body, Cut, draw_cut, draw_outline, pixel_grid, shift_colours, write_frame
from mug.synth.videos import load_textures

MIN_VISIBLE = 0.6
"""Smallest visible share of every shape, common object or not."""
ATTEMPTS = 200
PATTERN_SIDE = 256
"""Side of a drawn texture in pixels."""


@dataclass
class SynthGroupsOptions:
    """Options of `mug synth-groups`."""

    out: Path
    """Folder for the groups: OUT/<group>/<image>.jpg, masks in OUT/<group>/GroundTruth/<image>.png."""
    groups: int = 8
    """Number of groups."""
    images: int = 6
    """Images per group."""
    size: int = 128
    """Side of the square images, in pixels."""
    distractors: int = 2
    """Other shapes in each image. They differ from the common object only in that they do not recur."""
    seed: int = 0
    """Random seed. The same seed gives the same groups; different seeds share no object."""
    textures: Path | None = None
    """Folder of images or videos to cut objects and backgrounds from. Default: drawn patterns and two photos."""
    overwrite: bool = False
    """Whether to write into a folder that already holds results."""


def synth_groups(options: SynthGroupsOptions) -> None:
    """Writes synthetic groups of images that share an object, with masks.

    Raises:
        InputError: a size or count is out of range, the texture folder has no pictures, or the output folder is in use.
    """
    _check(options)
    photos = None if options.textures is None else load_textures(options.textures)
    with undone_if_refused(options.out):
        prepare_output(options.out, options.overwrite)
        remove_partial(options.out.rglob(".*"))
        for index in track(range(options.groups), "synthesising"):
            rng = np.random.default_rng([options.seed, index])
            images, masks = synthetic_group(rng, options.images, options.size, options.distractors, photos)
            folder = options.out / f"synth{options.seed}-{index:03d}"
            for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
                write_frame(folder / f"{number:05d}.jpg", image)
                write_mask(folder / "GroundTruth" / f"{number:05d}.png", mask)


def synthetic_group(
    rng: np.random.Generator,
    images: int = 6,
    size: int = 128,
    distractors: int = 2,
    photos: Sequence[np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one group.

    Args:
        rng: Only source of randomness: the same state gives the same group.
        images: Number of images.
        size: Side of the images.
        distractors: Other shapes in each image.
        photos: Sources of textures, HWC uint8 RGB; by default new random patterns and scikit-learn's two photos.

    Returns:
        Images (N, S, S, 3) uint8 RGB and masks (N, S, S) uint8, 1 where the common object is visible.
    """
    textures = _Textures(rng, photos)
    common = _appearance(rng, textures, size)
    images_nhwc = np.empty((images, size, size, 3), np.uint8)
    masks_nhw = np.empty((images, size, size), np.uint8)
    for n in range(images):
        looks = [common, *(_appearance(rng, textures, size) for _ in range(distractors))]
        images_nhwc[n], owner = draw_scene(rng, looks, _background(rng, textures, size))
        masks_nhw[n] = owner == 0
    return images_nhwc, masks_nhw


def draw_scene(rng: np.random.Generator, looks: Sequence[Body], canvas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws one image.

    Args:
        rng: Draws positions, poses, light and depth order; no shape is favoured.
        looks: The shapes.
        canvas: The background, (S, S, 3) float32, 0 to 255.

    Returns:
        Image (S, S, 3) uint8 RGB, and (S, S) the index of the shape visible at each pixel, -1 for the background.
    """
    size = len(canvas)
    order = rng.permutation(len(looks))
    owner = np.full((size, size), -1)
    for i, shape in zip(order, _arranged([looks[i] for i in order], rng, size), strict=True):
        colour, alpha = shape.render(0, (size, size))
        canvas = canvas + alpha[..., None] * (colour - canvas)
        owner[alpha > 0.5] = i
    canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.3, 0.7)) * rng.uniform(0.9, 1.1)
    canvas = canvas + rng.normal(0, rng.uniform(1.0, 3.0), canvas.shape)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), owner


class _Textures:
    """Random textures: cuts of photos and, if the user gave no photos, patterns in random colours."""

    def __init__(self, rng: np.random.Generator, photos: Sequence[np.ndarray] | None) -> None:
        self.rng = rng
        self.photos = load_textures() if photos is None else photos
        self.patterns = 0.7 if photos is None else 0.0

    def cut(self, extent: float, reach: float) -> Cut:
        """A random region of a texture, in new colours.

        Args:
            extent: Approximate number of image pixels that the shorter side of the texture covers.
            reach: Radius that should be textured, in image pixels.
        """
        drawn = self.rng.random() < self.patterns
        texture = pattern(self.rng) if drawn else self.photos[int(self.rng.integers(len(self.photos)))]
        scale = min(texture.shape[:2]) / extent * self.rng.uniform(0.6, 1.2)
        return draw_cut(self.rng, texture, scale, self.rng.uniform(0.6, 1.0), reach, np.pi)


def pattern(rng: np.random.Generator, side: int = PATTERN_SIDE) -> np.ndarray:
    """Draws a texture of three colours; two random fields of waves, each of one scale and direction, blend them.

    Returns:
        (side, side, 3) uint8 RGB, which tiles seamlessly.
    """
    y, x = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    colours = rng.uniform(0, 255, (3, 3))
    canvas = np.broadcast_to(colours[0], (side, side, 3))
    for colour in colours[1:]:
        waves = rng.uniform(6, 30) / side
        angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 1.5))
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        band = np.exp(-((np.hypot(along * stretch, across / stretch) / waves - 1) ** 2) / 0.08)
        field = np.fft.ifft2(band * np.fft.fft2(rng.normal(size=(side, side)))).real
        hardness = np.exp(rng.uniform(0, 2.5))
        share = 1 / (1 + np.exp(-hardness * (field / field.std() - rng.uniform(-0.3, 0.3))))
        canvas = canvas + share[..., None] * (colour - canvas)
    return np.rint(canvas).astype(np.uint8)


def _appearance(rng: np.random.Generator, textures: _Textures, size: int) -> Body:
    """Outline and texture of a shape, before it has a position."""
    radius = size * rng.uniform(0.13, 0.20)
    cut = textures.cut(4 * radius, radius)
    nowhere, still = np.zeros((1, 2)), np.zeros(1)
    return Body(cut, draw_outline(rng, radius), rng.uniform(0.8, 1.25), nowhere, still, still, nowhere)


def _arranged(looks: Sequence[Body], rng: np.random.Generator, size: int) -> list[Body]:
    """Gives each shape a position and a pose; redraws all until all are visible enough, so that none is favoured."""
    for _ in range(ATTEMPTS):
        shapes = [_posed(look, rng, size) for look in looks]
        owner, areas = np.full((size, size), -1), []
        for i, shape in enumerate(shapes):
            covered = shape.render(0, (size, size))[1] > 0.5
            owner[covered] = i
            areas.append(np.count_nonzero(covered))
        seen = np.bincount(owner[owner >= 0], minlength=len(shapes))
        if min(areas) > 0 and (seen >= MIN_VISIBLE * np.array(areas)).all():
            return shapes
    raise InputError(
        f"{len(looks)} shapes do not fit into {size}x{size} pixels; ask for fewer --distractors or a larger --size"
    )


def _posed(look: Body, rng: np.random.Generator, size: int) -> Body:
    """The same shape at a random position, rotated, slightly scaled, bent, and in another light."""
    light = shift_colours(rng, look.cut.photo_hwc.astype(np.uint8), 0.08)
    return replace(
        look,
        cut=replace(look.cut, photo_hwc=light),
        centre=rng.uniform(-0.33, 0.33, (1, 2)) * size,
        scale=rng.uniform(-0.25, 0.25, 1),
        angle=rng.uniform(-np.pi, np.pi, 1),
        bend=rng.uniform(-0.12, 0.12, (1, 2)),
    )


def _background(rng: np.random.Generator, textures: _Textures, size: int) -> np.ndarray:
    """(S, S, 3) float32, 0 to 255: out of focus and paler than the shapes, like the background of a photograph.

    The shapes of an image therefore stand out, and only the choice of the common one has to be learned.
    """
    sharp = textures.cut(1.4 * size, 0.5 * size).read(pixel_grid((size, size)))
    blurred = cv2.GaussianBlur(sharp, (0, 0), rng.uniform(0.015, 0.04) * size)
    mean = blurred.mean((0, 1))
    return mean + rng.uniform(0.4, 0.8) * (blurred - mean)


def _check(options: SynthGroupsOptions) -> None:
    for name, least in (("groups", 1), ("images", 1), ("size", 32), ("distractors", 0)):
        if getattr(options, name) < least:
            raise InputError(f"--{name}: {getattr(options, name)} is too small; give {least} or more")

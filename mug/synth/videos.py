"""Synthetic videos with masks: textured shapes that move, turn and bend over a photo seen by a moving camera.

Every frame is rendered by sampling photos at warped coordinates, so motion has subpixel accuracy and masks are known
without labelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mug.errors import InputError
from mug.media.files import prepare_output, remove_partial, undone_if_refused
from mug.media.listing import frame_files
from mug.media.masks import write_mask
from mug.media.pictures import picture_size, read_frame
from mug.media.video import find_videos
from mug.run.progress import track
from mug.synth.cutouts import Cutout, Sprite, cut_out, find_cutouts
from mug.synth.drawing import Body, Cut, draw_cut, draw_outline, pixel_grid, rotation, write_frame

MAX_TEXTURE_SIDE = 960
MIN_VISIBLE = 0.008
"""Share of the first frame that every object must cover; smaller masks are useless for training and tests."""
ATTEMPTS = 60
BACKGROUND = 0


@dataclass
class SynthOptions:
    """Options of `mug synth`."""

    out: Path
    """Folder for the videos, in DAVIS layout: JPEGImages/480p/NAME/ and Annotations/480p/NAME/."""
    videos: int = 8
    """Number of videos."""
    frames: int = 24
    """Frames per video."""
    height: int = 128
    """Height of the frames in pixels."""
    width: int = 192
    """Width of the frames in pixels."""
    objects: str = "1..3"
    """Objects per video: a number, or a range from which one is drawn for each video."""
    resting: bool = False
    """Whether the objects are at rest: only the camera moves."""
    seed: int = 0
    """Random seed. The same seed gives the same videos."""
    textures: Path | None = None
    """Folder of images or videos to cut objects and backgrounds from. Default: two photos of scikit-learn."""
    cutouts: Path | None = None
    """Folder of images with masks of their salient objects (MSRA10K, or subfolders images and masks), which become the
    objects; only backgrounds are cut from `textures` then."""
    unlabeled: bool = False
    """Whether to omit the masks."""
    overwrite: bool = False
    """Whether to write into a folder that already holds results."""


def synth(options: SynthOptions) -> None:
    """Writes synthetic videos with masks in DAVIS layout.

    Raises:
        InputError: a size or count is out of range, a folder has no pictures, or the output folder is in use.
    """
    fewest, most = _check(options)
    textures = load_textures(options.textures)
    cutouts = None if options.cutouts is None else find_cutouts(options.cutouts)
    with undone_if_refused(options.out):
        prepare_output(options.out, options.overwrite)
        remove_partial(options.out.rglob(".*"))
        for index in track(range(options.videos), "synthesising"):
            rng = np.random.default_rng([options.seed, index])
            objects = int(rng.integers(fewest, most + 1))
            size = (options.frames, options.height, options.width)
            frames, masks = synthetic_video(rng, *size, objects, textures, options.resting, cutouts=cutouts)
            name = f"synth{options.seed}-{index:03d}"
            for number, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
                write_frame(options.out / "JPEGImages" / "480p" / name / f"{number:05d}.jpg", frame)
                if not options.unlabeled:
                    path = options.out / "Annotations" / "480p" / name / f"{number:05d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_mask(path, mask)


def synthetic_video(
    rng: np.random.Generator,
    frames: int = 24,
    height: int = 128,
    width: int = 192,
    objects: int = 1,
    textures: Sequence[np.ndarray] | None = None,
    resting: bool = False,
    pace: int = 1,
    cutouts: Sequence[Cutout] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one video.

    Args:
        rng: Only source of randomness: the same state gives the same video.
        frames: Number of frames.
        height: Height of the frames.
        width: Width of the frames.
        objects: Number of objects; each is visible in the first frame.
        textures: Photos, HWC uint8 RGB; `load_textures()` by default.
        resting: Whether the objects rest on the background.
        pace: Renders only every `pace`-th frame; these are identical to those of the full video.
        cutouts: Objects; by default they are cut from `textures`.

    Returns:
        Frames (T, H, W, 3) uint8 RGB and masks (T, H, W) uint8 with ids from 1, later ids in front of earlier ones.
    """
    textures = load_textures() if textures is None else textures
    size = (height, width)
    camera = _Camera.draw(rng, textures, frames, size)
    occluder = _occluder(rng, textures, frames, size, camera) if rng.random() < 0.4 else None

    def draw() -> Body:
        if cutouts is not None:
            return _sprite(rng, cutouts, frames, size, objects)
        return _body(rng, textures, frames, size, objects, camera)

    bodies = _visible_bodies(draw, size, objects, occluder)
    if resting:
        bodies = [camera.laid_down(body) for body in bodies]
    light = 1 + _smooth(rng, frames, 0.10)[:, None] + _smooth(rng, frames, 0.03, 3)
    blur, noise = rng.uniform(0.3, 0.7), rng.uniform(1.0, 3.0)
    frames_thwc = np.empty((frames, height, width, 3), np.uint8)
    masks_thw = np.zeros((frames, height, width), np.uint8)
    for t in range(frames):
        grain_hwc = rng.normal(0, noise, (height, width, 3))
        if t % pace:
            continue
        canvas, mask = camera.render(t), masks_thw[t]
        for label, body in [*enumerate(bodies, 1), *([(BACKGROUND, occluder)] if occluder else [])]:
            colour, alpha = body.render(t, size)
            canvas += alpha[..., None] * (colour - canvas)
            mask[alpha > 0.5] = label
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur) * light[t]
        canvas += grain_hwc
        frames_thwc[t] = np.clip(np.rint(canvas), 0, 255)
    return frames_thwc[::pace], masks_thw[::pace]


def load_textures(folder: Path | None = None) -> Sequence[np.ndarray]:
    """Photos for textures, HWC uint8 RGB: those of a folder (or three frames of each video), or scikit-learn's two.

    Photos of a folder are decoded when they are used: it may hold thousands.

    Raises:
        InputError: the folder is missing or contains no picture.
    """
    if folder is None:
        from sklearn.datasets import load_sample_images

        return [np.asarray(image) for image in load_sample_images().images]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --textures takes a folder of images or videos")
    pictures = frame_files(folder)
    if pictures:
        return _Photos(pictures)
    return [_shrink(photo) for photo in _frames_of_videos(folder)]


class _Photos(Sequence[np.ndarray]):
    """Photos in files; raises an `InputError` if one is no picture."""

    def __init__(self, files: Sequence[Path]) -> None:
        for path in files:
            picture_size(path)
        self._files = files
        self._read = lru_cache(maxsize=16)(lambda path: _shrink(read_frame(path)))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        return self._read(self._files[index])


def _frames_of_videos(folder: Path) -> Iterator[np.ndarray]:
    for video in find_videos(folder):
        wanted = {len(video) * part // 6 for part in (1, 3, 5)}
        yield from (np.asarray(frame) for index, frame in enumerate(video) if index in wanted)


def _shrink(photo: np.ndarray) -> np.ndarray:
    factor = MAX_TEXTURE_SIDE / max(photo.shape[:2])
    if factor >= 1:
        return photo
    return np.asarray(cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))


@dataclass
class _Camera:
    """The background photo under pan, zoom and roll."""

    photo: int
    cut: Cut
    grid: np.ndarray
    shift: np.ndarray
    """(T, 2) pixels of the frame."""
    zoom: np.ndarray
    """(T,) natural logarithms."""
    roll: np.ndarray
    """(T,) radians."""

    @classmethod
    def draw(
        cls, rng: np.random.Generator, textures: Sequence[np.ndarray], frames: int, size: tuple[int, int]
    ) -> _Camera:
        photo = int(rng.integers(len(textures)))
        height, width = size
        scale = rng.uniform(0.5, 0.8) * min(textures[photo].shape[0] / height, textures[photo].shape[1] / width)
        cut = draw_cut(rng, textures[photo], scale, rng.uniform(0, 0.3), 0.5 * min(size), 0.2)
        pace = rng.uniform(0.2, 1.0)
        shift = _smooth(rng, frames, 0.10 * pace * width, 2)
        zoom, roll = _smooth(rng, frames, 0.06 * pace), _smooth(rng, frames, 0.05 * pace)
        return cls(photo, cut, pixel_grid(size), shift, zoom, roll)

    def render(self, t: int) -> np.ndarray:
        """The background of frame t, HWC float32, 0 to 255."""
        return self.cut.read(np.exp(-self.zoom[t]) * self.grid @ rotation(-self.roll[t]).T + self.shift[t])

    def laid_down(self, body: Body) -> Body:
        """The body fixed to the background at its position in the first frame."""
        place = np.exp(-self.zoom[0]) * rotation(-self.roll[0]) @ body.centre[0] + self.shift[0]
        seen = zip(self.zoom, self.roll, self.shift, strict=True)
        return replace(
            body,
            centre=np.stack([np.exp(zoom) * rotation(roll) @ (place - shift) for zoom, roll, shift in seen]),
            scale=body.scale[0] + self.zoom - self.zoom[0],
            angle=body.angle[0] + self.roll - self.roll[0],
            bend=np.broadcast_to(body.bend[0], body.bend.shape),
        )


def _visible_bodies(draw: Callable[[], Body], size: tuple[int, int], objects: int, occluder: Body | None) -> list[Body]:
    """Objects that are all visible enough in the first frame; one that covers another too much is redrawn."""
    post = np.zeros(size, bool) if occluder is None else occluder.render(0, size)[1] > 0.5
    bodies: list[Body] = []
    first_mask = np.zeros(size, np.int64)
    for _ in range(ATTEMPTS):
        body = draw()
        label = len(bodies) + 1
        mask = np.where(body.render(0, size)[1] > 0.5, label, first_mask)
        seen = np.bincount(mask[~post], minlength=label + 1)[1:]
        if seen.min() >= MIN_VISIBLE * mask.size:
            bodies.append(body)
            first_mask = mask
        if len(bodies) == objects:
            return bodies
    raise InputError(f"{objects} objects do not fit into {size[1]}x{size[0]} pixels; ask for fewer or larger frames")


def _body(
    rng: np.random.Generator,
    textures: Sequence[np.ndarray],
    frames: int,
    size: tuple[int, int],
    objects: int,
    camera: _Camera,
) -> Body:
    height, width = size
    radius = min(size) * rng.uniform(0.17, 0.27) / objects**0.25
    photo = int(rng.integers(len(textures)))
    alike = rng.random() < 0.3  # as in real video, colour alone must not reveal the object
    photo = camera.photo if alike else photo
    scale = rng.uniform(0.5, 1.1) * min(textures[photo].shape[:2]) / min(size) * 0.5
    avoid = camera.cut.centre if photo == camera.photo else None
    cut = draw_cut(rng, textures[photo], scale, 0.1 if alike else rng.uniform(0.3, 1.0), radius, np.pi, avoid)
    home = rng.uniform(-0.25, 0.25, 2) * (width, height)
    path = home + _smooth(rng, frames, 0.11 * width, 2) * (1, height / width)
    return Body(
        cut,
        draw_outline(rng, radius),
        rng.uniform(0.8, 1.25),
        path,
        _smooth(rng, frames, 0.12),
        rng.uniform(-np.pi, np.pi) + _smooth(rng, frames, 0.35),
        _smooth(rng, frames, 0.16, 2),
    )


def _sprite(
    rng: np.random.Generator, cutouts: Sequence[Cutout], frames: int, size: tuple[int, int], objects: int
) -> Sprite:
    height, width = size
    radius = min(size) * rng.uniform(0.17, 0.27) / objects**0.25
    cut, shape = cut_out(rng, cutouts, radius, 0.3)
    home = rng.uniform(-0.25, 0.25, 2) * (width, height)
    return Sprite(
        cut,
        np.full(360, radius),
        1.0,
        home + _smooth(rng, frames, 0.11 * width, 2) * (1, height / width),
        _smooth(rng, frames, 0.12),
        _smooth(rng, frames, 0.35),
        _smooth(rng, frames, 0.16, 2),
        shape,
    )


def _occluder(
    rng: np.random.Generator, textures: Sequence[np.ndarray], frames: int, size: tuple[int, int], camera: _Camera
) -> Body:
    """A post in front of the scene: labelled background, it moves with the camera but faster, as it is closer."""
    height, width = size
    photo = textures[int(rng.integers(len(textures)))]
    cut = draw_cut(rng, photo, rng.uniform(0.8, 1.4), 0.6, 0.1 * width, np.pi)
    centre = np.array([rng.uniform(-0.35, 0.35) * width, 0.0]) - 1.4 * camera.shift * (1, 0)
    thick, long = rng.uniform(0.02, 0.05) * width, 2.0 * height
    stretch = float(np.sqrt(thick / long))
    still = np.zeros(frames)
    radii = np.full(360, float(np.sqrt(thick * long)))
    return Body(cut, radii, stretch, centre, still, still + rng.uniform(-0.15, 0.15), np.zeros((frames, 2)))


def _smooth(rng: np.random.Generator, frames: int, amplitude: float, channels: int = 0) -> np.ndarray:
    """(T,) or (T, channels): slow random waves with periods of 25 to 90 frames and about this amplitude."""
    count = max(channels, 1)
    period = rng.uniform(25, 90, (3, 1, count))
    phase = rng.uniform(0, 2 * np.pi, (3, 1, count))
    weight = rng.uniform(0.4, 1.0, (3, 1, count))
    time = np.arange(frames)[:, None]
    curve = amplitude * (weight * np.sin(2 * np.pi * time / period + phase)).sum(0) / 1.3
    return np.asarray(curve if channels else curve[:, 0])


def _check(options: SynthOptions) -> tuple[int, int]:
    """Checks that all numbers are in range; returns the smallest and largest number of objects."""
    for name, least in (("videos", 1), ("frames", 1), ("height", 32), ("width", 32)):
        if getattr(options, name) < least:
            raise InputError(f"--{name}: {getattr(options, name)} is too small; give {least} or more")
    low, dots, high = options.objects.partition("..")
    try:
        fewest, most = int(low), int(high if dots else low)
    except ValueError:
        fewest, most = 0, 0
    if not 1 <= fewest <= most <= 254:
        raise InputError(f"--objects: {options.objects!r} will not do; it takes a number such as 2 or a range as 1..3")
    return fewest, most

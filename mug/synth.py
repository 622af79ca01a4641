"""Synthetic videos with masks: textured shapes that move, turn and bend over a photo seen by a moving camera.

Every frame is drawn by reading photos at warped coordinates, so motion is exact to a fraction of a pixel and the mask
is known without labelling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mug.errors import InputError
from mug.files import atomic_path, prepare_output
from mug.masks import write_mask
from mug.progress import track
from mug.video import find_videos, frame_files, read_frame

MAX_TEXTURE_SIDE = 960
MIN_VISIBLE = 0.008
"""Share of the first frame that every object must cover, for a mask of less teaches and tests nothing."""
ATTEMPTS = 60
BACKGROUND = 0


@dataclass
class SynthOptions:
    """What videos to make."""

    out: Path
    """Folder for the videos, in DAVIS layout: JPEGImages/480p/NAME/ and Annotations/480p/NAME/."""
    videos: int = 8
    """How many videos."""
    frames: int = 24
    """Frames to a video."""
    height: int = 128
    """Rows of a frame, in pixels."""
    width: int = 192
    """Columns of a frame, in pixels."""
    objects: str = "1..3"
    """Objects to a video: a number, or a range of which one is drawn for each video."""
    seed: int = 0
    """Same seed, same videos."""
    textures: Path | None = None
    """Folder of images or videos to cut objects and backgrounds from; two photos of scikit-learn by default."""
    unlabeled: bool = False
    """Whether to leave the masks out."""
    overwrite: bool = False
    """Whether to write into a folder that already holds results."""


def synth(options: SynthOptions) -> None:
    """Writes synthetic videos with masks in DAVIS layout.

    Raises:
        InputError: sizes or counts out of range, a texture folder without pictures, an output folder in use.
    """
    fewest, most = _check(options)
    textures = load_textures(options.textures)
    prepare_output(options.out, options.overwrite)
    for index in track(range(options.videos), "synthesising"):
        rng = np.random.default_rng([options.seed, index])
        objects = int(rng.integers(fewest, most + 1))
        frames, masks = synthetic_video(rng, options.frames, options.height, options.width, objects, textures)
        name = f"synth{options.seed}-{index:03d}"
        for number, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
            _write_frame(options.out / "JPEGImages" / "480p" / name / f"{number:05d}.jpg", frame)
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
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one video.

    Args:
        rng: Decides everything; same state, same video.
        frames: How many frames.
        height: Rows of a frame.
        width: Columns of a frame.
        objects: How many objects; each is in sight in the first frame.
        textures: Photos, HWC uint8 RGB; `load_textures()` by default.

    Returns:
        Frames (T, H, W, 3) uint8 RGB and masks (T, H, W) uint8 with ids from 1, later ids in front of earlier ones.
    """
    textures = load_textures() if textures is None else textures
    size = (height, width)
    camera = _Camera.draw(rng, textures, frames, size)
    occluder = _occluder(rng, textures, frames, size, camera) if rng.random() < 0.4 else None
    bodies = _visible_bodies(rng, textures, frames, size, objects, camera, occluder)
    light = 1 + _smooth(rng, frames, 0.10)[:, None] + _smooth(rng, frames, 0.03, 3)
    blur, noise = rng.uniform(0.3, 0.7), rng.uniform(1.0, 3.0)
    frames_thwc = np.empty((frames, height, width, 3), np.uint8)
    masks_thw = np.zeros((frames, height, width), np.uint8)
    for t in range(frames):
        canvas, mask = camera.render(t), masks_thw[t]
        for label, body in [*enumerate(bodies, 1), *([(BACKGROUND, occluder)] if occluder else [])]:
            colour, alpha = body.render(t, size)
            canvas += alpha[..., None] * (colour - canvas)
            mask[alpha > 0.5] = label
        canvas = cv2.GaussianBlur(canvas, (0, 0), blur) * light[t]
        canvas += rng.normal(0, noise, canvas.shape)
        frames_thwc[t] = np.clip(np.rint(canvas), 0, 255)
    return frames_thwc, masks_thw


def load_textures(folder: Path | None = None) -> list[np.ndarray]:
    """Photos to cut from, HWC uint8 RGB: those of a folder (videos give three frames each), or scikit-learn's two.

    Raises:
        InputError: the folder is missing or holds no picture.
    """
    if folder is None:
        from sklearn.datasets import load_sample_images

        return [np.asarray(image) for image in load_sample_images().images]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --textures takes a folder of images or videos")
    pictures = frame_files(folder)
    photos = [read_frame(path) for path in pictures] if pictures else list(_frames_of_videos(folder))
    return [_shrink(photo) for photo in photos]


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
class _Cut:
    """A place in a photo, with the colours it is shown in."""

    photo_hwc: np.ndarray
    """float32, 0 to 255."""
    centre: np.ndarray
    """(x, y) in photo pixels."""
    matrix: np.ndarray
    """(2, 2): pixels of the frame to pixels of the photo."""

    def read(self, xy: np.ndarray) -> np.ndarray:
        """Colours at offsets (H, W, 2) from the centre, in frame pixels; the photo goes on mirrored past its edge."""
        where = (xy @ self.matrix.T + self.centre).astype(np.float32)
        x, y = where[..., 0], where[..., 1]
        return np.asarray(cv2.remap(self.photo_hwc, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def _cut(
    rng: np.random.Generator,
    photo: np.ndarray,
    scale: float,
    recolour: float,
    reach: float,
    turn: float,
    avoid: np.ndarray | None = None,
) -> _Cut:
    """Draws a place with texture.

    Args:
        rng: Decides.
        photo: Where from, HWC uint8.
        scale: Pixels of the photo to one of the frame.
        recolour: How far the colours are moved, 0 to 1.
        reach: How far around the place there should be texture, in pixels of the frame.
        turn: By how much the cut may be turned either way, in radians.
        avoid: (x, y) of the photo to keep away from.
    """
    height, width = photo.shape[:2]
    detail = np.abs(cv2.Laplacian(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.CV_32F, ksize=3))
    best, best_score = np.array([width / 2, height / 2]), -1.0
    for _ in range(6):
        place = rng.uniform(0.15, 0.85, 2) * (width, height)
        x, y, r = int(place[0]), int(place[1]), max(int(reach * scale), 4)
        # the median, as one strong edge through a bare patch is no texture
        score = float(np.median(detail[max(y - r, 0) : y + r, max(x - r, 0) : x + r]))
        if avoid is not None:
            score *= min(float(np.hypot(*(place - avoid))) / (0.3 * width), 1.0)
        if score > best_score:
            best, best_score = place, score
    angle = rng.uniform(-turn, turn)
    flip = np.diag([rng.choice([-1.0, 1.0]), 1.0])
    smoothed = cv2.GaussianBlur(photo, (0, 0), max(0.35 * scale, 0.2))
    return _Cut(_recolour(rng, smoothed, recolour), best, scale * _rotation(angle) @ flip)


def _recolour(rng: np.random.Generator, photo: np.ndarray, strength: float) -> np.ndarray:
    """Turns hue, saturation and brightness; strength 0 leaves the photo as it is."""
    hsv = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + strength * rng.uniform(-90, 90)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * (1 + strength * rng.uniform(-0.4, 0.6)), 0, 255)
    hsv[..., 2] = 255 * (hsv[..., 2] / 255) ** np.exp(strength * rng.uniform(-0.5, 0.5))
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)


@dataclass
class _Camera:
    """The background photo under pan, zoom and roll."""

    photo: int
    cut: _Cut
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
        cut = _cut(rng, textures[photo], scale, rng.uniform(0, 0.3), 0.5 * min(size), 0.2)
        pace = rng.uniform(0.2, 1.0)
        shift = _smooth(rng, frames, 0.10 * pace * width, 2)
        return cls(photo, cut, _grid(size), shift, _smooth(rng, frames, 0.06 * pace), _smooth(rng, frames, 0.05 * pace))

    def render(self, t: int) -> np.ndarray:
        """The background of frame t, HWC float32, 0 to 255."""
        return self.cut.read(np.exp(-self.zoom[t]) * self.grid @ _rotation(-self.roll[t]).T + self.shift[t])


@dataclass
class _Body:
    """A bending shape that carries its texture along an own path."""

    cut: _Cut
    radii: np.ndarray
    """(360,) distance of the outline from the centre, one value a degree, in pixels."""
    stretch: float
    centre: np.ndarray
    """(T, 2) pixels from the middle of the frame."""
    scale: np.ndarray
    """(T,) natural logarithms."""
    angle: np.ndarray
    """(T,) radians."""
    bend: np.ndarray
    """(T, 2) how far waves along either axis push the other one, in parts of the size."""

    def render(self, t: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) and opacity (H, W) in [0, 1] of frame t."""
        radius = float(self.radii.mean())
        xy = (_grid(size) - self.centre[t]) @ _rotation(-self.angle[t]).T * np.exp(-self.scale[t])
        bent = xy + radius * self.bend[t] * np.sin(1.5 * xy[..., ::-1] / radius)
        u = bent / (self.stretch, 1 / self.stretch)
        degree = np.degrees(np.arctan2(u[..., 1], u[..., 0])) % 360
        outline = np.interp(degree, np.arange(361), np.append(self.radii, self.radii[0]))
        alpha = np.clip(0.5 + (outline - np.hypot(u[..., 0], u[..., 1])) * np.exp(self.scale[t]), 0, 1)
        return self.cut.read(bent), alpha.astype(np.float32)


def _visible_bodies(
    rng: np.random.Generator,
    textures: Sequence[np.ndarray],
    frames: int,
    size: tuple[int, int],
    objects: int,
    camera: _Camera,
    occluder: _Body | None,
) -> list[_Body]:
    """Objects of which each is well in sight in the first frame; one that hides another too much is drawn anew."""
    post = np.zeros(size, bool) if occluder is None else occluder.render(0, size)[1] > 0.5
    bodies: list[_Body] = []
    first_mask = np.zeros(size, np.int64)
    for _ in range(ATTEMPTS):
        body = _body(rng, textures, frames, size, objects, camera)
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
) -> _Body:
    height, width = size
    radius = min(size) * rng.uniform(0.17, 0.27) / objects**0.25
    photo = int(rng.integers(len(textures)))
    alike = rng.random() < 0.3  # as on real video, colour alone must not tell the object
    photo = camera.photo if alike else photo
    scale = rng.uniform(0.5, 1.1) * min(textures[photo].shape[:2]) / min(size) * 0.5
    avoid = camera.cut.centre if photo == camera.photo else None
    cut = _cut(rng, textures[photo], scale, 0.1 if alike else rng.uniform(0.3, 1.0), radius, np.pi, avoid)
    home = rng.uniform(-0.25, 0.25, 2) * (width, height)
    path = home + _smooth(rng, frames, 0.11 * width, 2) * (1, height / width)
    return _Body(
        cut,
        _outline(rng, radius),
        rng.uniform(0.8, 1.25),
        path,
        _smooth(rng, frames, 0.12),
        rng.uniform(-np.pi, np.pi) + _smooth(rng, frames, 0.35),
        _smooth(rng, frames, 0.16, 2),
    )


def _occluder(
    rng: np.random.Generator, textures: Sequence[np.ndarray], frames: int, size: tuple[int, int], camera: _Camera
) -> _Body:
    """A post before the scene: part of the background, it moves with the camera, only nearer to it."""
    height, width = size
    photo = textures[int(rng.integers(len(textures)))]
    cut = _cut(rng, photo, rng.uniform(0.8, 1.4), 0.6, 0.1 * width, np.pi)
    centre = np.array([rng.uniform(-0.35, 0.35) * width, 0.0]) - 1.4 * camera.shift * (1, 0)
    thick, long = rng.uniform(0.02, 0.05) * width, 2.0 * height
    stretch = float(np.sqrt(thick / long))
    still = np.zeros(frames)
    radii = np.full(360, float(np.sqrt(thick * long)))
    return _Body(cut, radii, stretch, centre, still, still + rng.uniform(-0.15, 0.15), np.zeros((frames, 2)))


def _outline(rng: np.random.Generator, radius: float) -> np.ndarray:
    """(360,) a closed curve: a circle with a few random waves on it."""
    angle = np.radians(np.arange(360))
    waves = np.arange(2, 7)
    height = rng.uniform(0, 0.28, waves.size) / (waves - 1) ** 0.7
    phase = rng.uniform(0, 2 * np.pi, waves.size)
    return np.asarray(radius * (1 + height @ np.cos(waves[:, None] * angle + phase[:, None])))


def _smooth(rng: np.random.Generator, frames: int, amplitude: float, channels: int = 0) -> np.ndarray:
    """(T,) or (T, channels): slow random waves with periods of 25 to 90 frames, of about the amplitude."""
    count = max(channels, 1)
    period = rng.uniform(25, 90, (3, 1, count))
    phase = rng.uniform(0, 2 * np.pi, (3, 1, count))
    weight = rng.uniform(0.4, 1.0, (3, 1, count))
    time = np.arange(frames)[:, None]
    curve = amplitude * (weight * np.sin(2 * np.pi * time / period + phase)).sum(0) / 1.3
    return np.asarray(curve if channels else curve[:, 0])


def _grid(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 2): x and y of every pixel from the middle of the frame."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    return np.stack([x - (width - 1) / 2, y - (height - 1) / 2], axis=-1)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _write_frame(path: Path, frame: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(frame).save(temporary, format="JPEG", quality=95)


def _check(options: SynthOptions) -> tuple[int, int]:
    """Fewest and most objects, once every number is seen to be in range."""
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

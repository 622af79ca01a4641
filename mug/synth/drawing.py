"""Textured shapes from which synthetic videos and images are composed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mug.media.files import atomic_path


@dataclass
class Cut:
    """A region of a recoloured photo that serves as texture."""

    photo_hwc: np.ndarray
    """float32, 0 to 255."""
    centre: np.ndarray
    """(x, y) in photo pixels."""
    matrix: np.ndarray
    """(2, 2): maps frame pixels to photo pixels."""

    def read(self, xy: np.ndarray, photo: np.ndarray | None = None, border: int = cv2.BORDER_REFLECT_101) -> np.ndarray:
        """Colours at offsets (H, W, 2) from the centre, in frame pixels; beyond its edges the photo is mirrored.

        Another map of the size of the photo can be given, and what lies beyond its edges.
        """
        where = (xy @ self.matrix.T + self.centre).astype(np.float32)
        x, y = where[..., 0], where[..., 1]
        source = self.photo_hwc if photo is None else photo
        return np.asarray(cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=border))


def draw_cut(
    rng: np.random.Generator,
    photo: np.ndarray,
    scale: float,
    recolour: float,
    reach: float,
    turn: float,
    avoid: np.ndarray | None = None,
) -> Cut:
    """Draws a random region with much texture.

    Args:
        rng: Random generator.
        photo: The photo, HWC uint8.
        scale: Photo pixels per frame pixel.
        recolour: Strength of the colour change, 0 to 1.
        reach: Radius that should be textured, in frame pixels.
        turn: Largest rotation in either direction, in radians.
        avoid: (x, y) in the photo to keep away from.
    """
    height, width = photo.shape[:2]
    detail = np.abs(cv2.Laplacian(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.CV_32F, ksize=3))
    best, best_score = np.array([width / 2, height / 2]), -1.0
    for _ in range(6):
        place = rng.uniform(0.15, 0.85, 2) * (width, height)
        x, y, r = int(place[0]), int(place[1]), max(int(reach * scale), 4)
        # the median, as one strong edge through a plain patch is no texture
        score = float(np.median(detail[max(y - r, 0) : y + r, max(x - r, 0) : x + r]))
        if avoid is not None:
            score *= min(float(np.hypot(*(place - avoid))) / (0.3 * width), 1.0)
        if score > best_score:
            best, best_score = place, score
    angle = rng.uniform(-turn, turn)
    flip = np.diag([rng.choice([-1.0, 1.0]), 1.0])
    smoothed = cv2.GaussianBlur(photo, (0, 0), max(0.35 * scale, 0.2))
    return Cut(shift_colours(rng, smoothed, recolour), best, scale * rotation(angle) @ flip)


def shift_colours(rng: np.random.Generator, photo: np.ndarray, strength: float) -> np.ndarray:
    """Changes hue, saturation and brightness at random; strength 0 leaves the photo unchanged."""
    hsv = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + strength * rng.uniform(-90, 90)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * (1 + strength * rng.uniform(-0.4, 0.6)), 0, 255)
    hsv[..., 2] = 255 * (hsv[..., 2] / 255) ** np.exp(strength * rng.uniform(-0.5, 0.5))
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)


@dataclass
class Body:
    """A deforming shape that carries its texture along its own path."""

    cut: Cut
    radii: np.ndarray
    """(360,) distance of the outline from the centre, one value per degree, in pixels."""
    stretch: float
    centre: np.ndarray
    """(T, 2) pixels from the middle of the frame."""
    scale: np.ndarray
    """(T,) natural logarithms."""
    angle: np.ndarray
    """(T,) radians."""
    bend: np.ndarray
    """(T, 2) amplitude of the waves along either axis that displace the other one, relative to the radius."""

    def render(self, t: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Colour (H, W, 3) and opacity (H, W) in [0, 1] of frame t."""
        radius = float(self.radii.mean())
        xy = (pixel_grid(size) - self.centre[t]) @ rotation(-self.angle[t]).T * np.exp(-self.scale[t])
        bent = xy + radius * self.bend[t] * np.sin(1.5 * xy[..., ::-1] / radius)
        return self.cut.read(bent), self._opacity(bent, float(np.exp(self.scale[t])))

    def _opacity(self, xy: np.ndarray, scale: float) -> np.ndarray:
        """(H, W) float32 in [0, 1] at offsets (H, W, 2) from the centre, of a body enlarged by `scale`."""
        u = xy / (self.stretch, 1 / self.stretch)
        degree = np.degrees(np.arctan2(u[..., 1], u[..., 0])) % 360
        outline = np.interp(degree, np.arange(361), np.append(self.radii, self.radii[0]))
        alpha = np.clip(0.5 + (outline - np.hypot(u[..., 0], u[..., 1])) * scale, 0, 1)
        return alpha.astype(np.float32)


def draw_outline(rng: np.random.Generator, radius: float) -> np.ndarray:
    """(360,) a closed curve: a circle with a few random waves."""
    angle = np.radians(np.arange(360))
    waves = np.arange(2, 7)
    height = rng.uniform(0, 0.28, waves.size) / (waves - 1) ** 0.7
    phase = rng.uniform(0, 2 * np.pi, waves.size)
    return np.asarray(radius * (1 + height @ np.cos(waves[:, None] * angle + phase[:, None])))


def pixel_grid(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 2): x and y of every pixel relative to the middle of the frame."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    return np.stack([x - (width - 1) / 2, y - (height - 1) / 2], axis=-1)


def rotation(angle: float) -> np.ndarray:
    """(2, 2): rotation of (x, y) by an angle in radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def write_frame(path: Path, frame: np.ndarray) -> None:
    """Writes a frame (HWC uint8 RGB) as a JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(frame).save(temporary, format="JPEG", quality=95)

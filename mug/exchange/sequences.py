"""Result masks on disk, sequence by sequence, and the frames that they belong to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mug.errors import InputError
from mug.media.listing import mask_files, own_name, sequence_folders
from mug.media.masks import VOID, read_mask, values_of
from mug.media.video import FrameFolder, Video, find_videos


class Sequence(NamedTuple):
    """The masks of a video."""

    name: str
    files: Mapping[str, Path]
    """By frame name, in order."""
    video: Video | None
    """Their frames, if at hand."""

    def masks(self) -> Iterator[tuple[str, np.ndarray]]:
        """Frame name and mask (H, W) uint8, all of one size.

        Raises:
            InputError: a file is no mask, or of another size.
        """
        size = None if self.video is None else tuple(self.video.size)
        for name, path in self.files.items():
            mask = read_mask(path)
            size = size or mask.shape
            if mask.shape != size:
                (h, w), (height, width) = mask.shape, size
                raise InputError(f"{path}: is {w}x{h} pixels, its video {width}x{height}; masks must be as large")
            yield name, mask

    def with_frames(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Frame name, frame (H, W, 3) uint8 RGB and mask (H, W) uint8.

        Raises:
            InputError: see `masks`; or a mask has no frame.
        """
        assert self.video is not None
        if strange := sorted(set(self.files) - set(self.video.frame_names)):
            raise InputError(f"{self.files[strange[0]]}: has no frame in {self.video.path}; check --videos")
        masks = self.masks()
        for name, frame in zip(self.video.frame_names, self.video, strict=True):
            if name in self.files:
                yield name, frame, next(masks)[1]

    def image(self, frame: str) -> str:
        """File name of a frame for other tools: `<sequence>/<frame>.jpg`, or with the suffix that it has."""
        files = self.video.files if isinstance(self.video, FrameFolder) else ()
        suffixes = {file.stem: Path(str(file)).suffix for file in files}
        return f"{self.name}/{frame}{suffixes.get(frame, '.jpg')}"


def find_sequences(results: Path, videos: Path | None = None) -> list[Sequence]:
    """The sequences of a folder of results, `<sequence>/<frame>.png`, or the masks of one sequence.

    Args:
        results: The folder.
        videos: Their videos: a video, a folder of videos or a dataset root.

    Raises:
        InputError: there are no masks, or a sequence has no video.
    """
    if not results.is_dir():
        raise InputError(f"{results}: no such folder; give the folder that holds <sequence>/<frame>.png")
    found = {own_name(results): mask_files(results)}
    if not found[own_name(results)]:
        found = {name: mask_files(results / name) for name in sequence_folders(results)}
    if not found:
        raise InputError(
            f"{results}: holds no <sequence>/<frame>.png; give the folder that the results were written to"
        )
    if videos is None:
        return [Sequence(name, files, None) for name, files in found.items()]
    there = {video.name: video for video in find_videos(videos)}
    if len(there) == len(found) == 1:
        there = dict(zip(found, there.values(), strict=True))
    if missing := [name for name in found if name not in there]:
        raise InputError(f"{videos}: has no video named {missing[0]}, of which there are masks; check --videos")
    return [Sequence(name, files, there[name]) for name, files in found.items()]


def objects_of(mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Id and mask (H, W) bool of each object in a mask (H, W) uint8."""
    return ((int(i), mask == i) for i in values_of(mask) if i not in (0, VOID))

"""Output folder of a command: masks and, on request, soft maps, masks before refinement and an overlay video."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mug.errors import InputError, RunError, logger
from mug.media.files import atomic_path, begun_for, check_output, inside, remove_partial, replaced_together
from mug.media.listing import MASK_SUFFIXES, files_of, mask_files
from mug.media.masks import write_mask, write_soft
from mug.media.overlay import OverlayWriter
from mug.media.plain import parse_json
from mug.media.video import Video
from mug.run.settings import first_difference

BESIDE = ("raw", "soft")
"""Folders of OUT for additional results, one subfolder per sequence; no video may have these names."""

FREE_KEYS = ("out", "device", "overwrite", "resume", "shard")
"""Options that may change between the parts of results: they do not determine the masks."""


class Results:
    """The folder OUT of a command: OUT/<sequence>/<frame>.png and additional results.

    Existing results of these sequences are checked for before the first mask is written; those of others, such as the
    ones that another shard writes at the same time, are not looked at. Beside each sequence the hidden file
    OUT/.<sequence>.json records the settings that its masks are made with and, once they are complete, their number.

    Args:
        out: The folder.
        names: Sequences, or groups of images.
        settings: What the masks are made with, as plain data.
        beside: Which of `BESIDE` to write; None if the command has none of them.
        overlay: Whether to write OUT/<sequence>.mp4, with the masks drawn over the frames.
        overwrite: Whether existing results may be replaced; with `resume`, those that do not count as finished.
        resume: Whether sequences that were finished with the same settings are kept. A sequence that was begun with
            them is done again.

    Attributes:
        finished: Names of the sequences that are kept.

    Raises:
        InputError: a folder or file already exists or cannot be created, was made with other settings, or a sequence
            has a name of `BESIDE` or one that leads out of the folder.
    """

    def __init__(
        self,
        out: Path,
        names: Sequence[str],
        settings: Mapping[str, Any] | None = None,
        *,
        beside: Sequence[str] | None = None,
        overlay: bool = False,
        overwrite: bool = False,
        resume: bool = False,
    ) -> None:
        self.out = out
        self._settings = dict(settings or {})
        self._roots = (out, *(out / kept for kept in beside or ()))
        self._overlay = overlay
        self._written = 0
        for name in set(names) & set(() if beside is None else BESIDE):
            raise InputError(f"{out}: results of a video called {name!r} would mix with others; rename it")
        begun = {name for name in names if resume and self._is_begun(name, overwrite)}
        self.finished = {name for name in begun if self._is_finished(name)}
        fault = "is there already; choose another place, or add --resume to go on or --overwrite"
        if resume:
            fault = "is there already, with no record of how it was made; choose another place or add --overwrite"
        for name in names:
            if overwrite or name in begun:
                continue
            if overlay and self._movie(name).exists():
                raise InputError(f"{self._movie(name)}: {fault}")
        for root in self._roots:
            for name in names:
                inside(out, str(inside(root, name).relative_to(out)))  # OUT/raw may be a link, too
                check_output(root / name, overwrite or name in begun, fault)
        if resume:
            logger.info("%s: %d of %d are finished and kept", out, len(self.finished), len(names))

    @contextmanager
    def sequence(self, name: str) -> Iterator[None]:
        """Context for writing the results of a sequence; they are complete when it ends without an error.

        Older results are set aside meanwhile. After an `InputError` they are back, and nothing of the new ones is left.

        Raises:
            RunError: masks were removed while others were written.
        """
        folders = [root / name for root in self._roots]
        remove_partial(path for folder in folders for path in folder.glob(".*"))
        remove_partial(path for root in self._roots for path in root.glob(".*") if begun_for(path) == name)
        self._written = 0
        with replaced_together(name, folders, lambda: self._files(name)):
            self._write_record(name, None)
            yield
            count = len(mask_files(self.out / name))
            if count < self._written:
                raise RunError(f"{self.out / name}: was removed while masks were written there; start again")
            self._write_record(name, count)
        logger.debug("%s: %d masks are written", self.out / name, count)

    def write_mask(self, sequence: str, frame: str, mask: np.ndarray) -> None:
        """Writes the mask (H, W) uint8 of a frame."""
        write_mask(self.out / sequence / f"{frame}.png", mask)
        self._written += 1

    def write_raw(self, sequence: str, frame: str, mask: np.ndarray) -> None:
        """Writes the mask (H, W) uint8 of a frame before refinement."""
        write_mask(self.out / "raw" / sequence / f"{frame}.png", mask)

    def write_soft(self, sequence: str, frame: str, map_hw: np.ndarray) -> None:
        """Writes the foreground probability (H, W) in [0, 1] of a frame with 8 bits."""
        write_soft(self.out / "soft" / sequence / f"{frame}.png", np.rint(map_hw * 255).astype(np.uint8))

    def write_picture(self, sequence: str, frame: str, picture: np.ndarray) -> Path:
        """Writes a picture (H, W, 3) uint8 RGB of a frame beside the sequence and returns its path."""
        path = self.out / f"{sequence}_{frame}.jpg"
        with atomic_path(path) as temporary:
            Image.fromarray(picture).save(temporary, quality=92)
        return path

    def write_video(self, video: Video, masks: Iterator[np.ndarray]) -> None:
        """Writes the masks (H, W) uint8 of all frames, and the overlay, as the iterator yields them in order."""
        with self.sequence(video.name), closing(self._drawn(video, masks)) as drawn:
            for name, mask in zip(video.frame_names, drawn, strict=True):
                self.write_mask(video.name, name, mask)

    def _drawn(self, video: Video, masks: Iterator[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Passes the masks on and, for an overlay, draws them over their frames."""
        if not self._overlay:
            yield from masks
            return
        with OverlayWriter(self._movie(video.name), video.fps, video.size) as movie:
            for index, (frame, mask) in enumerate(zip(video, masks, strict=True)):
                movie.write(frame, mask, video.number(index))
                yield mask

    def _files(self, name: str) -> list[Path]:
        """The files of a sequence that there are."""
        masks = [path for root in self._roots for path in files_of(root / name, MASK_SUFFIXES)]
        return masks + [path for path in (self._movie(name), self._record(name)) if path.is_file()]

    def _movie(self, name: str) -> Path:
        return self.out / f"{name}.mp4"

    def _record(self, name: str) -> Path:
        return self.out / f".{name}.json"

    def _write_record(self, name: str, frames: int | None) -> None:
        """Records the settings, and the number of masks once all are written."""
        record = {"frames": frames, "settings": self._settings}
        with atomic_path(self._record(name)) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")

    def _read_record(self, name: str) -> dict[str, Any]:
        """The record of a sequence; empty if there is none."""
        try:
            found = parse_json(self._record(name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and isinstance(found.get("settings"), dict) else {}

    def _is_begun(self, name: str, overwrite: bool) -> bool:
        """Whether a sequence was begun with these settings.

        Raises:
            InputError: it was with others, and may not be replaced.
        """
        record = self._read_record(name)
        if not record:
            return False
        # the settings as they come back from a file
        difference = first_difference(record["settings"], json.loads(json.dumps(self._settings)))
        if difference and not overwrite:
            key, old, new = difference
            raise InputError(
                f"{self.out / name}: was made with {key} = {old!r} and this command has {new!r}; give the same "
                "options, choose another folder or add --overwrite"
            )
        return difference is None

    def _is_finished(self, name: str) -> bool:
        """Whether the results of a sequence that was begun with these settings are complete."""
        frames = self._read_record(name).get("frames")
        if self._overlay and not self._movie(name).is_file():
            return False
        there = [mask_files(root / name).values() for root in self._roots]
        # an empty file is what a power failure may leave of one
        return all(len(masks) == frames and all(path.stat().st_size for path in masks) for masks in there)

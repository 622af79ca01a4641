"""DAVIS-2016, DAVIS-2017 and other datasets in the same layout.

`ROOT/JPEGImages/480p/<sequence>/00000.jpg` with `ROOT/Annotations/480p/<sequence>/00000.png`; the level `480p` may be
`Full-Resolution`, `1080p` or missing. `ROOT/ImageSets` holds lists of sequences. For test-dev only the first masks are
published. Annotations for the unsupervised task are in `Annotations_unsupervised`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from downstream.data.dataset import (
    Annotation,
    Dataset,
    ForegroundAnnotation,
    Kind,
    first_masks_alone,
    open_frames,
    some,
)
from downstream.data.splits import read_split
from mug.errors import InputError
from mug.media.listing import frame_files, mask_files, sequence_folders
from mug.media.masks import read_mask
from mug.media.plain import read_yaml
from mug.media.video import FrameFolder, Video, find_videos, open_all

LEVELS = ("480p", "Full-Resolution", "1080p")
"""Resolutions in which DAVIS is published; the first one present is used."""
INFO_FILE = "db_info.yml"


@dataclass(frozen=True)
class UnsupervisedAnnotation(Annotation):
    """A mask in which 255 is void even if it contains no object."""

    def read(self) -> np.ndarray:
        """See `Annotation`."""
        return read_mask(self.path, lone_void=True)


class Davis17(Dataset):
    """DAVIS-2017 with the annotations of the semi-supervised task: several objects, first masks given.

    The first and the last annotated frame of a sequence are not scored in any task.
    """

    kind: ClassVar[Kind] = "davis17"
    title = "DAVIS-2017"
    dense = True
    masks: ClassVar[str] = "Annotations"
    lists: ClassVar[tuple[str, ...]] = ()
    """Folders of `ImageSets` to prefer when several contain a list of that name. The lists of 2016 and 2017 have the
    same names and lie side by side, so there the user has to choose."""

    @classmethod
    def lies_in(cls, root: Path) -> bool:
        """See `Dataset`; PASCAL VOC has folders of the same names, but also `SegmentationClass`."""
        there = any((root / folder).is_dir() for folder in ("Annotations", "JPEGImages"))
        return there and not (root / "SegmentationClass").is_dir()

    def check(self) -> None:
        """See `Dataset`."""
        _ = self.annotations

    @property
    def annotations(self) -> Path:
        """The folder that holds the sequences.

        Raises:
            InputError: the folder is missing.
        """
        folder = self.root / self.masks
        if not folder.is_dir():
            raise InputError(
                f"{self.root}: has no folder {self.masks}/{LEVELS[0]}; give the root of a dataset in DAVIS layout"
            )
        return _level(folder)

    def sequences(self, split: str | None = None) -> list[str]:
        """See `Dataset`; `split` is a file in `ImageSets`."""
        annotated = sequence_folders(self.annotations)
        if not annotated:
            raise InputError(f"{self.annotations}: holds no <sequence>/<frame>.png; give the root of a DAVIS layout")
        if split is None:
            return annotated
        path, chosen = read_split(self.root, split, self.lists)
        if missing := [name for name in chosen if name not in annotated]:
            raise InputError(f"{self.annotations}: has no annotations of {some(missing)}, which {path} names")
        return chosen

    def frames(self, sequence: str) -> dict[str, Annotation]:
        """See `Dataset`."""
        return {name: self._annotation(path) for name, path in mask_files(self.annotations / sequence).items()}

    def _annotation(self, path: Path) -> Annotation:
        return Annotation(path)

    def video(self, sequence: str) -> FrameFolder:
        """See `Dataset`."""
        return open_frames(self._images() / sequence, sequence)

    def videos(self, split: str | None = None) -> Sequence[Video]:
        """See `Dataset`; no annotation is needed."""
        if split is None:
            return find_videos(self._images())
        return open_all(read_split(self.root, split, self.lists)[1], self.video)

    def _images(self) -> Path:
        folder = self.root / "JPEGImages"
        if (self.root / self.masks).is_dir() and self.annotations.name in LEVELS:
            level = folder / self.annotations.name
            if level.is_dir() or not folder.is_dir():
                return level
        return _level(folder)

    def given(self, sequence: str) -> dict[str, np.ndarray]:
        """See `Dataset`.

        Raises:
            InputError: also if the first frame has no annotation, since a later one would be taken for it.
        """
        first = next(iter(self.frames(sequence)), None)
        images = frame_files(self._images() / sequence)
        if first is None or (images and images[0].stem != first):
            missing = self.annotations / sequence / (f"{images[0].stem}.png" if images else "00000.png")
            raise InputError(f"{missing}: no such mask; O-VOS needs the first frame's annotation")
        return super().given(sequence)

    def scored(self, split: str | None, given: bool) -> dict[str, list[str]]:
        """See `Dataset`; all frames but the first and the last (Perazzi et al. 2016), none of a very short sequence."""
        frames = {name: list(self.frames(name)) for name in self.sequences(split)}
        if all(len(names) == 1 for names in frames.values()):
            raise first_masks_alone(self.annotations)
        return {name: names[1:-1] for name, names in frames.items()}

    def steady(self) -> set[str] | None:
        """The sequences marked `eval_t` in the dataset's `db_info.yml`; None if there is no such file.

        Raises:
            InputError: the file cannot be parsed.
        """
        entries = self._info()
        return None if entries is None else {str(entry["name"]) for entry in entries if entry["eval_t"] is True}

    def attributes(self) -> dict[str, list[str]]:
        """See `Dataset`; AC, BC, ... of Perazzi et al. 2016, as marked in `db_info.yml`.

        Raises:
            InputError: the file cannot be parsed.
        """
        having: dict[str, list[str]] = {}
        for entry in self._info() or []:
            for attribute in entry["attributes"]:
                having.setdefault(str(attribute), []).append(str(entry["name"]))
        return dict(sorted(having.items()))

    def _info(self) -> list[dict[str, Any]] | None:
        """The sequence entries of `db_info.yml`; None if there is no such file."""
        folders = (self.root, self.root / self.masks, self.annotations)
        files = (INFO_FILE, INFO_FILE.replace(".yml", ".yaml"))
        path = next((folder / file for folder in folders for file in files if (folder / file).is_file()), None)
        if path is None:
            return None
        try:
            entries = read_yaml(path)["sequences"]
            # every field used later is read here, so that a malformed file fails only here
            return [
                {"name": e["name"], "eval_t": e.get("eval_t", False), "attributes": list(e.get("attributes") or [])}
                for e in entries
            ]
        except (InputError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}: is no list of `sequences` with `name`, `eval_t` and `attributes` as DAVIS has it; mend or "
                "remove it"
            ) from error


class Davis16(Davis17):
    """DAVIS-2016: one foreground. Its own release has masks of 0 and 255; the objects of DAVIS-2017 are merged."""

    kind = "davis16"
    title = "DAVIS-2016"
    lists = ("480p", "2016", "1080p")

    @classmethod
    def lies_in(cls, root: Path) -> bool:
        """See `Dataset`; its release has lists per resolution, that of 2017 per year."""
        lists = root / "ImageSets"
        return super().lies_in(root) and (lists / "480p").is_dir() and not (lists / "2017").is_dir()

    def _annotation(self, path: Path) -> Annotation:
        return ForegroundAnnotation(path)


class Davis17Unsupervised(Davis17):
    """DAVIS-2017 with the annotations of the unsupervised task: more objects, void regions; every frame is scored."""

    kind = "davis17-unsupervised"
    title = "DAVIS-2017 unsupervised"
    masks = "Annotations_unsupervised"
    lists = ("2017", "2019")

    @classmethod
    def lies_in(cls, root: Path) -> bool:
        """See `Dataset`; if both kinds of annotations are present, the semi-supervised task is assumed."""
        return (root / cls.masks).is_dir() and not (root / "Annotations").is_dir()

    def _annotation(self, path: Path) -> Annotation:
        return UnsupervisedAnnotation(path)

    def scored(self, split: str | None, given: bool) -> dict[str, list[str]]:
        """See `Dataset`; all frames are scored (Caelles et al. 2019)."""
        return Dataset.scored(self, split, given)


def _level(folder: Path) -> Path:
    return next((folder / level for level in LEVELS if (folder / level).is_dir()), folder)

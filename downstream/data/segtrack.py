"""SegTrack v2 (Li et al. 2013): `ROOT/JPEGImages/<sequence>/<frame>` with `ROOT/GroundTruth/<sequence>/<frame>`.

A sequence with several objects has a mask folder `1`, `2`, ... for each. Frames and masks are PNG or BMP files with the
same name, though not always the same suffix. Masks are 0 and 255, many of them RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from downstream.data.dataset import Annotation, Dataset, open_frames, some
from downstream.data.splits import read_split
from mug.errors import InputError
from mug.media.listing import by_stem, frame_files, subfolders
from mug.media.masks import read_binary
from mug.media.video import FrameFolder


@dataclass(frozen=True)
class ObjectMasks(Annotation):
    """One mask file per object of a frame.

    Attributes:
        objects: The files, in the order of object ids.
    """

    objects: tuple[Path, ...]

    def read(self) -> np.ndarray:
        """See `Annotation`; where objects overlap, the later one wins.

        Raises:
            InputError: also if the files differ in size.
        """
        mask = read_binary(self.objects[0])
        for identity, path in enumerate(self.objects[1:], start=2):
            shown = read_binary(path)
            if shown.shape != mask.shape:
                raise InputError(f"{path}: is of another size than {self.objects[0]}; unpack the sequence anew")
            mask[shown == 1] = identity
        return mask


class SegTrack(Dataset):
    """SegTrack v2: 14 sequences, 24 objects, all frames annotated."""

    kind = "segtrack"
    title = "SegTrack v2"
    dense = True

    @classmethod
    def lies_in(cls, root: Path) -> bool:
        """See `Dataset`; an image group also has a folder `GroundTruth`, but with images beside it."""
        return bool(subfolders(root / "GroundTruth")) and not frame_files(root)

    @property
    def annotations(self) -> Path:
        """See `Dataset`."""
        return self.root / "GroundTruth"

    def check(self) -> None:
        """See `Dataset`."""
        for folder in ("GroundTruth", "JPEGImages"):
            if not (self.root / folder).is_dir():
                raise InputError(f"{self.root}: has no folder {folder}; give the root of SegTrack v2")
        if not subfolders(self.annotations):
            raise InputError(f"{self.annotations}: holds no sequence; unpack SegTrack v2 anew")
        for name in self.sequences():
            self.frames(name)

    def sequences(self, split: str | None = None) -> list[str]:
        """See `Dataset`; `split` is a list in `ImageSets`, such as `all`."""
        there = [folder.name for folder in subfolders(self.annotations)]
        if split is None:
            return there
        path, names = read_split(self.root, split)
        chosen = [self._folder_of(name) for name in names]
        if missing := [name for name in chosen if name not in there]:
            raise InputError(f"{self.annotations}: has no masks of {some(missing)}, which {path} names")
        return chosen

    def _folder_of(self, name: str) -> str:
        """Folder of a sequence; if it is named differently, the first line of the sequence's own list gives it."""
        own = self.root / "ImageSets" / f"{name}.txt"
        if (self.annotations / name).is_dir() or not own.is_file():
            return name
        return own.read_text().split("\n", 1)[0].strip().rstrip("/") or name

    def frames(self, sequence: str) -> dict[str, Annotation]:
        """See `Dataset`."""
        folder = self.annotations / sequence
        objects = [by_stem(frame_files(path)) for path in subfolders(folder) or [folder]]
        if not objects[0]:
            raise InputError(f"{folder}: holds no mask; unpack the sequence anew")
        for number, files in enumerate(objects, start=1):
            if missing := [name for name in objects[0] if name not in files]:
                raise InputError(f"{folder / str(number)}: has no mask of frame {missing[0]}; unpack the sequence anew")
        return {name: ObjectMasks(path, tuple(files[name] for files in objects)) for name, path in objects[0].items()}

    def video(self, sequence: str) -> FrameFolder:
        """See `Dataset`."""
        return open_frames(self.root / "JPEGImages" / sequence, sequence)

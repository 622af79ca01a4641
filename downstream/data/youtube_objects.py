"""YouTube-Objects with the masks of Jain & Grauman 2014, in its two common layouts.

- Published: `ROOT/<class>/data/<video>/shots/<shot>/images/00001.jpg`, with masks of about every tenth frame in
  `labels/00001.jpg`. These are JPEG files, so values near 0 and 255 also occur.
- Flat: `ROOT/JPEGImages/aeroplane0001/00001.jpg` with `ROOT/Annotations/aeroplane0001/00001.png`.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from downstream.data.dataset import Annotation, BinaryAnnotation, Dataset, open_frames
from mug.errors import InputError
from mug.media.listing import by_stem, frame_files, sequence_folders, subfolders
from mug.media.video import FrameFolder

CLASSES = ("aeroplane", "bird", "boat", "car", "cat", "cow", "dog", "horse", "motorbike", "train")
_FLAT = re.compile(rf"({'|'.join(CLASSES)}|airplane)[-_]?\d{{4}}([-_]\d+)*")


class _Shot(NamedTuple):
    name: str
    images: Path
    labels: Path


class YouTubeObjects(Dataset):
    """YouTube-Objects. Papers report J only, also as a mean over the ten classes."""

    kind = "youtube-objects"
    title = "YouTube-Objects"

    @classmethod
    def lies_in(cls, root: Path) -> bool:
        """See `Dataset`."""
        if any((root / name / "data").is_dir() for name in CLASSES):
            return True
        folders = subfolders(root / "Annotations")
        return bool(folders) and all(_FLAT.fullmatch(folder.name) for folder in folders)

    def check(self) -> None:
        """See `Dataset`."""
        if not self._shots:
            raise InputError(
                f"{self.root}: holds no <class>/data/<video>/shots/<shot>/labels and no Annotations/<class><video>; "
                "give the folder with the ten classes"
            )
        for shot in self._shots.values():
            if not frame_files(shot.labels):
                raise InputError(f"{shot.labels}: holds no mask; unpack the masks of YouTube-Objects anew")
            self.frames(shot.name)

    @cached_property
    def _shots(self) -> dict[str, _Shot]:
        annotations = self.root / "Annotations"
        if annotations.is_dir():
            names = sequence_folders(annotations)
            return {name: _Shot(name, self.root / "JPEGImages" / name, annotations / name) for name in names}
        found: dict[str, _Shot] = {}
        for name in CLASSES:
            for video in subfolders(self.root / name / "data"):
                shots = [shot for shot in subfolders(video / "shots") if (shot / "labels").is_dir()]
                for shot in shots:
                    # named as in published results; the shot is added only if a video has several annotated shots
                    called = f"{name}{video.name}" + (f"-{shot.name}" if len(shots) > 1 else "")
                    found[called] = _Shot(called, shot / "images", shot / "labels")
        return found

    def sequences(self, split: str | None = None) -> list[str]:
        """See `Dataset`; there are no splits."""
        if split is not None:
            raise InputError(f"--split {split}: YouTube-Objects has no splits; all of it is the test set, leave it out")
        return list(self._shots)

    def frames(self, sequence: str) -> dict[str, Annotation]:
        """See `Dataset`; masks and frames are matched by number, since mask `00001` may belong to `frame0001`."""
        shot = self._shots[sequence]
        labels = by_stem(frame_files(shot.labels))
        if not shot.images.is_dir():
            return {name: BinaryAnnotation(path) for name, path in labels.items()}
        images = {_number(path): name for name, path in by_stem(frame_files(shot.images)).items()}
        for path in labels.values():
            if _number(path) not in images:
                raise InputError(f"{path}: has no frame of its number in {shot.images}; unpack YouTube-Objects anew")
        return {images[_number(path)]: BinaryAnnotation(path) for path in labels.values()}

    def video(self, sequence: str) -> FrameFolder:
        """See `Dataset`."""
        return open_frames(self._shots[sequence].images, sequence)

    def classes(self) -> dict[str, str]:
        """See `Dataset`."""
        return {name: re.split(r"[-_\d]", name, maxsplit=1)[0] for name in self._shots}


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.stem)
    if not digits:
        raise InputError(f"{path}: has no number in its name; name frames and masks as YouTube-Objects does")
    return int(digits[-1])

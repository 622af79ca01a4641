"""YouTube-VOS: `ROOT/{train,valid,test}/{JPEGImages,Annotations}/<video>/00000.{jpg,png}` and `meta.json` in each.

In train every fifth frame is annotated; in valid and test only the frames in which objects first appear, which need not
be the first frame. `meta.json` lists the frames of every object.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from downstream.data.dataset import Annotation, Dataset, first_masks_alone, open_frames
from mug.errors import InputError
from mug.media.files import natural_key
from mug.media.listing import mask_files, own_name
from mug.media.masks import VOID
from mug.media.plain import read_json
from mug.media.video import FrameFolder

PARTS = ("train", "valid", "test")
META = "meta.json"

Starts = dict[str, list[int]]
"""The objects that first appear in each frame, keyed by frame name, in frame order."""


class YouTubeVOS(Dataset):
    """YouTube-VOS or one of its splits. Each object is scored from the frame after the one in which it is given."""

    kind = "youtube-vos"
    title = "YouTube-VOS"

    @classmethod
    def lies_in(cls, root: Path) -> bool:
        """See `Dataset`."""
        return any((folder / META).is_file() for folder in (root, *(root / part for part in PARTS)))

    def check(self) -> None:
        """See `Dataset`."""
        for part in self._parts:
            if not (part / "Annotations").is_dir():
                raise InputError(f"{part}: has no folder Annotations; unpack that part of YouTube-VOS anew")
            for name in self._starts(part):
                if not (part / "Annotations" / name).is_dir():
                    raise InputError(
                        f"{part / 'Annotations' / name}: is missing, though {part / META} names it; unpack it anew"
                    )

    @cached_property
    def _parts(self) -> list[Path]:
        if (self.root / META).is_file():
            return [self.root]
        parts = [self.root / part for part in PARTS if (self.root / part).is_dir()]
        if not parts:
            raise InputError(f"{self.root}: has neither {META} nor folders train, valid or test; give YouTube-VOS")
        return parts

    @cached_property
    def _videos(self) -> dict[str, tuple[Path, Starts]]:
        """The split of each sequence, and the frames in which its objects first appear."""
        found = ((part, name, starts) for part in self._parts for name, starts in self._starts(part).items())
        return {name: (part, starts) for part, name, starts in found}

    def _starts(self, part: Path) -> dict[str, Starts]:
        path = part / META
        if not path.is_file():
            raise InputError(f"{path}: is missing; it says where objects begin, unpack that part of YouTube-VOS anew")
        try:
            videos = read_json(path)["videos"]
            firsts = {
                name: [(min(entry["frames"], key=natural_key), int(identity)) for identity, entry in objects.items()]
                for name, objects in ((name, video["objects"]) for name, video in sorted(videos.items()))
            }
        except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: does not tell where objects are as YouTube-VOS does; unpack it anew") from error
        return {name: _by_frame(pairs) for name, pairs in firsts.items()}

    def sequences(self, split: str | None = None) -> list[str]:
        """See `Dataset`; `split` is `train`, `valid` or `test`."""
        parts = {own_name(part) for part in self._parts}
        if split is not None and split not in parts:
            raise InputError(f"--split {split}: {self.root} has no such part; there are {', '.join(sorted(parts))}")
        chosen = [name for name, (part, _) in self._videos.items() if split in (None, own_name(part))]
        if not chosen:
            raise InputError(f"{self.root}: {META} names no video; unpack YouTube-VOS anew")
        return chosen

    def frames(self, sequence: str) -> dict[str, Annotation]:
        """See `Dataset`."""
        files = mask_files(self._videos[sequence][0] / "Annotations" / sequence)
        return {name: Annotation(path) for name, path in files.items()}

    def video(self, sequence: str) -> FrameFolder:
        """See `Dataset`."""
        return open_frames(self._videos[sequence][0] / "JPEGImages" / sequence, sequence)

    def given(self, sequence: str) -> dict[str, np.ndarray]:
        """See `Dataset`; objects may also appear later, each in the first frame that `meta.json` lists for it."""
        part, starts = self._videos[sequence]
        frames, given = self.frames(sequence), {}
        for name, objects in starts.items():
            if name not in frames:
                missing = part / "Annotations" / sequence / f"{name}.png"
                raise InputError(
                    f"{missing}: is missing, though {META} says that an object begins there; unpack it anew"
                )
            mask = frames[name].read()
            if np.isin(mask, objects).any():  # an object missing from its mask cannot be propagated
                given[name] = np.where(np.isin(mask, [*objects, VOID]), mask, 0).astype(np.uint8)
        return given

    def scored(self, split: str | None, given: bool) -> dict[str, list[str]]:
        """See `Dataset`.

        Raises:
            InputError: also for valid and test, since only their given masks are published.
        """
        left = super().scored(split, given)
        if all(self.frames(name).keys() <= self._videos[name][1].keys() for name in left):
            raise first_masks_alone(self.annotations)
        return left


def _by_frame(pairs: list[tuple[str, int]]) -> Starts:
    starts: Starts = {}
    for frame, identity in sorted(pairs, key=lambda pair: (natural_key(pair[0]), pair[1])):
        starts.setdefault(frame, []).append(identity)
    return starts

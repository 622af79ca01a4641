"""Your own sequences: `ROOT/<sequence>/<frame>.jpg`, with masks of all or some frames in `masks/<frame>.png`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from downstream.data.dataset import Annotation, Dataset, open_frames
from mug.errors import InputError
from mug.media.listing import by_stem, frame_files, mask_files, subfolders
from mug.media.video import FrameFolder, Video, find_videos

MASKS = "masks"


class Folder(Dataset):
    """A folder of sequences. Every annotated frame is scored, except the first if it is given."""

    kind = "folder"
    title = "folder of sequences"

    @classmethod
    def lies_in(cls, root: Path) -> bool:
        """See `Dataset`."""
        return any((folder / MASKS).is_dir() for folder in subfolders(root))

    def check(self) -> None:
        """See `Dataset`."""
        if not self._sequences():
            raise InputError(f"{self.root}: holds no <sequence>/{MASKS}; put the masks of each sequence there")
        for name in self._sequences():
            masks, images = self.frames(name), by_stem(frame_files(self.root / name))
            if not masks:
                raise InputError(f"{self.root / name / MASKS}: holds no <frame>.png; put the masks of {name} there")
            if strange := [mask.path for frame, mask in masks.items() if frame not in images]:
                raise InputError(f"{strange[0]}: has no frame in {self.root / name}; name masks as their frames")

    def _sequences(self) -> list[str]:
        return [folder.name for folder in subfolders(self.root) if (folder / MASKS).is_dir()]

    def sequences(self, split: str | None = None) -> list[str]:
        """See `Dataset`; there are no splits."""
        if split is not None:
            raise InputError(f"--split {split}: a folder of sequences has no splits; leave it out")
        return self._sequences()

    def frames(self, sequence: str) -> dict[str, Annotation]:
        """See `Dataset`."""
        return {name: Annotation(path) for name, path in mask_files(self.root / sequence / MASKS).items()}

    def video(self, sequence: str) -> FrameFolder:
        """See `Dataset`."""
        return open_frames(self.root / sequence, sequence)

    def videos(self, split: str | None = None) -> Sequence[Video]:
        """See `Dataset`; sequences without masks are included."""
        return find_videos(self.root) if split is None else super().videos(split)

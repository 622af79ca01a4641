"""Index of unlabeled training videos in any folder layout."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, overload

from mug.errors import InputError
from mug.media.files import atomic_path, is_hidden, natural_key
from mug.media.listing import (
    FILE_SUFFIXES,
    FRAME_SUFFIXES,
    OTHER_PICTURES,
    files_below,
    files_of,
    frame_files,
    in_words,
    roots_of,
)
from mug.media.pictures import PictureFile, is_whole, picture_size
from mug.media.plain import parse_json
from mug.run.progress import track
from mug.run.settings import digest
from mug.run.shard import ALL, Shard
from pretrain.sampling import CLIP_WINDOW
from pretrain.tars import TAR, Contents, Member, Size, TarVideos, expand, files_of_index, list_tars
from pretrain.training_video import FolderVideo, TrainingVideo
from pretrain.unpack import unpack_all

Picture = TypeVar("Picture", bound=PictureFile)

FORMAT = 5

GENERIC = {"images", "img", "imgs", "frames", "jpegimages", "480p", "1080p", "full-resolution", "train", "training",
           "train_all_frames", "val", "valid", "valid_all_frames", "test", "test_all_frames", "dev", "trainingset",
           "testset"}  # fmt: skip
"""Generic folder names, in lower case; they are omitted from the names of videos."""
DENSER = "_all_frames"
"""Suffix of the YouTube-VOS folders with every frame of the same videos instead of every fifth."""
NO_FRAMES = re.compile(r"annotations?(_|$)|scribbles?(_|$)|(masks?|labels?|groundtruth|imagesets)$", re.IGNORECASE)
"""Names of folders whose pictures are labels."""


BYTES_A_FRAME = 10_000
"""Rough size of a frame in a video file, by which shards are made about equal."""


@dataclass
class VideoIndex(Sequence[TrainingVideo]):
    """The videos that `mug pretrain` and `mug prior` find in some folders, and the files left out.

    One rule covers the common layouts (plain folders, OxUvA, LaSOT, GOT-10k, YouTube-VOS, YouTube-Objects, FBMS-59,
    DAVIS): a folder that contains frames is a video, and its name is its path below the root without generic parts.
    Video files are unpacked. In tar files, the same rule holds for the folders and video files within them.
    """

    folders: list[FolderVideo] = field(default_factory=list)
    """Videos that are folders of frames, also of unpacked video files."""
    tarred: TarVideos | None = None
    """Videos whose frames are in tar files; they follow the others."""
    bad: list[str] = field(default_factory=list)
    """Unusable files, each with the reason."""
    short: list[str] = field(default_factory=list)
    """Names of videos with too few frames."""

    @overload
    def __getitem__(self, index: int) -> TrainingVideo: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainingVideo]: ...
    def __getitem__(self, index: int | slice) -> TrainingVideo | list[TrainingVideo]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        place = range(len(self))[index] - len(self.folders)
        if self.tarred is None or place < 0:
            return self.folders[place]
        return self.tarred[place]

    def __len__(self) -> int:
        return len(self.folders) + (0 if self.tarred is None else len(self.tarred))

    @property
    def frames(self) -> int:
        """Number of frames of all videos."""
        return sum(map(len, self.folders)) + (0 if self.tarred is None else self.tarred.frames)

    def __str__(self) -> str:
        parts = [f"{len(self)} videos, {self.frames} frames"]
        for what, items in (("unusable files", self.bad), ("videos too short", self.short)):
            if items:
                more = ", ..." if len(items) > 3 else ""
                parts.append(f"{len(items)} {what} left out ({', '.join(items[:3])}{more})")
        return "; ".join(parts)

    @classmethod
    def build(
        cls,
        paths: Path | Sequence[Path],
        cache: Path,
        shorter: int | None = 480,
        min_frames: int = CLIP_WINDOW,
        shard: Shard = ALL,
    ) -> VideoIndex:
        """Finds the videos under `paths`, or loads them from the cache if nothing has changed.

        Args:
            paths: A folder of any layout, a video file, a tar file or a pattern of these, or several of all.
            cache: Folder for the index and the frames of video files, shared by runs.
            shorter: Shorter side in pixels to which frames of video files are scaled down; None to keep their size.
            min_frames: Videos with fewer frames are left out.
            shard: The part of the videos to use; only its video files are unpacked.

        Raises:
            InputError: there are no videos to train on.
        """
        cache = Path(cache)
        roots = list(dict.fromkeys(root for path in roots_of(paths) for root in expand(path)))
        for root in roots:
            if not root.exists():
                raise InputError(f"{root}: no such file or folder; check the path")
        tars = [root for root in roots if root.suffix.lower() == TAR and root.is_file()]
        on_disk = _on_disk(roots, cache)
        settings = [FORMAT, [str(root.resolve()) for root in roots], shorter, min_frames, shard.index, shard.count]
        places = [(each.root, each.path) for each in on_disk] + [(tar, tar) for tar in tars]
        state = digest([settings, [_stamp(root, path) for root, path in places]])
        store = cache / f"index-{digest(settings)}.json"
        index = _load(store, state)
        if index is None:
            inside = list_tars(tars)
            index, tarred = _scan(on_disk + _in_tars(inside), inside.bad, cache, shorter, min_frames, shard)
            if tarred:
                index.tarred = TarVideos.write(_mapped_part(store, state), tars, tarred)
            if index:
                _save(store, state, index, tars if tarred else [])
        if not index and shard.count == 1:
            remedy = "give a folder of videos"
            if any(files_below(root, {TAR}) for root in roots if root.is_dir()):
                remedy += ", or name its tar files (*.tar)"
            raise InputError(f"{in_words(paths)}: holds no video to train on ({index}); {remedy}")
        return index


class _Found(NamedTuple):
    """A place that may be a video: a folder of frames or a video file, on disk or in tar files."""

    root: Path
    path: Path
    """In tar files, as if the first of them were a folder."""
    file: Path | Member | None = None
    """The video file."""
    members: Sequence[Member] | None = None
    """The frames in tar files."""

    @property
    def rough_length(self) -> float:
        """Number of frames, roughly, found without reading them."""
        if self.file is not None:
            return (self.file.size if isinstance(self.file, Member) else self.file.stat().st_size) / BYTES_A_FRAME
        return len(os.listdir(self.path) if self.members is None else self.members)


def _on_disk(roots: Sequence[Path], cache: Path) -> list[_Found]:
    """The folders of frames and the video files under each root."""
    surveys = [_survey(root, cache) for root in roots]
    there = {folder.resolve() for folders, _ in surveys for folder in folders}
    found = []
    for root, (folders, files) in zip(roots, surveys, strict=True):
        found += [_Found(root, folder) for folder in folders if not _denser(folder.resolve()) & there]
        found += [_Found(root, file, file) for file in files]
    return found


def _in_tars(contents: Contents) -> list[_Found]:
    """The folders of frames and the video files in tar files."""
    found = [_Found(tar, tar / at, members=members) for (tar, at), members in contents.folders.items()]
    return found + [_Found(file.tar, file.tar / file.name, file) for file in contents.files]


def _survey(root: Path, cache: Path) -> tuple[list[Path], list[Path]]:
    """Folders that contain frames, and video files, under `root`, in natural order."""
    if root.is_file():
        return [], [root] if root.suffix.lower() in FILE_SUFFIXES else []
    folders, files = [], []
    for at, below, names in os.walk(root, followlinks=True):
        here = Path(at)
        below[:] = [n for n in below if _may_hold_frames(n, below) and (here / n).resolve() != cache.resolve()]
        suffixes = {os.path.splitext(name)[1].lower() for name in names if not is_hidden(name)}
        if suffixes & (FRAME_SUFFIXES | OTHER_PICTURES):
            folders.append(here)
        if suffixes & FILE_SUFFIXES:
            files += files_of(here, FILE_SUFFIXES)
    return sorted(folders, key=_path_key), sorted(files, key=_path_key)


def _denser(folder: Path) -> set[Path]:
    """Possible folders of the same video with all its frames."""
    parts = folder.parts
    return {Path(*parts[:i], parts[i] + DENSER, *parts[i + 1 :]) for i in range(1, len(parts))}


def _may_hold_frames(name: str, siblings: list[str]) -> bool:
    """Whether a folder is not for labels, not hidden, and not a copy of the same videos in another size."""
    doubled = name in ("1080p", "Full-Resolution") and "480p" in siblings
    return not (is_hidden(name) or NO_FRAMES.match(name) or doubled)


def _scan(
    found: Sequence[_Found], bad: list[str], cache: Path, shorter: int | None, min_frames: int, shard: Shard
) -> tuple[VideoIndex, list[tuple[str, Size, list[Member]]]]:
    """The index of the folders, and the name, size and frames of each video in tar files."""
    index, tarred = VideoIndex(bad=bad), []
    names = _names([(each.root, each.path) for each in found])
    by_name = sorted(found, key=lambda each: natural_key(names[each.path]))
    mine = shard.share(by_name, lambda each: each.rough_length, "videos")
    files = [each.file for each in mine if each.file is not None]
    unpacked = dict(zip(files, unpack_all(files, cache, shorter, index.bad), strict=True))
    for each in track(mine, "checking frames"):
        name = names[each.path]
        if each.members is not None:
            members, size = _usable_frames(each.members, index.bad)
            if len(members) >= min_frames:
                tarred.append((name, size, members))
                continue
        elif (folder := each.path if each.file is None else unpacked[each.file]) is None:
            continue
        else:
            index.bad += [f"{path}: a kind of picture that is not read" for path in files_of(folder, OTHER_PICTURES)]
            frames, size = _usable_frames(frame_files(folder), index.bad)
            if len(frames) >= min_frames:
                index.folders.append(FolderVideo(name, folder, tuple(path.name for path in frames), size))
                continue
        index.short.append(name)
    return index, tarred


def _names(places: Sequence[tuple[Path, Path]]) -> dict[Path, str]:
    """Unique names: the path below the root without generic parts; if two are equal all of it, or parts of the root."""
    choices: dict[Path, list[str]] = {}
    for root, path in places:
        parts, base = path.relative_to(root).parts, Path(os.path.abspath(root))
        telling = [part for part in parts if part.lower() not in GENERIC]
        if not telling:  # the root is the video
            own = [part for part in base.parts[1:] if part.lower() not in GENERIC]
            telling = own[-1:] or ["video"]
        if path.is_file() or (root.is_file() and path.suffix.lower() in FILE_SUFFIXES):
            telling[-1] = Path(telling[-1]).stem
        short = "/".join(telling)
        whole = [base.parts[-k:] + parts for k in range(1, len(base.parts))]
        choices[path] = [short, "/".join(parts) or short, *map("/".join, whole)]
    names = {path: choice[0] for path, choice in choices.items()}
    for level in range(1, max((len(choice) for choice in choices.values()), default=0)):
        count = Counter(names.values())
        for path, name in names.items():
            if count[name] > 1:
                names[path] = choices[path][min(level, len(choices[path]) - 1)]
    return names


def _usable_frames(pictures: Sequence[Picture], bad: list[str]) -> tuple[list[Picture], Size]:
    """The complete frames of the most common size, and that size; `bad` receives complaints about the others."""
    with ThreadPoolExecutor(8) as pool:  # mostly waits for the disk
        sizes = list(pool.map(_whole_size, pictures))
    counts = Counter(size for size in sizes if size is not None)
    usual = counts.most_common(1)[0][0] if counts else (0, 0)
    good: list[Picture] = []
    seen: set[str] = set()
    for picture, size in zip(pictures, sizes, strict=True):
        if size is None:
            bad.append(f"{picture}: truncated or no image")
        elif size != usual:
            bad.append(f"{picture}: of another size than its video")
        elif picture.stem in seen:
            bad.append(f"{picture}: two frames of one name")
        else:
            seen.add(picture.stem)
            good.append(picture)
    return good, usual


def _whole_size(picture: PictureFile) -> Size | None:
    """Height and width of a picture with a header and an end, else None; nothing is decoded."""
    try:
        size = picture_size(picture)
        return size if is_whole(picture) else None
    except (InputError, OSError):
        return None


def _stamp(root: Path, path: Path) -> list[Any]:
    """A value that changes when a folder gains or loses a frame, or when a file is rewritten."""
    status = path.stat()
    return [str(path.relative_to(root)), status.st_mtime_ns, status.st_size if path.is_file() else 0]


def _path_key(path: Path) -> list[Any]:
    return [natural_key(part) for part in path.parts]


def _save(store: Path, state: str, index: VideoIndex, tars: Sequence[Path]) -> None:
    videos = [[v.name, str(v.place.resolve()), v.frames, v.size] for v in index.folders]
    content = {"state": state, "videos": videos, "tars": list(map(str, tars)), "bad": index.bad, "short": index.short}
    with atomic_path(store) as temporary:
        temporary.write_text(json.dumps(content))
    for old in set(store.parent.glob(f"{store.stem}-*.npy")) - set(files_of_index(_mapped_part(store, state))):
        old.unlink(missing_ok=True)  # a run that has mapped it keeps it


def _load(store: Path, state: str) -> VideoIndex | None:
    try:
        stored = parse_json(store.read_text())
        if stored["state"] != state:
            return None
        found = stored["videos"]
        videos = [FolderVideo(name, Path(at), tuple(frames), tuple(size)) for name, at, frames, size in found]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if not all(video.place.is_dir() for video in videos):  # the unpacked frames were removed
        return None
    tarred = TarVideos(_mapped_part(store, state), list(map(Path, stored["tars"]))) if stored["tars"] else None
    if tarred is not None and not tarred.is_there:
        return None
    return VideoIndex(videos, tarred, stored["bad"], stored["short"])


def _mapped_part(store: Path, state: str) -> Path:
    """The part of an index that is mapped, without suffix; another state of the folders has another one."""
    return store.with_name(f"{store.stem}-{state}")

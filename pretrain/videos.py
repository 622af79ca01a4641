"""Index of unlabeled training videos in any folder layout."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, overload

from PIL import Image

from mug.errors import InputError
from mug.media.files import atomic_path, is_hidden, natural_key, require_free_disk
from mug.media.listing import FILE_SUFFIXES, FRAME_SUFFIXES, OTHER_PICTURES, files_of, frame_files
from mug.media.pictures import is_whole, picture_size
from mug.media.video import FrameFolder, VideoFile
from mug.run.progress import track
from pretrain.sampling import CLIP_WINDOW

FORMAT = 4

GENERIC = {"images", "img", "imgs", "frames", "jpegimages", "480p", "1080p", "full-resolution", "train", "training",
           "train_all_frames", "val", "valid", "valid_all_frames", "test", "test_all_frames", "dev", "trainingset",
           "testset"}  # fmt: skip
"""Generic folder names, in lower case; they are omitted from the names of videos."""
DENSER = "_all_frames"
"""Suffix of the YouTube-VOS folders with every frame of the same videos instead of every fifth."""
NO_FRAMES = re.compile(r"annotations?(_|$)|scribbles?(_|$)|(masks?|labels?|groundtruth|imagesets)$", re.IGNORECASE)
"""Names of folders whose pictures are labels."""


@dataclass(frozen=True)
class TrainingVideo:
    """A video as a folder of frames on disk, with random access."""

    name: str
    """Unique in its index; may contain a slash (`airplane/airplane-1`)."""
    folder: Path
    frames: tuple[str, ...]
    """File names in `folder`."""
    size: tuple[int, int]
    """Height and width of the frames in pixels."""

    def __len__(self) -> int:
        return len(self.frames)

    def file(self, index: int) -> Path:
        """Path of frame `index`."""
        return self.folder / self.frames[index]

    def frame_name(self, index: int) -> str:
        """Name of frame `index` without suffix, also that of its label map."""
        return Path(self.frames[index]).stem

    def open(self) -> FrameFolder:
        """Opens the video for sequential reading."""
        return FrameFolder(self.folder, self.name, [self.file(i) for i in range(len(self))])


@dataclass
class VideoIndex(Sequence[TrainingVideo]):
    """The videos that `mug pretrain` and `mug prior` find in some folders, and the files left out.

    One rule covers the common layouts (plain folders, OxUvA, LaSOT, GOT-10k, YouTube-VOS, YouTube-Objects, FBMS-59,
    DAVIS): a folder that contains frames is a video, and its name is its path below the root without generic parts.
    Video files are unpacked.
    """

    videos: list[TrainingVideo] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    """Unusable files, each with the reason."""
    short: list[str] = field(default_factory=list)
    """Names of videos with too few frames."""

    @overload
    def __getitem__(self, index: int) -> TrainingVideo: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainingVideo]: ...
    def __getitem__(self, index: int | slice) -> TrainingVideo | list[TrainingVideo]:
        return self.videos[index]

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def frames(self) -> int:
        """Number of frames of all videos."""
        return sum(map(len, self.videos))

    def __str__(self) -> str:
        parts = [f"{len(self)} videos, {self.frames} frames"]
        for what, items in (("unusable files", self.bad), ("videos too short", self.short)):
            if items:
                more = ", ..." if len(items) > 3 else ""
                parts.append(f"{len(items)} {what} left out ({', '.join(items[:3])}{more})")
        return "; ".join(parts)

    @classmethod
    def build(
        cls, paths: Path | Sequence[Path], cache: Path, shorter: int | None = 480, min_frames: int = CLIP_WINDOW
    ) -> VideoIndex:
        """Finds the videos under `paths`, or loads them from the cache if nothing has changed.

        Args:
            paths: A folder of any layout, a video file, or several of these.
            cache: Folder for the index and the frames of video files, shared by runs.
            shorter: Shorter side in pixels to which frames of video files are scaled down; None to keep their size.
            min_frames: Videos with fewer frames are left out.

        Raises:
            InputError: there are no videos to train on.
        """
        roots, cache = list(dict.fromkeys(roots_of(paths))), Path(cache)
        for root in roots:
            if not root.exists():
                raise InputError(f"{root}: no such file or folder; check the path")
        found = [_survey(root, cache) for root in roots]
        there = {folder.resolve() for folders, _ in found for folder in folders}
        once = [[folder for folder in folders if not _denser(folder.resolve()) & there] for folders, _ in found]
        places = _Places(roots, once, [files for _, files in found])
        settings = [FORMAT, [str(root.resolve()) for root in roots], shorter, min_frames]
        state = _digest([settings, [_stamp(root, path) for root, path in places.all()]])
        store = cache / f"index-{_digest(settings)}.json"
        index = _load(store, state)
        if index is None:
            index = _scan(places, cache, shorter, min_frames)
            _save(store, state, index)
        if not index.videos:
            raise InputError(f"{in_words(roots)}: holds no video to train on ({index}); give a folder of videos")
        return index


def roots_of(paths: Path | Sequence[Path]) -> list[Path]:
    """The folders or files of an option, as a list."""
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def in_words(paths: Path | Sequence[Path]) -> str:
    """The folders or files of an option, for messages."""
    return ", ".join(map(str, roots_of(paths)))


@dataclass
class _Places:
    """Folders of frames and video files under each root."""

    roots: list[Path]
    folders: list[list[Path]]
    files: list[list[Path]]

    def all(self) -> list[tuple[Path, Path]]:
        """(root, folder or file) of all of them."""
        each = zip(self.roots, self.folders, self.files, strict=True)
        return [(root, path) for root, folders, files in each for path in (*folders, *files)]


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


def _scan(places: _Places, cache: Path, shorter: int | None, min_frames: int) -> VideoIndex:
    index = VideoIndex()
    names = _names(places.all())
    files = [file for of_root in places.files for file in of_root]
    unpacked = dict(zip(files, _unpack_all(files, cache, shorter, index.bad), strict=True))
    found = sorted(((names[path], unpacked.get(path, path)) for path in names), key=lambda at: natural_key(at[0]))
    for name, folder in track(found, "checking frames"):
        if folder is None:
            continue
        frames, size, bad = _usable_frames(folder)
        index.bad += bad
        if len(frames) < min_frames:
            index.short.append(name)
        else:
            index.videos.append(TrainingVideo(name, folder, tuple(frames), size))
    return index


def _names(places: Sequence[tuple[Path, Path]]) -> dict[Path, str]:
    """Unique names: the path below the root without generic parts; if two are equal all of it, or parts of the root."""
    choices: dict[Path, list[str]] = {}
    for root, path in places:
        parts, base = path.relative_to(root).parts, Path(os.path.abspath(root))
        telling = [part for part in parts if part.lower() not in GENERIC]
        if not telling:  # the root is the video
            own = [part for part in base.parts[1:] if part.lower() not in GENERIC]
            telling = own[-1:] or ["video"]
        if path.is_file():
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


def _usable_frames(folder: Path) -> tuple[list[str], tuple[int, int], list[str]]:
    """Names of the complete frames of the most common size, that size, and complaints about the others."""
    names = [path.name for path in frame_files(folder)]
    with ThreadPoolExecutor(8) as pool:  # mostly waits for the disk
        sizes = list(pool.map(lambda name: _whole_size(folder / name), names))
    counts = Counter(size for size in sizes if size is not None)
    usual = counts.most_common(1)[0][0] if counts else (0, 0)
    bad = [f"{path}: a kind of picture that is not read" for path in files_of(folder, OTHER_PICTURES)]
    good, seen = [], set()
    for name, size in zip(names, sizes, strict=True):
        if size is None:
            bad.append(f"{folder / name}: truncated or no image")
        elif size != usual:
            bad.append(f"{folder / name}: of another size than its video")
        elif Path(name).stem in seen:
            bad.append(f"{folder / name}: two frames of one name")
        else:
            seen.add(Path(name).stem)
            good.append(name)
    return good, usual, bad


def _whole_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a picture with a header and an end, else None; nothing is decoded."""
    try:
        size = picture_size(path)
        return size if is_whole(path) else None
    except (InputError, OSError):
        return None


def _unpack_all(files: list[Path], cache: Path, shorter: int | None, bad: list[str]) -> Iterator[Path | None]:
    """Yields the folder of frames of each video file, None if it is unreadable; existing folders are reused."""
    if not files:
        return
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        work = pool.map(lambda file: _unpack(file, cache, shorter), files)
        for folder, complaint in track(work, "unpacking videos", len(files)):
            if complaint:
                bad.append(complaint)
            yield folder


def _unpack(file: Path, cache: Path, shorter: int | None) -> tuple[Path | None, str]:
    """Writes the frames of a video file as JPEGs; the folder appears only when it is complete."""
    status = file.stat()
    key = _digest([str(file.resolve()), status.st_size, status.st_mtime_ns, shorter])
    folder = cache / "frames" / f"{file.stem}-{key}"
    complaint = folder / "complaint.txt"
    if not folder.is_dir():
        try:
            video = VideoFile(file)
        except InputError as error:
            return None, str(error)
        scale = min(1.0, shorter / min(video.size)) if shorter else 1.0
        size = round(video.size[1] * scale), round(video.size[0] * scale)
        cache.mkdir(parents=True, exist_ok=True)
        require_free_disk(cache, int(len(video) * size[0] * size[1] * 0.3) + 2**20)
        try:
            with atomic_path(folder) as temporary:
                temporary.mkdir()
                _write_frames(video, temporary, size)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
    return folder, complaint.read_text() if complaint.exists() else ""


def _write_frames(video: VideoFile, folder: Path, size: tuple[int, int]) -> None:
    frames = iter(video)
    for name in video.frame_names:
        try:
            image = Image.fromarray(next(frames))
        except InputError as error:  # the frames decoded so far are used
            (folder / "complaint.txt").write_text(str(error))
            return
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        image.save(folder / f"{name}.jpg", quality=92)


def _stamp(root: Path, path: Path) -> list[Any]:
    """A value that changes when a folder gains or loses a frame, or when a file is rewritten."""
    status = path.stat()
    return [str(path.relative_to(root)), status.st_mtime_ns, status.st_size if path.is_file() else 0]


def _digest(value: Any) -> str:
    return sha256(json.dumps(value).encode()).hexdigest()[:12]


def _path_key(path: Path) -> list[Any]:
    return [natural_key(part) for part in path.parts]


def _save(store: Path, state: str, index: VideoIndex) -> None:
    videos = [[v.name, str(v.folder.resolve()), v.frames, v.size] for v in index.videos]
    with atomic_path(store) as temporary:
        temporary.write_text(json.dumps({"state": state, "videos": videos, "bad": index.bad, "short": index.short}))


def _load(store: Path, state: str) -> VideoIndex | None:
    try:
        stored = json.loads(store.read_text())
    except (OSError, ValueError):
        return None
    if stored.get("state") != state:
        return None
    videos = [TrainingVideo(name, Path(at), tuple(frames), tuple(size)) for name, at, frames, size in stored["videos"]]
    if not all(video.folder.is_dir() for video in videos):  # the unpacked frames were removed
        return None
    return VideoIndex(videos, stored["bad"], stored["short"])

"""Video files: selection of the video stream, detection of decodable frames, and random access."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mug.errors import InputError, warn
from mug.media.files import url_of
from mug.media.sequence import FOLDER_FPS, Video

_SLOW_SEEK = 8
"""For fewer frames ahead than this, decoding on is faster than seeking."""
_STAMPED = {"mp4", "matroska", "flv", "mpegts", "gif", "ogg"}
"""Containers that store the time of every frame; in others it is counted from where reading starts."""
_LOOKED_AT = 1000
"""Number of packets within which the video stream should have a second frame."""


class _Found(NamedTuple):
    """Result of decoding a file once."""

    frames: int
    """Number of decodable frames."""
    stamps: list[int]
    """Their time stamps, increasing; empty if they are not reliable."""


class VideoFile(Video):
    """A video file, decoded while reading, so that memory does not grow with its length.

    It is decoded once to find its frames, as the frame count of a container is often wrong. Of a damaged or truncated
    file the decodable frames are used, with a warning that gives their number. Attached pictures, such as cover art,
    are not taken for the video. The display rotation that phones write is applied.

    Raises:
        InputError: the file is not a video or none of its frames can be decoded; on reading: a frame cannot be decoded,
            or has another size than the first.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = Path(path)
        self.name = name or self.path.stem
        self._index, first, self.fps, self._rough_length = self._open()
        self.size = to_rgb(first).shape[:2]
        self._cursor: Iterator[tuple[int, Any]] = iter(())
        self._next: int | None = None  # an empty cursor has no next frame

    @cached_property
    def frame_names(self) -> Sequence[str]:  # type: ignore[override]  # computed on first access
        """Names of the frames: their numbers."""
        return [f"{i:05d}" for i in range(self._found.frames)]

    def __iter__(self) -> Iterator[np.ndarray]:
        expected = 0
        for index, frame in self._decode(0):
            if index != expected:
                break
            yield self._rgb(frame)
            expected += 1
        if expected < len(self):
            raise self._undecodable(expected)

    def _frame(self, index: int) -> np.ndarray:
        near = _SLOW_SEEK if self._found.stamps else len(self)
        if self._next is None or not 0 <= index - self._next < near:
            self._cursor = self._decode(index)
        # an inexact seek may end behind the frame: then decode from the beginning
        for cursor in (self._cursor, self._decode(index, seek=False)):
            self._cursor = cursor
            for at, frame in cursor:
                self._next = at + 1
                if at == index:
                    return self._rgb(frame)
                if at > index:
                    break
        self._next = None
        raise self._undecodable(index)

    def _rgb(self, frame: Any) -> np.ndarray:
        rgb = to_rgb(frame)
        if rgb.shape[:2] != self.size:
            raise InputError(f"{self.path}: its frames change size; re-encode it to one size")
        return rgb

    def _undecodable(self, index: int) -> InputError:
        return InputError(f"{self.path}: frame {index} cannot be decoded; re-encode or cut the video")

    @property
    def rough_length(self) -> int:
        """Number of frames that the header gives."""
        return self._rough_length

    def _open(self) -> tuple[int, Any, float, int]:
        """The index of the video stream, its first decodable frame, its frame rate and rough number of frames."""
        import av

        try:
            with _opened(self.path) as container:
                index = _moving_stream(container)
                if index is None:
                    still = " but a picture" if container.streams.video else ""
                    raise InputError(f"{self.path}: has no video stream{still}; give a video file")
            with _opened(self.path) as container:
                stream = container.streams[index]
                for frame in StreamDecoder(container, stream):
                    fps = float(stream.average_rate or stream.guessed_rate or FOLDER_FPS)
                    return index, frame, fps, stream.frames or round((container.duration or 0) / 1e6 * fps)
        except (av.FFmpegError, OSError) as error:
            cut = " (it is cut off: the index that belongs to its end is missing)" if _lacks_index(self.path) else ""
            raise InputError(f"{self.path}: cannot be read as a video{cut}; re-encode it, or fetch it again") from error
        raise InputError(f"{self.path}: has no decodable frame; re-encode it, or fetch it again")

    @cached_property
    def _found(self) -> _Found:
        """Decodes the whole file once and warns about missing frames."""
        with _opened(self.path) as container:
            stream = container.streams[self._index]
            decoder = StreamDecoder(container, stream)
            stamps = [frame.pts for frame in decoder]
            promised = _promised(container, stream, self.fps, decoder)
        count = len(stamps)
        if count < promised:
            warn(f"{self.path}: is cut off or damaged; {count} of {promised} frames can be decoded, and these are used")
        elif decoder.damaged and promised <= 0:
            warn(f"{self.path}: is cut off or damaged; the {count} frames that can be decoded are used")
        known = [stamp for stamp in stamps if stamp is not None]
        rising = len(known) == count and all(a < b for a, b in pairwise(known))
        rising &= not _STAMPED.isdisjoint(container.format.name.split(","))
        return _Found(count, known if rising else [])

    def _decode(self, start: int, seek: bool = True) -> Iterator[tuple[int, Any]]:
        """Yields (index, frame) from frame `start` on; seeks to the key frame before it if time stamps allow."""
        import av

        stamps = self._found.stamps
        with _opened(self.path) as container:
            stream = container.streams[self._index]
            if seek and start > 0 and stamps:
                try:
                    container.seek(stamps[start], stream=stream)
                except av.FFmpegError:
                    return  # the caller starts from the beginning
            for count, frame in enumerate(StreamDecoder(container, stream)):
                index = _place(stamps, frame.pts) if stamps else count
                if index is not None and index >= start:
                    yield index, frame


class StreamDecoder:
    """The decodable frames of a stream; undecodable packets are skipped.

    Attributes:
        damaged: Whether something could not be decoded, or not completely.
        end: Latest end time of the packets read, in the stream's time base.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self.damaged = False
        self.end = 0

    def __iter__(self) -> Iterator[Any]:
        import av

        self._stream.thread_type = "AUTO"
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                packet = None  # nothing more can be read: flush the decoder
            if packet is not None and packet.is_corrupt:  # the file ends inside it
                self.damaged = True
                continue
            if packet is not None and packet.pts is not None:
                self.end = max(self.end, packet.pts + (packet.duration or 0))
            try:
                for frame in self._stream.decode(packet):
                    self.damaged |= frame.is_corrupt
                    yield frame
            except av.FFmpegError:
                self.damaged = True
            if packet is None:
                self.damaged = True
                return


def _opened(path: Path) -> Any:
    """The file as a container; titles and the like need not be UTF-8."""
    import av

    return av.open(url_of(path), metadata_errors="replace")


def _moving_stream(container: Any) -> int | None:
    """The index of the first stream that is more than a picture; None if there is none."""
    from av.stream import Disposition

    stills = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    streams = [stream for stream in container.streams.video if not stream.disposition & stills]
    if len(streams) < 2:
        return streams[0].index if streams else None
    # not every container marks a thumbnail
    seen = Counter[int]()
    for packet in container.demux(streams):
        seen[packet.stream_index] += packet.size > 0
        if all(seen[stream.index] > 1 for stream in streams) or seen.total() > _LOOKED_AT:
            break
    return next((stream.index for stream in streams if seen[stream.index] > 1), streams[0].index)


def _promised(container: Any, stream: Any, fps: float, decoder: StreamDecoder) -> int:
    """The number of frames a file should have; 0 if it is unknown or there is no sign of missing frames."""
    # an edit list may hide frames of an intact file, so in other containers the count alone proves nothing
    if stream.frames and (decoder.damaged or container.format.name == "avi"):
        return int(stream.frames)
    if stream.duration is None:  # a truncated file may end cleanly but still record its full duration
        told = stream.metadata.get("DURATION")
        lasts = _seconds(told) if told else (container.duration or 0) / 1e6 * (not container.streams.audio)
        if decoder.damaged or lasts - float(decoder.end * stream.time_base) > 1.5 / fps:
            return round((lasts - float((stream.start_time or 0) * stream.time_base)) * fps)
    return 0


def _lacks_index(path: Path) -> bool:
    """Whether a file is an MP4 without `moov`, the box that locates its frames and usually comes last."""
    try:
        with path.open("rb") as file:
            boxes = []
            while len(head := file.read(16)) >= 8:
                size, kind = int.from_bytes(head[:4], "big"), head[4:8]
                if size == 1:  # a long box has its size after its name
                    size = int.from_bytes(head[8:], "big")
                boxes.append(kind)
                if size < 8:  # the box extends to the end of the file
                    break
                file.seek(size - len(head), 1)
    except OSError:
        return False
    return boxes[:1] == [b"ftyp"] and b"moov" not in boxes


def _seconds(clock: str) -> float:
    """Seconds of a time such as `00:00:04.250000000`; 0 if it cannot be parsed."""
    try:
        hours, minutes, seconds = (float(part) for part in clock.split(":"))
    except ValueError:
        return 0.0
    return 3600 * hours + 60 * minutes + seconds


def _place(stamps: list[int], stamp: int | None) -> int | None:
    if stamp is None:
        return None
    index = bisect_left(stamps, stamp)
    return index if index < len(stamps) and stamps[index] == stamp else None


def to_rgb(frame: Any) -> np.ndarray:
    """A decoded PyAV frame as HWC uint8 RGB, with its display rotation applied."""
    rgb = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # counter-clockwise
    return np.ascontiguousarray(np.rot90(rgb, turns)) if turns else rgb

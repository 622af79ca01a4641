"""Cameras and streams as videos whose frames come while they are worked on."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mug.errors import InputError, logger, warn
from mug.media.address import Address
from mug.media.sequence import FOLDER_FPS, Video
from mug.media.stream import StreamDecoder, to_rgb
from mug.run.stop import StopSignals

TIMEOUT_S = 10.0
"""Seconds without data after which a stream has ended."""
_AHEAD = 4
"""Frames of a recorded stream that are decoded ahead."""
_KEPT = 4
"""Latest frames that can be read again."""
_POLL_S = 0.1
"""Seconds between two looks at the signals while no frame comes."""

Decode = Callable[[], np.ndarray]
"""Converts a decoded frame to HWC uint8 RGB."""


class LiveVideo(Video):
    """A camera or stream, read by a thread of its own so that nothing piles up.

    Of a live source only the newest frame waits: those that come while another is being segmented are left out, and
    their numbers with them. Of a stream with a known duration, a recording, all frames are read. Its length is not
    known; it may be iterated several times, but only in step: of the frames before the newest few none are kept.

    Args:
        address: The source.
        name: Name of the results; default: that of the address.

    Attributes:
        left_out: Number of frames that came but were left out.

    Raises:
        InputError: it cannot be opened, or no frame comes; on reading: the frames change size.
    """

    live = True

    def __init__(self, address: Address, name: str | None = None) -> None:
        self.address, self.path = address, Path(str(address))
        self.name = name or address.name
        self.frame_names = _Names(self)
        opened = _open(address) if address.camera is None else _open_camera(address, address.camera)
        self.fps, every, frames, self._close = opened
        self._asked: Callable[[], bool] = lambda: False
        self._reader = _Reader(frames, every)
        self._recent: deque[tuple[int, np.ndarray]] = deque(maxlen=_KEPT)
        """Number of each frame as it came, and the frame."""
        self._count = 0
        self._ended = False
        if not self._reaches(0):
            self.close()
            raise InputError(f"{address}: no frame comes from it; check that it sends") from self._reader.error
        self.size = self._recent[0][1].shape[:2]

    def __len__(self) -> int:
        raise TypeError("the length of a live video is not known")

    @property
    def rough_length(self) -> int:
        """Unknown: 0."""
        return 0

    def __iter__(self) -> Iterator[np.ndarray]:
        index = 0
        while self._reaches(index):
            yield self._at(index)[1]
            index += 1

    def __getitem__(self, index: Any) -> Any:
        """Frame `index`, HWC uint8 RGB, counted from the first; it must be among the newest."""
        if not self._reaches(index):
            raise IndexError(f"{self.address}: ended before frame {index}")
        return self._at(index)[1]

    def __repr__(self) -> str:
        height, width = self.size
        return f"{type(self).__name__}({str(self.address)!r}: {width}x{height}, {self.fps:g} fps)"

    @property
    def left_out(self) -> int:
        """See the class."""
        return self._recent[-1][0] + 1 - self._count if self._recent else 0

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """See `Video`. SIGTERM ends the video, then the program."""
        try:
            with StopSignals(after="this frame") as signals:
                self._asked = lambda: signals.asked is not None
                yield
                if signals.asked == signal.SIGINT:
                    signals.asked = None  # answered
        finally:
            self.close()

    def close(self) -> None:
        """Ends the video."""
        self._ended = True
        self._reader.close()
        if not self._reader.is_alive():
            self._close()

    def number(self, index: int) -> int:
        """See `Video`."""
        return self._at(index)[0]

    def _frame(self, index: int) -> np.ndarray:
        return self[index]

    def _at(self, index: int) -> tuple[int, np.ndarray]:
        behind = self._count - index
        if not 0 < behind <= len(self._recent):
            raise ValueError(f"{self.address}: frame {index} is no longer kept")
        return self._recent[-behind]

    def _reaches(self, index: int) -> bool:
        """Whether there is such a frame; waits for it."""
        while index >= self._count:
            if self._ended:
                return False
            taken = self._reader.take(self._asked)
            if taken is None:
                self._ended = True
                if self._count and self._reader.error is not None:
                    warn(f"{self.address}: ended early ({self._reader.error})")
                elif self._count:
                    logger.info("%s: ended after %d frames", self.address, self._count)
                return False
            number, frame = taken[0], taken[1]()
            if self._recent and frame.shape != self._recent[-1][1].shape:
                raise InputError(f"{self.address}: its frames change size; start again for the new size")
            self._recent.append((number, frame))
            self._count += 1
        return True


class _Names(Sequence[str]):
    """Names of the frames of a live video, the numbers in which they came, as they become known."""

    def __init__(self, video: LiveVideo) -> None:
        self._video = video

    def __len__(self) -> int:
        return len(self._video)

    def __iter__(self) -> Iterator[str]:
        index = 0
        while self._video._reaches(index):
            yield self[index]
            index += 1

    def __getitem__(self, index: Any) -> Any:
        if not self._video._reaches(index):
            raise IndexError(index)
        return f"{self._video.number(index):05d}"


class _Reader(threading.Thread):
    """Reads frames and keeps the newest, or a few in order.

    Attributes:
        error: What ended the reading, if it was no regular end.
    """

    def __init__(self, frames: Iterator[Decode], every: bool) -> None:
        super().__init__(daemon=True)  # a read that never returns must not hold up the end of the program
        self.error: Exception | None = None
        self._frames, self._every = frames, every
        self._waiting: deque[tuple[int, Decode]] = deque()
        self._changed = threading.Condition()
        self._closed = self._ended = False
        self.start()

    def run(self) -> None:
        try:
            for number, frame in enumerate(self._frames):
                with self._changed:
                    while self._every and len(self._waiting) >= _AHEAD and not self._closed:
                        self._changed.wait()
                    if self._closed:
                        return
                    if not self._every:
                        self._waiting.clear()
                    self._waiting.append((number, frame))
                    self._changed.notify_all()
        except Exception as error:  # raised where the frame is asked for
            self.error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def take(self, asked: Callable[[], bool]) -> tuple[int, Decode] | None:
        """The next frame and its number; None at the end, or once `asked` is true."""
        with self._changed:
            while not asked():
                if self._waiting:
                    self._changed.notify_all()
                    return self._waiting.popleft()
                if self._ended:
                    return None
                self._changed.wait(_POLL_S)  # a signal is answered in between
        return None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.join(_POLL_S)


def _open(address: Address) -> tuple[float, bool, Iterator[Decode], Callable[[], None]]:
    """Frame rate of a stream, whether it is a recording, its frames, and what closes it.

    Raises:
        InputError: it cannot be opened or has no video.
    """
    import av

    # over UDP, by default, frames of high resolution arrive damaged
    options = {"rtsp_flags": "prefer_tcp"} if address.url.lower().startswith("rtsp") else {}
    try:
        container = av.open(address.url, timeout=TIMEOUT_S, options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "FFmpeg does not know it"
        raise InputError(f"{address}: cannot be opened ({why}); check the address") from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{address}: has no video stream; check the address")
    stream = container.streams.video[0]
    rate = float(stream.average_rate or stream.guessed_rate or FOLDER_FPS)
    frames = (partial(to_rgb, frame) for frame in StreamDecoder(container, stream))
    return rate, bool(container.duration and container.duration > 0), frames, container.close


def _open_camera(address: Address, number: int) -> tuple[float, bool, Iterator[Decode], Callable[[], None]]:
    """The same for a camera."""
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it is said below
    camera = cv2.VideoCapture(number)
    cv2.utils.logging.setLogLevel(level)
    if not camera.isOpened():
        raise InputError(f"{address}: cannot be opened; check that it is connected and used by no other program")

    def frames() -> Iterator[Decode]:
        while (read := camera.read())[0]:
            yield partial(cv2.cvtColor, read[1], cv2.COLOR_BGR2RGB)

    return camera.get(cv2.CAP_PROP_FPS) or FOLDER_FPS, False, frames(), camera.release

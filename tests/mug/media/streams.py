"""A server of video over HTTP, as a recording with a known length or as a live stream without an end."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np

SHAPE = (48, 64, 3)


def frame_at(index: int) -> np.ndarray:
    """A square on a dark ground, a pixel further right in each frame, and its number in the brightness of a corner."""
    frame = np.full(SHAPE, 40, np.uint8)
    frame[16:36, 8 + index % 30 : 28 + index % 30] = (220, 180, 60)
    frame[:8, :8] = index * 8 % 256
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number, up to 31, that a decoded frame shows."""
    return round(float(frame[1:7, 1:7].mean()) / 8)


def encoded(form: str, frames: int) -> bytes:
    """A clip as a file in memory."""
    file = io.BytesIO()
    codec = {"mp4": "mpeg4", "mpegts": "mpeg2video"}[form]
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *SHAPE[:2], "yuv420p", 4_000_000
        stream.gop_size, stream.max_b_frames = 1, 0
        for index in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_at(index), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@contextmanager
def served(recording: int = 0, live: int = 0, pause: float = 0.0) -> Iterator[str]:
    """The URL of a server that sends an mp4 of some frames, or an MPEG transport stream over and over.

    Args:
        recording: Frames of the mp4.
        live: Frames of the transport stream before it begins again, without a length, until the client leaves.
        pause: Seconds between two parts of it.
    """
    data = encoded("mp4", recording) if recording else encoded("mpegts", live)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if recording:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
                while live and pause:
                    time.sleep(pause)
                    self.wfile.write(data)
            except OSError:  # the client has left
                pass

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/door.{'mp4' if recording else 'ts'}"
    finally:
        server.shutdown()
        server.server_close()

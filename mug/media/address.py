"""Where a stream of video comes from: the number of a camera or a URL, as text."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

_URL = re.compile(r"[a-z][a-z0-9+.-]+://.+", re.IGNORECASE)


class Address:
    """A camera (`0`, `1`, ...) or a URL that FFmpeg reads (`rtsp://`, `http://`, `udp://`, ...).

    As text it is without user, password and query, which may be secret.

    Args:
        text: What the user wrote.

    Attributes:
        url: The whole address.
        camera: Number of the camera; None for a URL.

    Raises:
        ValueError: it is neither.

    Example:
        >>> address = Address("rtsp://me:secret@10.0.0.7:554//live/door.sdp?token=1")
        >>> str(address), address.name
        ('rtsp://10.0.0.7:554//live/door.sdp', 'door')
    """

    def __init__(self, text: str) -> None:
        number = text.isascii() and text.isdigit() and not Path(text).exists()
        if not number and not _URL.fullmatch(text):
            raise ValueError(f"{text!r} is no address of a stream")
        self.url = text
        self.camera = int(text) if number else None

    @classmethod
    def of(cls, text: object) -> Address | None:
        """The address that a text is; None if it is none."""
        try:
            return text if isinstance(text, Address) else cls(text) if isinstance(text, str) else None
        except ValueError:
            return None

    @property
    def name(self) -> str:
        """A name for results: `camera0`, or the last part of the URL."""
        if self.camera is not None:
            return f"camera{self.camera}"
        parts = urlsplit(self.url)
        stem = Path(parts.path).stem if parts.path.strip("/") else parts.hostname or ""
        return re.sub(r"[^\w.-]+", "_", stem).strip("._") or "stream"

    def __str__(self) -> str:
        if self.camera is not None:
            return f"camera {self.camera}"
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.url == other.url

    def __hash__(self) -> int:
        return hash(self.url)

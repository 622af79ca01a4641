"""Cameras and streams, read from a server on this machine."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from mug.errors import InputError
from mug.media.address import Address
from mug.media.live import LiveVideo
from mug.media.video import open_video
from tests.mug.media.streams import encoded, frame_at, number_of, served


def test_of_a_recording_every_frame_is_read() -> None:
    with served(recording=20) as url:
        video = open_video(url)
        assert isinstance(video, LiveVideo)
        assert (video.name, video.size, video.fps, video.live) == ("door", (48, 64), 25, True)
        first = video[0]
        seen = []
        for name, frame in zip(video.frame_names, video, strict=True):
            time.sleep(0.01)  # slower than it comes
            seen.append((name, number_of(frame)))
    assert seen == [(f"{index:05d}", index) for index in range(20)]
    assert number_of(first) == 0 and video.left_out == 0


def test_of_a_live_stream_the_newest_frame_is_next() -> None:
    with served(live=20) as url:
        video = open_video(url)
        assert number_of(video[0]) == 0, "the first frame waits"
        time.sleep(0.3)
        seen = [(int(name), number_of(frame)) for name, frame in zip(video.frame_names, video, strict=True)]
    assert seen == [(0, 0), (19, 19)]
    assert video.left_out == 18
    assert [video.number(index) for index in (0, 1)] == [0, 19]


def test_it_is_iterated_in_step_alone() -> None:
    with served(recording=12) as url:
        video = open_video(url)
        pairs = list(zip(video.frame_names, video, video, strict=True))
        assert len(pairs) == 12 and all(np.array_equal(a, b) for _, a, b in pairs)
        with pytest.raises(ValueError, match="frame 0 is no longer kept"):
            next(iter(video))
        with pytest.raises(IndexError):
            video[12]
        with pytest.raises(TypeError):
            len(video)


class Ended(Exception):
    """The program has ended."""


def frames_until(number: signal.Signals) -> int:
    """The frames of a stream without end, of which the second brings a signal."""
    count = 0
    with served(live=20, pause=0.05) as url:
        video = open_video(url)
        with video.until_stopped():
            for _ in video:
                count += 1
                if count == 2:
                    signal.raise_signal(number)
    return count


def test_ctrl_c_is_its_end() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert frames_until(signal.SIGINT) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_ends_the_program_after_it() -> None:
    def end(*_: object) -> None:
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(Ended):
            frames_until(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x: cannot be opened (Connection refused)"),
        ("foo://me:secret@host/x?token=secret", "foo://host/x: cannot be opened"),
        ("file:///dev/null", "file:///dev/null: cannot be opened"),
        ("97", "camera 97: cannot be opened; check that it is connected"),
    ],
)
def test_what_cannot_be_opened(text: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError) as caught:
        open_video(text)
    assert str(caught.value).startswith(says) and "secret" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(encoded("mp4", 12))
    capture = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: capture(str(clip)) if number == 3 else None)
    video = open_video("3")
    assert video.name == "camera3" and video.fps == 25
    frames = list(video)
    assert np.abs(frames[0].astype(int) - frame_at(0)).mean() < 12, "RGB, not BGR"
    assert number_of(frames[-1]) == 11


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "name"),
    [
        ("0", "camera 0", "camera0"),
        ("rtsp://me:se@cret@10.0.0.7:554//live/door.sdp?token=1", "rtsp://10.0.0.7:554//live/door.sdp", "door"),
        ("udp://@:1234", "udp://:1234", "stream"),
        ("http://example.org/", "http://example.org/", "example.org"),
        ("http://example.org/a/..%2F..", "http://example.org/a/..%2F..", "2F"),
    ],
)
def test_addresses(text: str, shown: str, name: str) -> None:
    address = Address(text)
    assert (str(address), address.name, address.url) == (shown, name, text)
    assert f"{address}" == shown and shown in repr(address)
    assert Address.of(text) == address == Address.of(address)


@pytest.mark.parametrize("text", ["clip.mp4", "clips/0", "C:/clip.mp4", "²", "", Path("0")])
def test_other_texts_are_paths(text: object) -> None:
    assert Address.of(text) is None


def test_a_folder_is_no_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Address.of("0") is not None
    (tmp_path / "0").mkdir()
    assert Address.of("0") is None

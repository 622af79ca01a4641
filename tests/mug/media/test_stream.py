"""Video files as they come from phones, downloads and broken transfers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from mug.errors import InputError
from mug.media import stream
from mug.media.overlay import OverlayWriter
from mug.media.video import Video, open_video
from tests.mug.media.test_video import number, picture, write_clip

SIZE = (96, 128)
FORMATS = dict.fromkeys(("mp4", "m4v", "mov", "3gp", "mkv", "flv", "ts", "avi"), "libx264")
FORMATS |= {"AVI": "mpeg4", "mpg": "mpeg2video", "wmv": "wmv2", "webm": "libvpx-vp9"}


def numbers(video: Video) -> list[int]:
    return [number(frame) for frame in video]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_streams_and_seeks(tmp_path: Path, suffix: str) -> None:
    video = open_video(write(tmp_path / f"clip.{suffix}", FORMATS[suffix]))
    assert len(video) == 24 and numbers(video) == list(range(24))
    for index in (23, 7, 8, 6, 0, 21, 20):
        assert number(video[index]) == index


def write(path: Path, codec: str, frames: int = 24, **options: str) -> Path:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = *SIZE, "yuv420p", 8
        stream.bit_rate = 2_000_000
        if codec == "libx264":
            stream.options = {"bf": "2", "crf": "10"}
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i, SIZE), format="rgb24")))
        container.mux(stream.encode())
    return path


def test_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(picture(10 * i)) for i in range(4)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=100)
    video = open_video(tmp_path / "clip.gif")
    assert numbers(video) == [0, 10, 20, 30] and number(video[2]) == 20 and video.fps == 10


# --- which stream ----------------------------------------------------------------------------------------------------


def with_thumbnail(path: Path, attached: bool, first: bool = True) -> Path:
    with av.open(str(path), "w") as container:
        codecs = ["mjpeg", "libx264"] if first else ["libx264", "mjpeg"]
        streams = {codec: container.add_stream(codec, rate=10) for codec in codecs}
        thumbnail, clip = streams["mjpeg"], streams["libx264"]
        thumbnail.height, thumbnail.width, thumbnail.pix_fmt = 32, 32, "yuvj420p"
        if attached:
            thumbnail.disposition = Disposition.attached_pic
        clip.height, clip.width, clip.pix_fmt = 48, 64, "yuv420p"
        still = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")
        for packet in [*thumbnail.encode(still), *thumbnail.encode()]:
            container.mux(packet)
        for i in range(12):
            container.mux(clip.encode(av.VideoFrame.from_ndarray(picture(i), format="rgb24")))
        container.mux(clip.encode())
    return path


def box_first(path: Path, box: bytes, before: bytes) -> None:
    """Moves a box of an mp4 before another of the same parent, which lies behind all data."""
    data = path.read_bytes()
    at, place = data.index(box) - 4, data.index(before) - 4
    size = int.from_bytes(data[at : at + 4], "big")
    path.write_bytes(data[:place] + data[at : at + size] + data[place:at] + data[at + size :])


def test_an_attached_picture_is_not_the_video(tmp_path: Path) -> None:
    path = with_thumbnail(tmp_path / "clip.mp4", attached=True)
    box_first(path, b"udta", b"trak")
    with av.open(str(path)) as container:
        assert container.streams[0].disposition & Disposition.attached_pic
    assert open_video(path).size == (48, 64) and numbers(open_video(path)) == list(range(12))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("first", [True, False])
def test_a_thumbnail_that_is_not_marked_is_not_the_video(tmp_path: Path, suffix: str, first: bool) -> None:
    video = open_video(with_thumbnail(tmp_path / f"clip.{suffix}", attached=False, first=first))
    assert numbers(video) == list(range(12)) and number(video[5]) == 5


def test_the_first_of_two_videos_is_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [container.add_stream("libx264", rate=10) for _ in range(2)]
        for stream, size in zip(streams, ((48, 64), (96, 128)), strict=True):
            stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for i in range(12):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(picture(i, (stream.height, stream.width)), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    assert open_video(tmp_path / "two.mkv").size == (48, 64)


def test_a_song_with_a_cover_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        sound, cover = container.add_stream("aac", rate=44100), container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt, cover.disposition = 32, 32, "yuvj420p", Disposition.attached_pic
        still = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in [*cover.encode(still), *cover.encode()]:
            container.mux(packet)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 44100
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    with pytest.raises(InputError, match=r"song\.mp4: has no video stream but a picture"):
        open_video(tmp_path / "song.mp4")


# --- what is left of a damaged file ----------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])


def blanked(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) * 3 // 5] = bytes(len(data) * 3 // 5 - len(data) // 2)
    path.write_bytes(data)


DAMAGED = {
    ("mp4", cut): True,
    ("mkv", cut): True,
    ("webm", cut): True,
    ("AVI", cut): True,
    ("flv", cut): True,
    ("mp4", blanked): True,
    ("AVI", blanked): True,
    ("ts", blanked): False,
}
"""Formats and what happened to them, and whether it can be known how many frames there were."""


@pytest.mark.parametrize(("suffix", "damage"), DAMAGED, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_what_decodes_is_used_and_it_is_said_how_much(
    tmp_path: Path, suffix: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = write(tmp_path / f"clip.{suffix}", FORMATS[suffix], 40, **options)
    assert len(open_video(path)) == 40
    assert capsys.readouterr().err == ""
    damage(path)
    video = open_video(path)
    assert 3 < len(video) < 40
    frames = list(video)
    assert len(frames) == len(video)
    for index in (len(video) - 1, 3, len(video) // 2):
        assert np.abs(video[index].astype(int) - frames[index]).mean() < 3
    said = capsys.readouterr().err.splitlines()
    much = f"{len(video)} of 40 frames" if DAMAGED[suffix, damage] else f"the {len(video)} frames that can be decoded"
    assert len(said) == 1 and "is cut off or damaged" in said[0] and much in said[0]


def test_a_file_that_is_damaged_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", "libx264", 40)
    video = open_video(path)
    assert len(video) == 40
    cut(path)
    with pytest.raises(InputError, match=r"clip\.mkv: frame \d+ cannot be decoded"):
        list(video)
    with pytest.raises(InputError, match=r"clip\.mkv: frame 39 cannot be decoded"):
        video[39]


def test_going_back_decodes_from_a_key_frame_not_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = open_video(write(tmp_path / "clip.mp4", "libx264", 50))
    assert number(video[49]) == 49
    decoded = []
    read = stream.StreamDecoder.__iter__
    monkeypatch.setattr(stream.StreamDecoder, "__iter__", lambda self: (decoded.append(x) or x for x in read(self)))
    assert [number(video[index]) for index in (44, 43, 20, 21)] == [44, 43, 20, 21]
    assert len(decoded) < 40  # of the 107 before them; key frames are 8 frames apart


def test_a_frame_with_a_time_that_no_frame_has_is_left_out() -> None:
    assert [stream._place([0, 10, 20], stamp) for stamp in (0, 20, 15, -1, 25, None)] == [0, 2, None, None, None, None]


def test_an_mp4_whose_index_was_cut_off_is_refused(tmp_path: Path) -> None:
    cut(write(tmp_path / "clip.mp4", "libx264"))
    with pytest.raises(InputError, match=r"clip\.mp4: cannot be read as a video \(it is cut off"):
        open_video(tmp_path / "clip.mp4")


def test_a_slow_last_frame_is_no_damage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with av.open(str(tmp_path / "slow.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for i, at in enumerate((0, 1, 2, 30, 31)):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts = at
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert len(open_video(tmp_path / "slow.mkv")) == 5
    assert capsys.readouterr().err == ""


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["12:30:05.mp4", "http:clip.mp4", "pipe:0.mp4", "a%03d.mp4", "-clip.mp4", "file:c.mp4"]
)
def test_names_are_no_addresses(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 3).rename(tmp_path / name)
    for path in (tmp_path / name, Path(name)):
        assert numbers(open_video(path)) == [0, 1, 2]
    for path in (tmp_path / "out" / name, Path("here") / name, Path(f"new {name}")):
        with OverlayWriter(path, 10, (48, 64)) as writer:
            writer.write(picture(0), np.zeros((48, 64), np.uint8))
        assert len(open_video(path)) == 1


def test_a_title_in_another_encoding_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Caf\u00e9 am See"
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0, SIZE), format="rgb24")))
        container.mux(stream.encode())
    written = path.read_bytes()
    assert written.count("Caf\u00e9 am".encode()) == 1
    path.write_bytes(written.replace("Caf\u00e9 am".encode(), "Caf\u00e9  am".encode("latin-1")))
    assert len(open_video(path)) == 1

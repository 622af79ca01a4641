"""Training video in tar files, as WebDataset writes them."""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pretrain.videos
from mug.cli import main
from mug.errors import InputError
from pretrain.dataset import load_sample
from pretrain.sampling import SampleOptions
from pretrain.tars import Member, TarVideos, expand
from pretrain.videos import VideoIndex

sys.path.insert(0, str(Path(__file__).parent))
from test_videos import make_clip, make_frames


def jpeg(shade: int, size: tuple[int, int] = (64, 48)) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(shade).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def make_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def clip(name: str, frames: range = range(8)) -> dict[str, bytes]:
    return {f"{name}/{i:05d}.jpg": jpeg(i) for i in frames}


def names(index: VideoIndex) -> list[str]:
    return [video.name for video in index]


def test_what_the_library_writes_is_what_it_reads(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    with wds.ShardWriter(str(tmp_path / "shard-%06d.tar"), maxcount=10, verbose=0) as writer:
        for video in ("b", "a"):
            for i in range(9):
                writer.write({"__key__": f"{video}/{i:05d}", "jpg": jpeg(i), "json": {"shot": i}})
    index = VideoIndex.build(tmp_path / "shard-{000000..000001}.tar", tmp_path / "c")
    assert names(index) == ["a", "b"] and index.frames == 18 and not index.bad
    shards = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    for sample in wds.WebDataset(shards, shardshuffle=False):
        name, _, frame = sample["__key__"].partition("/")
        (video,) = (video for video in index if video.name == name)
        assert video.frame_name(int(frame)) == frame
        assert video.file(int(frame)).read_bytes() == sample["jpg"]


def test_a_sample_from_a_tar_file_is_that_from_its_folder(tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "shard.tar", clip("dog", range(12)))
    with tarfile.open(tar) as archive:
        archive.extractall(tmp_path / "folders", filter="data")
    (inside,) = VideoIndex.build(tar, tmp_path / "c")
    (outside,) = VideoIndex.build(tmp_path / "folders", tmp_path / "c")
    samples = [
        load_sample(video, {}, SampleOptions(size=32, abstract=2), 1, np.random.default_rng(0))
        for video in (inside, outside)
    ]
    assert samples[0].keys() == samples[1].keys()
    for name, value in samples[0].items():
        assert torch.equal(value, samples[1][name]) if isinstance(value, torch.Tensor) else value == samples[1][name]
    opened = pickle.loads(pickle.dumps(inside.open()))  # as the processes that make priors get it
    assert all((a == b).all() for a, b in zip(opened, outside.open(), strict=True))


def test_videos_of_all_kinds_are_one_index(tmp_path: Path) -> None:
    """One is spread over two tar files, one is named as a folder is, one is a video file, one has no folder."""
    make_frames(tmp_path / "clips/dog", [f"{i:05d}.jpg" for i in range(8)])
    film = make_clip(tmp_path / "film.mp4").read_bytes()
    first = make_tar(tmp_path / "t/s-0.tar", clip("dog") | clip("x/img/cat", range(5)) | {"sub/film.mp4": film})
    second = make_tar(tmp_path / "t/s-1.tar", clip("x/img/cat", range(5, 9)) | {"x/img/cat/readme.txt": b"no frame"})
    third = make_tar(tmp_path / "t/eel.tar", {name.removeprefix("eel/"): data for name, data in clip("eel").items()})
    roots = [tmp_path / "clips", first, second, third]
    index = VideoIndex.build(roots, tmp_path / "c")
    assert names(index) == ["clips/dog", "sub/film", "eel", "s-0.tar/dog", "x/cat"]
    assert [len(video) for video in index] == [8, 8, 8, 8, 9]
    assert index.frames == 41 and not index.bad and not index.short
    assert index[4].file(7) == Member(second, *index[4].file(7)[1:3], "x/img/cat/00007.jpg")
    assert names(index[-2:]) == ["s-0.tar/dog", "x/cat"] and index[-1].name == "x/cat"
    assert index[1].open()[0].shape == (64, 96, 3)
    assert not list((tmp_path / "c").glob(".*"))  # the copy of the film


def test_the_index_is_mapped_and_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = make_tar(tmp_path / "s.tar", clip("dog") | clip("cat"))
    VideoIndex.build(tar, tmp_path / "c")
    with monkeypatch.context() as patch:
        patch.setattr(pretrain.videos, "list_tars", lambda _: pytest.fail("read twice"))
        index = VideoIndex.build(tar, tmp_path / "c")
    assert isinstance(index[0].frames, np.memmap) and not index[0].frames.flags.writeable
    assert isinstance(index.tarred, TarVideos)
    sent = pickle.dumps(index.tarred)
    assert b"00003" not in sent  # a worker maps it, too
    assert pickle.loads(sent)[0].file(3) == index[0].file(3)
    make_tar(tar, clip("eel"))
    for _ in range(2):
        assert names(VideoIndex.build(tar, tmp_path / "c")) == ["eel"]
        parts = list((tmp_path / "c").glob("*.npy"))
        assert len(parts) == 2  # the old ones are gone
        parts[0].unlink()


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    films = {"film.mp4": b"no film"}
    odd = {"dog/00009.jpg": jpeg(1)[:-40], "dog/00010.jpg": jpeg(1, (32, 48)), "dog/00000.png": jpeg(2)}
    unsafe = {"../out/00000.jpg": jpeg(0), "/abs/00000.jpg": jpeg(0), ".hidden/00000.jpg": jpeg(0), "dog/1.heic": b""}
    tar = make_tar(tmp_path / "s.tar", clip("dog") | odd | unsafe | films | clip("short", range(3)))
    index = VideoIndex.build(tar, tmp_path / "c")
    assert names(index) == ["dog"] and len(index[0]) == 8 and index.short == ["short"]
    assert sorted(line.removeprefix(f"{tar}: ").partition("; ")[0] for line in index.bad) == [
        "../out/00000.jpg: a name that leads out of its folder",
        "/abs/00000.jpg: a name that leads out of its folder",
        "dog/00000.png: two frames of one name",
        "dog/00009.jpg: truncated or no image",
        "dog/00010.jpg: of another size than its video",
        "dog/1.heic: a kind of picture that is not read",
        "film.mp4: cannot be read as a video",
    ]


def test_of_a_tar_file_that_is_cut_off_the_whole_frames_are_used(tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "s.tar", clip("dog", range(9)))
    with tarfile.open(tar) as archive:
        last = archive.getmembers()[-1]
    tar.write_bytes(tar.read_bytes()[: last.offset_data + 500])
    index = VideoIndex.build(tar, tmp_path / "c")
    assert len(index[0]) == 8
    assert index.bad == [
        f"{tar}: is cut off; the files up to there are used",
        f"{tar}: dog/00008.jpg: truncated or no image",
    ]


def test_what_is_no_tar_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tar = make_tar(tmp_path / "d/s.tar", clip("dog"))
    packed = tmp_path / "packed.tar"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tar)
    with pytest.raises(InputError, match=r"packed\.tar: is no plain tar file"):
        VideoIndex.build(packed, tmp_path / "c")
    with pytest.raises(InputError, match=r"give a folder of videos, or name its tar files \(\*\.tar\)"):
        VideoIndex.build(tmp_path / "d", tmp_path / "c")
    with pytest.raises(InputError, match=r"s-1\.tar: no such file or folder"):
        VideoIndex.build([tar, tmp_path / "d/s-1.tar"], tmp_path / "c")


def test_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "{a}.tar").touch()
    assert expand(tmp_path / "{a}.tar") == [tmp_path / "{a}.tar"]
    assert expand(tmp_path / "s.tar") == [tmp_path / "s.tar"]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "braceexpand", None)
        with pytest.raises(InputError, match=r"pip install 'mug-vos\[webdataset\]', or name the files"):
            expand(Path("s-{0..3}.tar"))
    pytest.importorskip("braceexpand")
    assert expand(Path("s-{08..11}.tar")) == [Path(f"s-{i}.tar") for i in ("08", "09", "10", "11")]


def test_shards_of_priors_meet_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder, a video file and a tar file; each video file is unpacked by one shard."""
    make_frames(tmp_path / "clips/dog", [f"{i:05d}.jpg" for i in range(5)])
    make_clip(tmp_path / "clips/film.mp4", 4)
    tar = make_tar(tmp_path / "s.tar", clip("cat", range(3)))
    words = ["prior", str(tmp_path / "clips"), str(tar), "--workers", "1", "--kind", "saliency", "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    capsys.readouterr()
    written = []
    for number in (3, 1, 4, 2):
        cache = tmp_path / f"cache{number}"
        shard = ["--shard", f"{number}/4", "--index_cache", str(cache)]
        assert main([*words, str(tmp_path / "out"), *shard]) == 0
        written.append(capsys.readouterr())
        assert len(list(cache.glob("frames/*"))) == ("film" in str(list(cache.rglob("*.jpg"))))
    assert "shard 4 of 4 (--shard): none of 3 videos" in written[2].err
    assert sorted(said.out.split(": ")[1].split(" maps")[0] for said in written) == ["0", "3", "4", "5"]
    maps = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*.png")}
        for out in (tmp_path / "whole", tmp_path / "out")
    ]
    assert maps[0] == maps[1] and len(maps[0]) == 12

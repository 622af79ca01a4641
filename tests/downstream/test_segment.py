"""`mug segment` as a user types it."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file

from downstream.systems.mug import main_object
from mug.checkpoint import save_weights
from mug.cli import main
from mug.command import preflight
from mug.errors import InputError
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig

FRAMES = Path("JPEGImages") / "480p"
Squares = Callable[..., Path]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_weights(path, MuG(ModelConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))).eval(), {})
    return path


def segment(*arguments: object) -> int:
    """Runs the command, in the paper's mode, the quicker one, unless another is asked for."""
    mode = [] if "--mode" in arguments else ["--mode", "paper"]
    return main(["segment", *(str(a) for a in arguments), *mode, "--size", "48", "--device", "cpu"])


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_dataset_gives_indexed_masks_and_needs_no_annotation(moving_squares: Squares, weights: Path) -> None:
    root = moving_squares(videos=2, frames=4, height=50, width=70)
    shutil.rmtree(root / "Annotations")
    out = root.parent / "out"
    assert segment(root, "--weights", weights, "--out", out, "--mode", "adapted", "--raw", "--soft") == 0
    for folder in (out, out / "raw", out / "soft"):
        for name in ("square0", "square1"):
            assert [path.name for path in sorted((folder / name).iterdir())] == [f"{t:05d}.png" for t in range(4)]
    image = Image.open(out / "square0" / "00001.png")
    assert (image.mode, image.size) == ("P", (70, 50))
    assert image.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
    assert set(np.unique(image)) <= {0, 1}
    soft = read(out / "soft" / "square0" / "00001.png")
    assert soft.dtype == np.uint8
    assert np.array_equal(soft > 127, np.asarray(image) == 1)


def test_raw_and_refined_masks_differ_only_by_refinement(moving_squares: Squares, weights: Path) -> None:
    root = moving_squares(videos=1, frames=3)
    for refine in ("none", "guided"):
        arguments = ("--out", root.parent / refine, "--refine", refine, "--raw")
        assert segment(root, "--weights", weights, *arguments) == 0
    for t in range(3):
        plain = read(root.parent / "none" / "square0" / f"{t:05d}.png")
        for refine in ("none", "guided"):
            assert np.array_equal(plain, read(root.parent / refine / "raw" / "square0" / f"{t:05d}.png"))


def test_a_video_file_with_an_overlay(moving_squares: Squares, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of the package are taken where none are given."""
    import av

    root = moving_squares(videos=1, frames=5)
    clip = root.parent / "clip.mp4"
    with av.open(str(clip), "w") as movie:
        stream = movie.add_stream("mpeg4", rate=12)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for path in sorted((root / FRAMES / "square0").iterdir()):
            movie.mux(stream.encode(av.VideoFrame.from_ndarray(read(path), format="rgb24")))
        movie.mux(stream.encode())
    packaged: list[Path | None] = []
    load = main_object.load_weights
    monkeypatch.setattr(main_object, "load_weights", lambda path: (packaged.append(path), load(path or weights))[1])
    out = root.parent / "out"
    assert segment(clip, "--out", out, "--overlay") == 0
    assert packaged == [None]
    assert [read(path).shape for path in sorted((out / "clip").iterdir())] == [(48, 64)] * 5
    with av.open(str(out / "clip.mp4")) as movie:
        assert sum(1 for _ in movie.decode(video=0)) == 5


@pytest.mark.parametrize("mode", ["paper", "adapted"])
def test_one_frame_and_still_videos_have_masks_too(moving_squares: Squares, weights: Path, mode: str) -> None:
    one = moving_squares(videos=1, frames=1) / FRAMES / "square0"
    still = one.parent / "still"
    still.mkdir()
    for t in range(3):
        shutil.copy(one / "00000.jpg", still / f"{t:05d}.jpg")
    out = one.parents[3] / "out"
    assert segment(one.parent, "--weights", weights, "--out", out, "--mode", mode) == 0
    assert len(list(out.rglob("*.png"))) == 4


def test_results_are_replaced_only_on_request(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=2, frames=2)
    out = root.parent / "out"
    kept = out / "raw" / "square1" / "00000.png"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"dear to somebody")
    assert segment(root, "--weights", weights, "--out", out, "--raw") == 2
    assert "--overwrite" in complaint(capsys)
    assert kept.read_bytes() == b"dear to somebody"
    assert not list(out.glob("square0/*.png"))
    assert segment(root, "--weights", weights, "--out", out, "--raw", "--overwrite") == 0
    assert read(kept).shape == (48, 64)


def test_an_overlay_is_replaced_only_on_request(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=1, frames=2)
    movie = root.parent / "out" / "square0.mp4"
    movie.parent.mkdir()
    movie.write_bytes(b"dear to somebody")
    assert segment(root, "--weights", weights, "--out", movie.parent, "--overlay") == 2
    assert "square0.mp4" in complaint(capsys)
    assert movie.read_bytes() == b"dear to somebody"


def first_frame(root: Path) -> Path:
    return root / FRAMES / "square0" / "00000.jpg"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def resize(path: Path) -> None:
    Image.open(path).resize((32, 32)).save(path)


def as_16_bit(path: Path) -> None:
    Image.fromarray(np.ones((48, 64), np.uint16)).save(path.with_suffix(".png"))
    path.unlink()


BAD_VIDEOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing folder": (lambda root: shutil.rmtree(root), "squares"),
    "empty folder": (lambda root: (shutil.rmtree(root), root.mkdir()), "squares"),
    "no decodable frame": (
        lambda root: [path.write_bytes(b"no image") for path in root.glob("JPEGImages/480p/*/*.jpg")],
        "00000.jpg",
    ),
    "truncated frame": (lambda root: truncate(root / FRAMES / "square0" / "00002.jpg"), "00002.jpg"),
    "frames of different sizes": (lambda root: resize(root / FRAMES / "square0" / "00002.jpg"), "00002.jpg"),
    "16-bit frame": (lambda root: as_16_bit(first_frame(root)), "00000.png"),
    "a reserved name": (lambda root: (root / FRAMES / "square0").rename(root / FRAMES / "raw"), "'raw'"),
}


@pytest.mark.parametrize("case", BAD_VIDEOS)
def test_bad_videos_are_one_line(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    root = moving_squares(videos=1, frames=3)
    spoil, named = BAD_VIDEOS[case]
    spoil(root)
    assert segment(root, "--weights", weights, "--out", root.parent / "out") == 2
    assert named in complaint(capsys)


def test_a_damaged_video_file_is_one_line(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"no video")
    assert segment(clip, "--weights", weights, "--out", tmp_path / "out") == 2
    assert "clip.mp4" in complaint(capsys)


def with_nan(weights: Path, path: Path) -> None:
    tensors = load_file(weights)
    tensors["readout.layers.0.weight"].fill_(float("nan"))
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        save_file(tensors, path, metadata=file.metadata())


BAD_WEIGHTS: dict[str, Callable[[Path, Path], object]] = {
    "absent": lambda good, path: None,
    "pickle": lambda good, path: path.write_bytes(pickle.dumps({"phi": 1})),
    "truncated": lambda good, path: path.write_bytes(good.read_bytes()[:5000]),
    "not finite": with_nan,
    "another program's": lambda good, path: save_file({"x": torch.zeros(1)}, path),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights_are_one_line(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    root = moving_squares(videos=1, frames=2)
    spoilt = root.parent / "spoilt.safetensors"
    BAD_WEIGHTS[case](weights, spoilt)
    out = root.parent / "out"
    assert segment(root, "--weights", spoilt, "--out", out) == 2
    assert "spoilt.safetensors" in complaint(capsys)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--size", "8"], "--size"),
        (["--references", "0"], "--references"),
        (["--temperature", "0"], "--temperature"),
        (["--mode", "best"], "--mode"),
        (["--refine", "sharp"], "--refine"),
        (["--device", "tpu"], "--device"),
        (["--device", "cuda:9"], "--device"),
    ],
)
def test_bad_options_are_one_line(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    root = moving_squares(videos=1, frames=2)
    out = root.parent / "out"
    assert main(["segment", str(root), "--out", str(out), "--weights", str(weights), *arguments]) == 2
    assert named in complaint(capsys)
    assert not out.exists()


def test_cuda_where_there_is_none(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    root = moving_squares(videos=1, frames=2)
    assert main(["segment", str(root), "--out", str(root), "--weights", str(weights), "--device", "cuda"]) == 2
    assert "--device cpu" in complaint(capsys)


def test_a_missing_crf_is_said_before_the_work(
    moving_squares: Squares, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_: str) -> None:
        raise InputError('run: pip install "mug-vos[crf]"')

    monkeypatch.setattr(preflight, "require_crf", missing)
    root = moving_squares(videos=1, frames=2)
    out = root.parent / "out"
    assert segment(root, "--weights", weights, "--out", out, "--refine", "crf") == 2
    assert "mug-vos[crf]" in complaint(capsys)
    assert not out.exists()


def test_the_adapted_mode_reads_any_backbone(moving_squares: Squares, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    video = moving_squares(videos=1, frames=3) / FRAMES / "square0"
    words = (video, "--backbone", "torchvision:resnet18:layer1", "--weights", tmp_path / "resnet18.pth")
    assert segment(*words, "--mode", "adapted", "--out", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out/square0").iterdir()) == [f"{n:05d}.png" for n in range(3)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("--mode", "paper", "--backbone", "torchvision:resnet18"),
            "--backbone: has no effect here: belongs to",
        ),
        (("--mode", "paper", "--no-carry"), "--carry: has no effect here"),
        (("--mode", "adapted", "--no-carry", "--temperature", "0.1"), "--temperature: has no effect here"),
        (("--instance.tracks", "3"), "--instance.tracks: has no effect here: says how objects are told apart; add"),
        (("--system", "agnn", "--references", "-5"), "--references is no option of `mug segment`"),
        (("--system", "agnn"), "--mode is no option of `mug segment`"),
        (("--system", "agn"), "system agn: is none that finds objects; give mug, agnn"),
        (("--graph.nodes", "3"), "--graph.nodes is no option of `mug segment`"),
    ],
)
def test_an_option_that_nothing_would_read_is_refused_by_name(
    words: tuple[str, ...], expected: str, moving_squares: Squares, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = moving_squares(videos=1, frames=3) / FRAMES / "square0"
    assert segment(video, *words, "--out", tmp_path / "out") == 2
    assert expected in complaint(capsys)
    assert not (tmp_path / "out").exists()

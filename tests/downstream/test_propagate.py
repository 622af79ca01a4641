"""`mug propagate` as a user types it."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mug.media.stream
from downstream.backbones.by_name import open_backbone, suited_temperature
from downstream.one_shot.motion import PAST
from downstream.one_shot.propagator import Propagator
from downstream.one_shot.protocols import PRESETS
from mug.checkpoint import save_weights
from mug.cli import main
from mug.media.masks import write_mask
from mug.media.overlay import OverlayWriter
from mug.media.video import open_video
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig
from mug.priors.consensus import CHUNK

FRAMES = Path("JPEGImages") / "480p"
LABELS = Path("Annotations") / "480p"


def tiny_model() -> MuG:
    return MuG(ModelConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))).eval()


def propagate(*arguments: object) -> int:
    size = [] if "--size" in arguments else ["--size", "48"]
    return main(["propagate", *(str(a) for a in arguments), *size, "--device", "cpu"])


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_dataset_reads_no_annotation_but_the_first(moving_squares: Callable[..., Path], weights: Path) -> None:
    root = moving_squares(videos=2, frames=5, objects=2)
    for path in root.glob("Annotations/480p/*/*.png"):
        if path.stem != "00000":
            path.write_bytes(b"no annotation at all")
    out = root.parent / "out"
    assert propagate(root, "--weights", weights, "--out", out) == 0
    spoilt = {path.relative_to(out): read(path) for path in sorted(out.rglob("*.png"))}
    assert len(spoilt) == 10
    for path in root.glob("Annotations/480p/*/*.png"):
        if path.stem != "00000":
            path.unlink()
    assert propagate(root, "--weights", weights, "--out", root.parent / "out2") == 0
    for name, mask in spoilt.items():
        assert np.array_equal(mask, read(root.parent / "out2" / name))


def test_masks_are_indexed_at_the_resolution_of_the_video(moving_squares: Callable[..., Path], weights: Path) -> None:
    root = moving_squares(videos=1, frames=4, height=50, width=70, objects=2)
    out = root.parent / "out"
    assert propagate(root, "--weights", weights, "--out", out, "--size", 96, "--overlay") == 0
    images = [Image.open(path) for path in sorted((out / "square0").iterdir())]
    assert [Path(image.filename).name for image in images] == [f"{t:05d}.png" for t in range(4)]
    assert all(image.mode == "P" and image.size == (70, 50) for image in images)
    assert images[0].getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    assert np.array_equal(np.asarray(images[0]), read(root / LABELS / "square0" / "00000.png"))
    assert {1, 2} <= set(np.unique(np.asarray(images[1])))

    import av

    with av.open(str(out / "square0.mp4")) as movie:
        assert sum(1 for _ in movie.decode(video=0)) == 4


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_single_video_with_its_mask(moving_squares: Callable[..., Path], weights: Path, preset: str) -> None:
    root = moving_squares(videos=1, frames=4)
    video = root.parent / "clip"
    shutil.copytree(root / FRAMES / "square0", video)
    first = root / LABELS / "square0" / "00000.png"
    out = root.parent / "out"
    # of CorrFlow alone the temperature is made for features that are not normalised
    suited = ["--temperature", 0.01] if preset == "corrflow" else []
    assert propagate(video, "--mask", first, "--weights", weights, "--out", out, "--preset", preset, *suited) == 0
    assert [path.name for path in sorted((out / "clip").iterdir())] == [f"{t:05d}.png" for t in range(4)]
    truth = read(root / LABELS / "square0" / "00001.png") == 1
    result = read(out / "clip" / "00001.png") == 1
    assert (truth & result).sum() / (
        truth | result
    ).sum() > 0.3  # even untrained features find a square's neighbourhood


def test_causal_is_what_a_stream_gives(moving_squares: Callable[..., Path], weights: Path) -> None:
    root = moving_squares(videos=1, frames=6)
    video = open_video(root / FRAMES / "square0")
    out = root.parent / "out"
    assert propagate(root, "--weights", weights, "--out", out, "--causal", "--size", 64) == 0
    backbone = open_backbone("mug", weights)
    config = replace(PRESETS["mug"], size=64, temperature=backbone.temperature)
    propagator = Propagator(backbone.extract, config)
    first = read(root / LABELS / "square0" / "00000.png")
    for t, frame in enumerate(video):
        live = propagator.step(frame, None if t else first)
        assert np.array_equal(read(out / "square0" / f"{t:05d}.png"), live), t


def test_evidence_is_heard_where_it_is_asked_for(moving_squares: Callable[..., Path], weights: Path) -> None:
    root = moving_squares(videos=1, frames=5)

    def result(*words: str) -> list[np.ndarray]:
        out = root.parent / "-".join(("out", *words))
        assert propagate(root, "--weights", weights, "--out", out, *words) == 0
        return [read(path) for path in sorted((out / "square0").iterdir())]

    both = result()
    assert np.array_equal(both, result("--evidence", "both"))
    others = [result("--evidence", witness) for witness in ("none", "motion", "appearance")]
    assert not any(np.array_equal(both, other) for other in others)
    published = result("--preset", "dino")
    assert np.array_equal(published, result("--preset", "dino", "--evidence", "none"))


def test_temperature_of_calibrated_and_of_other_weights() -> None:
    model = tiny_model()
    assert suited_temperature(model, {"one_shot_temperature": "0.0035"}) == 0.0035
    assert suited_temperature(model, {}) == pytest.approx(float(model.temperature.detach()))


@pytest.mark.parametrize(
    ("arguments", "held", "passes"),
    [(("--evidence", "none"), 4, 1), (("--causal",), 4 + PAST, 1), ((), 4 + CHUNK + 4, 2)],
    ids=["matching", "causal", "looking ahead"],
)
def test_a_long_video_file_is_decoded_as_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], held: int, passes: int
) -> None:
    length = 300
    (tmp_path / "quick_features.py").write_text(
        "import torch.nn.functional as F\n\n\ndef colours():\n    return lambda frame: F.avg_pool2d(frame, 8) - 0.5\n"
    )
    monkeypatch.chdir(tmp_path)
    with OverlayWriter(tmp_path / "long.mp4", 24.0, (48, 64)) as writer:
        for t in range(length):
            frame = np.full((48, 64, 3), 40, np.uint8)
            frame[12:28, t % 40 : t % 40 + 16] = 220
            writer.write(frame, np.zeros((48, 64), np.uint8))
    mask = np.zeros((48, 64), np.uint8)
    mask[12:28, :16] = 1
    write_mask(tmp_path / "first.png", mask)
    alive: weakref.WeakSet[Decoded] = weakref.WeakSet()
    most, decoded = 0, 0

    def watched(frame: object) -> Decoded:
        nonlocal most, decoded
        array = to_rgb(frame).view(Decoded)
        alive.add(array)
        most, decoded = max(most, len(alive)), decoded + 1
        return array

    to_rgb = mug.media.stream.to_rgb
    monkeypatch.setattr(mug.media.stream, "to_rgb", watched)
    common = ("--mask", "first.png", "--backbone", "quick_features:colours", "--out", tmp_path / "out")
    assert propagate(tmp_path / "long.mp4", *common, *arguments) == 0
    assert len(list((tmp_path / "out" / "long").iterdir())) == length
    assert most <= held, "no frame is held longer than it is needed"
    assert decoded <= passes * length + 4, "and none is decoded more often than it is looked at, but the first"


class Decoded(np.ndarray):
    """An array that can be told from others by identity."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__  # type: ignore[assignment]


def test_results_are_replaced_only_on_request(
    moving_squares: Callable[..., Path], weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=2, frames=3)
    out = root.parent / "out"
    kept = out / "square1" / "00000.png"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"dear to somebody")
    assert propagate(root, "--weights", weights, "--out", out) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert kept.read_bytes() == b"dear to somebody"
    assert not list(out.glob("square0/*.png"))
    assert propagate(root, "--weights", weights, "--out", out, "--overwrite") == 0
    assert read(kept).shape == (48, 64)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def resize(path: Path) -> None:
    Image.open(path).resize((32, 32)).save(path)


def first_label(root: Path) -> Path:
    return root / LABELS / "square0" / "00000.png"


def in_colour(root: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(first_label(root))


BAD_INPUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing folder": (lambda root: shutil.rmtree(root), "squares"),
    "empty folder": (lambda root: (shutil.rmtree(root), root.mkdir()), "squares"),
    "no decodable frame": (
        lambda root: [path.write_bytes(b"no image") for path in root.glob("JPEGImages/480p/*/*.jpg")],
        "00000.jpg",
    ),
    "truncated frame": (lambda root: truncate(root / FRAMES / "square0" / "00002.jpg"), "00002.jpg"),
    "frames of different sizes": (lambda root: resize(root / FRAMES / "square0" / "00002.jpg"), "00002.jpg"),
    "mask of another size": (lambda root: resize(first_label(root)), "00000.png"),
    "empty mask": (lambda root: Image.fromarray(np.zeros((48, 64), np.uint8)).save(first_label(root)), "no object"),
    "colours outside the palette": (in_colour, "00000.png"),
    "16-bit mask": (lambda root: Image.fromarray(np.ones((48, 64), np.uint16)).save(first_label(root)), "00000.png"),
    "truncated mask": (lambda root: first_label(root).write_bytes(first_label(root).read_bytes()[:60]), "00000.png"),
    "no mask": (lambda root: first_label(root).unlink(), "00000.png"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_line(
    moving_squares: Callable[..., Path], weights: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    root = moving_squares(videos=1, frames=3)
    spoil, named = BAD_INPUTS[case]
    spoil(root)
    assert propagate(root, "--weights", weights, "--out", root.parent / "out") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert named in lines[0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--temperature", "0"], "--temperature"),
        (["--temperature", "nan"], "--temperature"),
        (["--size", "8"], "--size"),
        (["--device", "tpu"], "--device"),
        (["--device", "cuda:9"], "--device"),
        (["--mask", "first.png"], "--mask"),
        (["--weights", "absent.safetensors"], "absent.safetensors"),
    ],
)
def test_bad_options_are_one_line(
    moving_squares: Callable[..., Path],
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    root = moving_squares(videos=2, frames=2)
    out = root.parent / "out"
    defaults = [] if "--weights" in arguments else ["--weights", str(weights)]
    assert main(["propagate", str(root), "--out", str(out), *defaults, *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert named in lines[0]
    assert not out.exists()


def test_cuda_where_there_is_none(
    moving_squares: Callable[..., Path],
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    root = moving_squares(videos=1, frames=2)
    assert main(["propagate", str(root), "--weights", str(weights), "--out", "out", "--device", "cuda"]) == 2
    assert "no such GPU" in capsys.readouterr().err


def test_weights_that_are_none(
    moving_squares: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = moving_squares(videos=1, frames=2)
    poisoned = tiny_model()
    with torch.no_grad():
        next(poisoned.phi.match_head.parameters()).fill_(float("nan"))
    save_weights(tmp_path / "nan.safetensors", poisoned, {})
    torch.save({"phi": torch.zeros(2)}, tmp_path / "pickle.safetensors")
    for name in ("nan", "pickle"):
        path = tmp_path / f"{name}.safetensors"
        assert propagate(root, "--weights", path, "--out", tmp_path / "out") == 2
        assert path.name in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

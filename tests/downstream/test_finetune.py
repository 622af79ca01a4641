"""`mug finetune agnn` as a user types it, on videos of squares."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from agnn_head.calibration import raised_odds
from agnn_head.checkpoint import load_weights
from agnn_head.model import AGNN
from downstream import finetune as command
from downstream.systems.choice import finetune_options
from downstream.training.annotated import foreground_shares, hold_out, open_annotated
from mug.checkpoint import load_weights as load_mug
from mug.checkpoint import save_weights as save_mug
from mug.cli import main
from mug.command.options import parse
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig
from tests.squares import write_squares

Squares = Callable[..., Path]
CONFIGS = sorted(
    path for kind in ("finetune", "cosegment") for path in (Path(__file__).parents[2] / "configs" / kind).glob("*.yaml")
)
BACKBONE = BackboneConfig(depth=18, stages=2, stride=8)
SMALL = (
    "--model.embedding.backbone.stages=2", "--model.embedding.backbone.stride=8", "--model.embedding.rates=[1,2,3]",
    "--model.channels=8", "--model.iterations=1", "--sample.size=32", "--workers=0", "--save_every=2",
    "--engine.device=cpu", "--engine.threads=1", "--engine.precision=32-true", "--optimiser.kind=adamw",
    "--optimiser.lr=1e-3",
)  # fmt: skip


@pytest.fixture(scope="module")
def phi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "phi.safetensors"
    save_mug(path, MuG(ModelConfig(backbone=BACKBONE)).eval(), {})
    return path


def finetune(*words: object) -> int:
    """Runs the command on a small model."""
    return main(["finetune", "agnn", *SMALL, *(str(word) for word in words)])


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_weights_that_segment(moving_squares: Squares, phi: Path, tmp_path: Path) -> None:
    root = moving_squares(videos=3, frames=4)
    out = tmp_path / "run"
    assert finetune("--data", root, "--weights", phi, "--out", out, "--steps", 3, "--hold", 1) == 0
    held = hold_out(["square0", "square1", "square2"], 1)
    assert (out / "held_out.txt").read_text().split() == held
    assert [row["step"] for row in rows(out)] == ["0", "1", "2"]
    assert all(float(row["video"]) > 0 and row["still"] == "" for row in rows(out))
    assert len(list((out / "pictures").iterdir())) == 2
    model, metadata = load_weights(out / "agnn.safetensors")
    assert metadata["training"].startswith("2 videos, labels: annotations")
    assert (model.config.channels, model.config.iterations) == (8, 1)
    video = root / "JPEGImages/480p" / held[0]
    words = ("--system", "agnn", "--weights", out / "agnn.safetensors", "--graph.side", 32, "--out", tmp_path / "masks")
    assert main(["segment", str(video), *(str(word) for word in words)]) == 0
    assert len(list((tmp_path / "masks" / held[0]).iterdir())) == 4


def test_several_datasets_and_their_splits_are_given_as_words(phi: Path, tmp_path: Path) -> None:
    roots = [write_squares(tmp_path / name, videos=2, frames=4) for name in ("first", "second")]
    (roots[0] / "ImageSets").mkdir()
    (roots[0] / "ImageSets/one.txt").write_text("square1")
    (roots[1] / "ImageSets").mkdir()
    (roots[1] / "ImageSets/both.txt").write_text("square0\nsquare1")
    both = ("--data", roots[0], "--split", "one", "--data", roots[1], "--split", "both")
    words = (*both, "--weights", phi, "--steps", 1, "--hold", 1)
    assert finetune(*words, "--out", tmp_path / "run") == 0
    (held,) = (tmp_path / "run/held_out.txt").read_text().split()
    assert held in ("first-square1", "second-square0", "second-square1")
    assert load_weights(tmp_path / "run/agnn.safetensors")[1]["training"] == (
        "2 videos, labels: annotations (first, second)"
    )


def test_the_backbone_alone_learns_and_segments(moving_squares: Squares, phi: Path, tmp_path: Path) -> None:
    root, run, masks = moving_squares(videos=1, frames=3), tmp_path / "run", tmp_path / "masks"
    assert finetune("--data", root, "--weights", phi, "--out", run, "--steps", 2, "--no-model.graph") == 0
    video, weights = root / "JPEGImages/480p/square0", run / "agnn.safetensors"
    assert main(["segment", str(video), "--system", "agnn", "--weights", str(weights), "--out", str(masks)]) == 0
    assert len(list((masks / "square0").iterdir())) == 3
    after, _ = load_weights(weights)
    torch.manual_seed(0)
    before = AGNN(after.config)
    for name in ("intermediate", "embedding.aspp.project.0"):
        begun = before.get_submodule(name).weight
        assert not torch.equal(after.get_submodule(name).weight, begun.half().float())


def test_maps_become_probabilities_in_the_end(moving_squares: Squares, phi: Path, tmp_path: Path) -> None:
    root = moving_squares(videos=4, frames=4)
    words = ("--data", root, "--weights", phi, "--steps", 3)
    assert finetune(*words, "--out", tmp_path / "moved") == 0
    assert finetune(*words, "--out", tmp_path / "learned", "--no-calibrate") == 0
    moved, metadata = load_weights(tmp_path / "moved/agnn.safetensors")
    learned, silent = load_weights(tmp_path / "learned/agnn.safetensors")
    assert metadata["calibrated"] == "true" and "calibrated" not in silent
    shares = foreground_shares(open_annotated(root))
    frames = torch.rand(1, 2, 3, 32, 32)
    assert torch.allclose(moved(frames) + math.log(raised_odds(shares)), learned(frames), atol=1e-3)


@pytest.mark.parametrize("scratch", [False, True])
def test_a_trunk_without_a_rate_stays_unless_it_begins_at_random(
    moving_squares: Squares, phi: Path, tmp_path: Path, scratch: bool
) -> None:
    words = ("--scratch",) if scratch else ("--weights", phi)
    run = ("--data", moving_squares(videos=2, frames=4), "--trunk_rate", 0, "--out", tmp_path / "run", *words)
    assert finetune(*run, "--steps", 2) == 0
    trained = load_file(tmp_path / "run/agnn.safetensors")
    begun = load_file(phi)
    torch.manual_seed(0)
    random = AGNN(load_weights(tmp_path / "run/agnn.safetensors")[0].config).state_dict()
    kernel = "resnet.layer1.0.conv1.weight"
    before = random[f"embedding.trunk.phi.{kernel}"] if scratch else begun[f"phi.{kernel}"]
    assert torch.equal(trained[f"embedding.trunk.phi.{kernel}"], before.half()) is not scratch
    assert not torch.equal(trained["embedding.aspp.pooled.weight"], random["embedding.aspp.pooled.weight"].half())


def test_still_images_train_the_embedding_every_other_step(
    moving_squares: Squares, phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stills = tmp_path / "stills"
    for folder, mode in (("images", "RGB"), ("masks", "L")):
        (stills / folder).mkdir(parents=True)
        for index in range(3):
            picture = Image.new(mode, (40, 40))
            picture.paste((255,) * len(mode), (5, 5, 20 + index, 25))
            picture.save(stills / folder / f"{index}.png")
    untouched: list[bool] = []
    step = command.train_step

    def watched(run: command.Run, *rest: object) -> object:
        graph = [getattr(run.trainable.network, part) for part in ("readout", "update", "messages")]
        before = [p.clone() for part in graph for p in part.parameters()]
        done = step(run, *rest)  # type: ignore[arg-type]
        untouched.append(all(map(torch.equal, before, (p for part in graph for p in part.parameters()))))
        return done

    monkeypatch.setattr(command, "train_step", watched)
    words = ("--data", moving_squares(videos=2, frames=4), "--weights", phi, "--optimiser.weight_decay", 0)
    assert finetune(*words, "--stills", f"[{stills}]", "--steps", 2, "--out", tmp_path / "run") == 0
    assert [(row["still"] != "", row["video"] != "") for row in rows(tmp_path / "run")] == [
        (True, False),
        (False, True),
    ]
    assert untouched == [True, False]


def test_no_annotation_is_needed_with_labels_of_its_own(moving_squares: Squares, phi: Path, tmp_path: Path) -> None:
    root = moving_squares(videos=1, frames=6, height=64, width=96)
    for path in root.glob("Annotations/480p/*/*.png"):
        path.unlink()
    out = tmp_path / "run"
    words = ("--data", root, "--weights", phi, "--labels", "pseudo", "--pseudo_frames", 4, "--steps", 1, "--out", out)
    assert finetune(*words) == 0
    assert list((out / "pseudo/Annotations/480p/square0").iterdir())
    assert "labels: pseudo" in load_weights(out / "agnn.safetensors")[1]["training"]


def test_frozen_batch_norm_stays_and_the_rest_of_the_trunk_learns(
    moving_squares: Squares, phi: Path, tmp_path: Path
) -> None:
    words = ("--data", moving_squares(videos=2, frames=4), "--weights", phi, "--steps", 1, "--out", tmp_path / "run")
    assert finetune(*words) == 0
    trained, _ = load_weights(tmp_path / "run/agnn.safetensors")
    before = load_mug(phi)[0].phi.resnet
    after = trained.embedding.trunk.phi.resnet
    assert torch.equal(before.bn1.running_mean, after.bn1.running_mean)
    assert torch.equal(before.bn1.weight, after.bn1.weight)
    assert not torch.equal(before.layer1[0].conv1.weight, after.layer1[0].conv1.weight)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--steps", "0"), "steps: 0 is too few"),
        (("--hold", "9"), "--hold 9: leaves nothing"),
        (("--hold", "-1"), "hold: -1 is negative"),
        (("--graphs", "-1"), "graphs: -1 is negative"),
        (("--sample.videos", "3", "--engine.devices", "2"), "sample.videos: 3 cannot be shared"),
        (("--model.embedding.backbone.depth", "34"), "its phi has depth 18, not 34"),
        (("--model.embedding.kind", "resnet"), "--model.embedding.backbone.stages: has no effect here: is not of"),
        (("--stills", "[nowhere]"), "nowhere: holds no images with masks"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    moving_squares: Squares,
    phi: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    expected: str,
) -> None:
    weights = () if "resnet" in words else ("--weights", phi)
    data = moving_squares(videos=2, frames=2)
    assert finetune("--data", data, *weights, "--out", tmp_path / "run", "--steps", 1, *words) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_parses_and_the_papers_stay_in_float32(config: Path) -> None:
    words = [yaml.safe_load(config.read_text())["system"], "--config", str(config), "--data", "DAVIS", "--out", "run"]
    options = parse("mug finetune", finetune_options(words), ("system",), words)
    command.check(options)
    assert options.engine.precision == ("auto" if config.stem.endswith("_cpu") else "32-true")

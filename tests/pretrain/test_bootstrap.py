"""Labels of the next round: which maps, with which weights, made from which prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mug.backbone import Features
from mug.errors import InputError
from mug.media.masks import read_soft, write_soft
from mug.model import MuG
from mug.options import BackboneConfig, ModelConfig
from pretrain import bootstrap
from pretrain.bootstrap import Relabelling, label_frames, label_path, label_weights, relabel, require_labels
from pretrain.dataset import TrainingSamples, collate
from pretrain.options import LabelOptions
from pretrain.sampling import SampleOptions
from pretrain.videos import VideoIndex

HOW = Relabelling(stride=3, references=2, size=48, refinement="none", binary=False)
CPU = torch.device("cpu")
NONE = Path("no priors: soft labels do not need them")


@pytest.fixture
def index(moving_squares: Callable[..., Path], tmp_path: Path) -> VideoIndex:
    return VideoIndex.build(moving_squares(videos=2, frames=7), tmp_path / "cache")


@pytest.fixture(scope="module")
def network() -> MuG:
    torch.manual_seed(0)
    return MuG(ModelConfig(BackboneConfig(depth=18, stages=1, stride=4)))


def maps_in(folder: Path) -> dict[str, np.ndarray]:
    return {str(path.relative_to(folder)): read_soft(path) for path in sorted(folder.rglob("*.png"))}


def test_every_label_frame_gets_a_map_at_its_size(index: VideoIndex, network: MuG, tmp_path: Path) -> None:
    relabel(network.train(), index, NONE, tmp_path / "new", HOW, CPU)
    maps = maps_in(tmp_path / "new")
    assert list(maps) == [f"square{v}/{i:05d}.png" for v in (0, 1) for i in (0, 3, 6)]
    assert {soft.shape for soft in maps.values()} == {index[0].size}
    assert network.training
    require_labels([tmp_path / "new"], index, 3)


def test_relabelling_goes_on_where_it_was_stopped_and_repeats_itself(
    index: VideoIndex, network: MuG, tmp_path: Path
) -> None:
    relabel(network, index, NONE, tmp_path / "whole", HOW, CPU)
    relabel(network, index[:1], NONE, tmp_path / "parts", HOW, CPU)
    kept = label_path(tmp_path / "parts", index[0], 0)
    stamp = kept.stat().st_mtime_ns
    write_soft(label_path(tmp_path / "parts", index[1], 3), np.zeros(index[1].size, np.uint8))
    relabel(network, index, NONE, tmp_path / "parts", HOW, CPU)
    assert kept.stat().st_mtime_ns == stamp
    whole, parts = maps_in(tmp_path / "whole"), maps_in(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def ramp(size: tuple[int, int]) -> np.ndarray:
    """(H, W) in [0, 1], rising to the right."""
    return np.broadcast_to((np.arange(size[1]) + 0.5) / size[1], size).astype(np.float32)


def predict(
    monkeypatch: pytest.MonkeyPatch, network: MuG, probability: Callable[[tuple[int, int]], np.ndarray]
) -> None:
    """Lets the readout say `probability(h, w)` of every frame."""

    def say(query: Features, source: Features) -> torch.Tensor:
        size = (query.match.shape[-2], query.match.shape[-1])
        return torch.from_numpy(probability(size).copy()).expand(len(query.match), 1, *size)

    monkeypatch.setattr(network, "segment_frame", say)


def write_prior(folder: Path, index: VideoIndex, share: float) -> Path:
    """Initial maps of the first video, so much of each foreground, at the left."""
    height, width = index[0].size
    for i in label_frames(index[0], 3):
        soft = np.where(np.arange(width) < share * width, 200, 100).astype(np.uint8)
        write_soft(label_path(folder, index[0], i), np.broadcast_to(soft, (height, width)))
    return folder


def relabelled(index: VideoIndex, network: MuG, prior: Path, out: Path, how: Relabelling) -> np.ndarray:
    relabel(network, index[:1], prior, out, how, CPU)
    return np.stack(list(maps_in(out).values()))


@pytest.mark.parametrize("refinement", ["none", "guided", "crf"])
@pytest.mark.parametrize("predicted", [0.2, 0.5, 0.95])
def test_foreground_neither_vanishes_nor_falls_below_the_prior(
    index: VideoIndex, network: MuG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refinement: str, predicted: float
) -> None:
    """Also where the model finds more of it than the prior has, and refined maps are nearly 0 or 1."""
    if refinement == "crf":
        pytest.importorskip("pydensecrf")
    predict(monkeypatch, network, lambda size: np.where(ramp(size) > 1 - predicted, 0.9, 0.1).astype(np.float32))
    prior = write_prior(tmp_path / "prior", index, 0.8 * predicted)
    how = Relabelling(stride=3, references=2, size=48, refinement=refinement, binary=True)  # type: ignore[arg-type]
    labels = relabelled(index, network, prior, tmp_path / "new", how)
    assert set(np.unique(labels)) == {0, 255}
    assert (labels == 255).mean() == pytest.approx(predicted, abs=0.08)


@pytest.mark.parametrize("most", [0.3, 0.6, 0.999])
def test_unsure_predictions_are_cut_where_the_prior_has_as_much_foreground(
    index: VideoIndex, network: MuG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: float
) -> None:
    """Nowhere above one half, a cut there would leave nothing; what is likelier foreground than not is always kept."""
    predict(monkeypatch, network, lambda size: most * ramp(size))
    prior = write_prior(tmp_path / "prior", index, 0.25)
    how = Relabelling(stride=3, references=2, size=48, refinement="none", binary=True)
    labels = relabelled(index, network, prior, tmp_path / "new", how)
    assert (labels == 255).mean() == pytest.approx(max(0.25, 1 - 0.5 / most), abs=0.03)
    assert (labels[..., -8:] == 255).all() and (labels[..., :20] == 0).all()


def test_refinement_sees_the_frame_and_a_map_whose_half_is_the_cut(
    index: VideoIndex, network: MuG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(monkeypatch, network, lambda size: 0.3 * ramp(size))
    seen = []

    def watch(frame: np.ndarray, probability: np.ndarray, kind: str) -> np.ndarray:
        assert frame.shape[:2] == probability.shape == index[0].size
        assert kind == "guided"
        seen.append(probability)
        return probability

    monkeypatch.setattr(bootstrap, "refine", watch)
    prior = write_prior(tmp_path / "prior", index, 0.25)
    how = Relabelling(stride=3, references=2, size=48, refinement="guided", binary=True)
    relabelled(index, network, prior, tmp_path / "binary", how)
    assert (np.stack(seen) > 0.5).mean() == pytest.approx(0.25, abs=0.03)
    soft = relabelled(index, network, NONE, tmp_path / "soft", replace(how, binary=False))
    assert 70 < soft.max() < 80 and len(np.unique(soft)) > 20


def test_the_cut_keeps_at_least_the_share_and_equal_values_together() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1, 1281) / 2600).reshape(2, 16, 40).astype(np.float32)
    for share in (0.0, 0.1, 0.5, 1.0):
        assert (values > bootstrap._cut(values, share)).mean() == pytest.approx(share)
    tied = np.repeat(np.float32([0.1, 0.3, 0.4]), 10)
    assert [(tied > bootstrap._cut(tied, share)).sum() for share in (0.0, 0.01, 0.34, 0.9)] == [0, 10, 20, 30]
    assert bootstrap._cut(np.float32([0.2, 0.6, 1.0, 1.0]), 0.1) == 0.5
    assert 0 < bootstrap._cut(np.float32([0.0, 0.2]), 1.0) < 0.2


@pytest.mark.parametrize(("squeeze", "seen"), [(False, (48, 64)), (True, (48, 48))])
def test_frames_are_seen_as_in_training(
    index: VideoIndex, network: MuG, tmp_path: Path, squeeze: bool, seen: tuple[int, int]
) -> None:
    sizes = set()
    hook = network.phi.register_forward_pre_hook(lambda _, inputs: sizes.add(tuple(inputs[0].shape[-2:])))
    labels = relabelled(index, network, NONE, tmp_path / "new", replace(HOW, squeeze=squeeze))
    hook.remove()
    assert sizes == {seen}
    assert labels.shape[1:] == index[0].size


def test_no_frame_is_a_reference_of_itself() -> None:
    assert bootstrap._others([0, 5, 9], 5) == [0, 2]
    assert bootstrap._others([0, 5, 9], 8) == [0, 1]


@pytest.mark.parametrize(("keep", "of_prior"), [("prediction", 0.25), ("label", 0.75)])
def test_the_next_round_learns_from_equation_15(index: VideoIndex, tmp_path: Path, keep: str, of_prior: float) -> None:
    prior, labels = tmp_path / "prior", tmp_path / "labels"
    for folder, value in ((prior, 200), (labels / "round1", 40)):
        for video in index:
            for i in label_frames(video, 3):
                write_soft(label_path(folder, video, i), np.full(video.size, value, np.uint8))
    options = LabelOptions(stride=3, alpha=0.25, keep=keep)  # type: ignore[arg-type]
    assert label_weights(prior, labels, 1, options) == {prior: 1.0}
    weights = label_weights(prior, labels, 2, options)
    samples = TrainingSamples(index, weights, SampleOptions(size=32, abstract=2), 1, 0, 3)
    target = collate([samples[(2, 0, 0)]]).augment(8).labels
    target = target[~target.isnan()]
    assert len(target) >= 16
    expected = (of_prior * 200 + (1 - of_prior) * 40) / 255
    torch.testing.assert_close(target, torch.full_like(target, expected), atol=0.5 / 255, rtol=0)


def test_a_missing_map_is_named(index: VideoIndex, network: MuG, tmp_path: Path) -> None:
    relabel(network, index, NONE, tmp_path / "new", HOW, CPU)
    label_path(tmp_path / "new", index[1], 3).unlink()
    with pytest.raises(InputError, match=r"square1/00003\.png: this map is missing"):
        require_labels([tmp_path / "new"], index, 3)

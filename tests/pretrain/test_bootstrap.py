"""Labels of the next round: which maps, with which weights, made from which prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mug.backbone import BackboneConfig
from mug.errors import InputError
from mug.granularity.frame import bootstrap_target
from mug.masks import read_soft, write_soft
from mug.model import ModelConfig, MuG
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
    relabel(network.train(), index.videos, NONE, tmp_path / "new", HOW, CPU)
    maps = maps_in(tmp_path / "new")
    assert list(maps) == [f"square{v}/{i:05d}.png" for v in (0, 1) for i in (0, 3, 6)]
    assert {soft.shape for soft in maps.values()} == {index[0].size}
    assert network.training
    require_labels([tmp_path / "new"], index, 3)


def test_relabelling_goes_on_where_it_was_stopped_and_repeats_itself(
    index: VideoIndex, network: MuG, tmp_path: Path
) -> None:
    relabel(network, index.videos, NONE, tmp_path / "whole", HOW, CPU)
    relabel(network, index.videos[:1], NONE, tmp_path / "parts", HOW, CPU)
    kept = label_path(tmp_path / "parts", index[0], 0)
    stamp = kept.stat().st_mtime_ns
    write_soft(label_path(tmp_path / "parts", index[1], 3), np.zeros(index[1].size, np.uint8))
    relabel(network, index.videos, NONE, tmp_path / "parts", HOW, CPU)
    assert kept.stat().st_mtime_ns == stamp
    whole, parts = maps_in(tmp_path / "whole"), maps_in(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize(("binary", "values"), [(True, [0, 255]), (False, [51, 102])])
def test_labels_are_the_refined_readout_with_as_much_foreground_as_the_prior(
    index: VideoIndex, network: MuG, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, binary: bool, values: list[int]
) -> None:
    """Unsure predictions, nowhere above one half: a cut there would leave no foreground at all."""

    def watch(frame: np.ndarray, probability: np.ndarray, kind: str) -> np.ndarray:
        assert frame.shape[:2] == probability.shape
        assert kind == "guided"
        return np.where(np.arange(probability.shape[1]) < 20, 0.4, 0.2) * np.ones_like(probability)

    monkeypatch.setattr(bootstrap, "refine", watch)
    how = Relabelling(stride=3, references=2, size=48, refinement="guided", binary=binary)
    columns = np.where(np.arange(index[0].size[1]) >= index[0].size[1] - 20, 200, 100)  # as much, elsewhere
    for i in label_frames(index[0], 3):
        write_soft(
            label_path(tmp_path / "prior", index[0], i), np.broadcast_to(columns, index[0].size).astype(np.uint8)
        )
    relabel(network, index.videos[:1], tmp_path / "prior", tmp_path / "new", how, CPU)
    for soft in maps_in(tmp_path / "new").values():
        assert np.unique(soft).tolist() == values
        assert (soft[:, :20] == values[1]).all()


def test_the_surest_are_as_many_as_asked_for() -> None:
    maps = np.random.default_rng(0).permutation(np.repeat(np.arange(256, dtype=np.uint8), 10)).reshape(2, 32, 40)
    for share in (0.0, 0.1, 0.5, 1.0):
        chosen = bootstrap._surest(maps, share)
        assert chosen.mean() == pytest.approx(share, abs=1 / 256)
        assert share in (0.0, 1.0) or maps[chosen].min() > maps[~chosen].max()


def test_no_frame_is_a_reference_of_itself() -> None:
    assert bootstrap._others([0, 5, 9], 5) == [0, 2]
    assert bootstrap._others([0, 5, 9], 8) == [0, 1]


@pytest.mark.parametrize("keep", ["prediction", "label"])
def test_the_next_round_learns_from_equation_15(index: VideoIndex, tmp_path: Path, keep: str) -> None:
    prior, labels = tmp_path / "prior", tmp_path / "labels"
    for folder, value in ((prior, 200), (labels / "round1", 40)):
        for video in index:
            for i in label_frames(video, 3):
                write_soft(label_path(folder, video, i), np.full(video.size, value, np.uint8))
    options = LabelOptions(stride=3, alpha=0.25, keep=keep)  # type: ignore[arg-type]
    assert label_weights(prior, labels, 1, options) == {prior: 1.0}
    weights = label_weights(prior, labels, 2, options)
    samples = TrainingSamples(index, weights, SampleOptions(size=32, patch=8, abstract=2), 1, 0, 3)
    target = collate([samples[(2, 0, 0)]]).augment(8).labels
    expected = bootstrap_target(torch.tensor(200 / 255), torch.tensor(40 / 255), 0.25, keep)  # type: ignore[arg-type]
    torch.testing.assert_close(target, expected.expand_as(target), atol=0.5 / 255, rtol=0)


def test_a_missing_map_is_named(index: VideoIndex, network: MuG, tmp_path: Path) -> None:
    relabel(network, index.videos, NONE, tmp_path / "new", HOW, CPU)
    label_path(tmp_path / "new", index[1], 3).unlink()
    with pytest.raises(InputError, match=r"square1/00003\.png: this map is missing"):
        require_labels([tmp_path / "new"], index, 3)

"""Training samples of a head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from downstream.training.options import Clip, SampleOptions
from downstream.training.samples import Samples, collate, draw_nodes, grid_target
from mug.errors import InputError
from mug.media.masks import VOID


class Numbers:
    """Frames whose mask is their own brightness: bright, object; dark, background."""

    def __init__(self, name: str, length: int, alike: bool = True) -> None:
        self.name, self.length, self.alike = name, length, alike

    def __len__(self) -> int:
        return self.length

    def read(self, index: int, shorter: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0 if self.alike else index)
        mask = np.zeros((36, 48), np.uint8)
        y, x = rng.integers(0, 20, 2)
        mask[y : y + 16, x : x + 16] = 1
        return np.repeat(200 * mask[..., None], 3, -1) + np.uint8(index), mask


OPTIONS = SampleOptions(size=32, videos=2, nodes=3, jitter=0, hue=0)


def test_frames_of_a_video_change_alike_and_images_of_a_group_do_not() -> None:
    for alike in (True, False):
        sample = Samples([Numbers("v", 9, alike)], [], OPTIONS, 0)[(0, 0, 0)]
        assert sample["frames"].shape == (3, 3, 32, 32)
        assert sample["masks"].dtype == torch.uint8
        assert sample["name"] == "v"
        same = [torch.equal(sample["masks"][0], mask) for mask in sample["masks"][1:]]
        assert all(same) if alike else not any(same)


def test_masks_go_where_their_frames_go() -> None:
    sample = Samples([Numbers("v", 9)], [], OPTIONS, 0)[(0, 5, 1)]
    bright = sample["frames"][:, 0].float() > 100
    assert ((bright == (sample["masks"] == 1)).float().mean() > 0.95).item()


def test_a_sample_depends_on_its_key_and_the_seed_alone() -> None:
    sources = [Numbers(f"v{i}", 9) for i in range(4)]
    samples = Samples(sources, [], OPTIONS, 3)
    first = samples[(0, 7, 1)]
    torch.rand(5)
    samples[(0, 2, 0)]
    again = Samples(sources, [], OPTIONS, 3)[(0, 7, 1)]
    assert torch.equal(first["frames"], again["frames"])
    other = Samples(sources, [], OPTIONS, 4)[(0, 7, 1)]
    assert not torch.equal(first["frames"], other["frames"])


def test_every_video_has_its_turn_and_stills_come_in_between() -> None:
    sources, stills = [Numbers(f"v{i}", 9) for i in range(4)], [Numbers("still", 30, alike=False)]
    alone = Samples(sources, [], OPTIONS, 0)
    assert sorted(alone.source(step, i).name for step in range(2) for i in range(2)) == ["v0", "v1", "v2", "v3"]
    mixed = Samples(sources, stills, OPTIONS, 0)
    assert [mixed.shows_stills(step) for step in range(4)] == [True, False, True, False]
    assert mixed[(0, 0, 0)]["name"] == "still"
    names = [mixed[(0, step, i)]["name"] for step in (1, 3) for i in range(2)]
    assert sorted(names) == ["v0", "v1", "v2", "v3"]


def test_nodes_come_from_equal_segments() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_nodes(Numbers("v", 10), 3, rng) for _ in range(200)])
    assert [set(column) for column in drawn.T] == [{0, 1, 2}, {3, 4, 5}, {6, 7, 8, 9}]
    assert sorted(draw_nodes(Numbers("v", 2), 3, rng)) == [0, 0, 1]
    assert len(set(draw_nodes(Numbers("g", 5, alike=False), 5, rng))) == 5


def test_targets_are_shares_of_what_is_known() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.uint8)
    mask[0, :2, :2] = torch.tensor([[1, 0], [VOID, 1]])
    mask[0, 2:, 2:] = VOID
    target = grid_target(mask, (2, 2))[0]
    assert target[0, 0] == pytest.approx(2 / 3)
    assert target[0, 1] == target[1, 0] == 0
    assert target[1, 1].isnan()


def test_batches_put_samples_together() -> None:
    samples = Samples([Numbers("v", 9), Numbers("w", 9)], [], OPTIONS, 0)
    batch = collate([samples[(0, 0, 0)], samples[(0, 0, 1)]])
    assert batch["frames"].shape == (2, 3, 3, 32, 32)
    assert batch["masks"].shape == (2, 3, 32, 32)
    assert sorted(batch["names"]) == ["v", "w"]


@pytest.mark.parametrize("wrong", [{"size": 8}, {"videos": 0}, {"nodes": 0}, {"crop": 0.0}, {"jitter": 2.0}])
def test_numbers_that_no_sample_can_have(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"sample.{next(iter(wrong))}"):
        SampleOptions(**wrong)  # type: ignore[arg-type]


def test_successive_frames_keep_their_distance_and_order() -> None:
    rng = np.random.default_rng(0)
    clip = Clip("successive", gap=2)
    drawn = np.stack([draw_nodes(Numbers("v", 7), 3, rng, clip) for _ in range(200)])
    assert {tuple(np.diff(row)) for row in drawn} == {(1, 1), (2, 2)}
    assert (drawn.min(), drawn.max()) == (0, 6)
    assert draw_nodes(Numbers("v", 2), 4, rng, clip).tolist() == [0, 1, 1, 1]
    anywhere = np.stack([draw_nodes(Numbers("v", 7), 2, rng, Clip("any")) for _ in range(200)])
    assert (anywhere[:, 0] != anywhere[:, 1]).all()
    assert (np.diff(anywhere) < 0).any() and (np.diff(anywhere) > 0).any()


class Two(Numbers):
    """The object has the id 2."""

    def read(self, index: int, shorter: int) -> tuple[np.ndarray, np.ndarray]:
        frame, mask = super().read(index, shorter)
        return frame, 2 * mask


def test_objects_keep_their_ids_if_the_system_asks() -> None:
    for objects, ids in ((False, [0, 1]), (True, [0, 2])):
        sample = Samples([Two("v", 9)], [], OPTIONS, 0, Clip(objects=objects))[(0, 0, 0)]
        assert sample["masks"].unique().tolist() == ids


def test_frames_need_not_be_square() -> None:
    options = SampleOptions(size=32, width=56, nodes=2, crop=1.0, aspect=1.0, jitter=0, hue=0)
    sample = Samples([Numbers("v", 9)], [], options, 0)[(0, 5, 1)]
    assert sample["frames"].shape == (2, 3, 32, 56)
    assert sample["masks"].shape == (2, 32, 56)
    bright = sample["frames"][:, 0].float() > 100
    assert ((bright == (sample["masks"] == 1)).float().mean() > 0.95).item()
    read = (Numbers("v", 9).read(0, 32)[1] == 1).mean()
    assert (sample["masks"] == 1).float().mean().item() == pytest.approx(read, abs=0.01)  # all of the frame is in it

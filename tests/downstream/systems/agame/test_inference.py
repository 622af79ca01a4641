"""Carrying masks through a video with A-GAME."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.one_shot.aggregate import LIMIT
from downstream.systems.agame import AGAMEOneShot
from downstream.systems.agame.inference import Tracker
from downstream.systems.agame.network import AGAME, FORMAT
from mug.cli import main
from mug.errors import InputError
from mug.media.masks import read_mask
from tests.downstream.systems.agame.small import network

Squares = Callable[..., Path]


@pytest.fixture(scope="module")
def net() -> AGAME:
    made = network().float()
    for layer in (made.fusion.coarse, made.upsampling.final):
        layer.weight.data *= 4  # the masks of random weights are almost even
    return made


def frames(count: int, size: tuple[int, int] = (45, 61), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def stripes(objects: int, size: tuple[int, int] = (45, 61), first: int = 1) -> np.ndarray:
    """A mask with a stripe for each object, and a row of void."""
    mask = np.zeros(size, np.uint8)
    for i, rows in enumerate(np.array_split(np.arange(1, size[0] - 2), objects), first):
        mask[rows, 10:40] = i
    mask[-1] = 255
    return mask


def followed(net: AGAME, shown: np.ndarray, given: dict[int, np.ndarray], **options: object) -> list[np.ndarray]:
    tracker = Tracker(net, AGAMEOneShot(**options))  # type: ignore[arg-type]
    return [tracker.step(frame, given.get(t)) for t, frame in enumerate(shown)]


@torch.no_grad()
@pytest.mark.parametrize("feedback", ["final", "coarse"])
def test_it_is_the_network_frame_by_frame(net: AGAME, feedback: str) -> None:
    """At a size that needs no padding: what is fed back, and what is written."""
    size, shown, mask = (40, 64), frames(3, (40, 64)), stripes(2, (40, 64))
    found = followed(net, shown, {0: mask}, feedback=feedback)
    batch = torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(np.stack([mask == i for i in (1, 2)]).astype(np.float32))[:, None]
    state = net.begin(net.see(batch[:1]).of([2]), y)
    for t in (1, 2):
        seen = net.see(batch[t : t + 1]).of([2])
        coarse, final = net.step(seen, state)
        maps = [joint(F.interpolate(final, size, mode="bilinear")), joint(coarse)]
        state = net.update(seen, state, maps[feedback == "coarse"][1:, None])
        assert np.mean(found[t] != maps[0].argmax(0).numpy()) < 1e-3  # rounding
    assert np.array_equal(found[0], np.where(mask == 255, 0, mask))
    assert len(np.unique(found[2])) > 1


def joint(logits_m1hw: Tensor) -> Tensor:
    """Softmax aggregation of two objects."""
    p = logits_m1hw[:, 0].double().clamp(-LIMIT, LIMIT).sigmoid()
    everything = torch.cat([(1 - p).prod(0, keepdim=True), p])
    odds = everything / (1 - everything)
    return (odds / odds.sum(0)).float()


def test_masks_have_the_size_and_the_ids_of_the_video(net: AGAME) -> None:
    for size in ((45, 61), (32, 48), (33, 34)):
        mask = np.where(stripes(2, size) == 2, 200, stripes(2, size))
        found = followed(net, frames(3, size), {0: mask})
        assert [m.shape for m in found] == [size] * 3 and all(m.dtype == np.uint8 for m in found)
        assert set(np.unique(found)) <= {0, 1, 200}
        assert set(np.unique(found[0])) == {0, 1, 200}


@pytest.mark.parametrize("feedback", ["final", "coarse"])
def test_eleven_objects_in_any_batches(net: AGAME, feedback: str) -> None:
    given = {0: stripes(7), 2: stripes(4, first=8)}
    shown = frames(4)
    found = followed(net, shown, given, batch=3, feedback=feedback)
    assert set(np.unique(found[2])) >= {8, 9, 10, 11}
    for other in (1, 4, 50):
        again = followed(net, shown, given, batch=other, feedback=feedback)
        assert np.mean(np.stack(found) != np.stack(again)) < 1e-3  # rounding


def test_frames_with_a_given_mask_show_it(net: AGAME) -> None:
    """Its objects are as given, also those already known; others keep their carried mask around it."""
    late = np.zeros((45, 61), np.uint8)
    late[20:40, 5:50], late[0] = 5, 255
    again = np.zeros((45, 61), np.uint8)
    again[3:9, 30:60] = 1
    shown, given = frames(5), {1: stripes(2), 3: late, 4: again}
    found = followed(net, shown, given)
    assert not found[0].any()
    assert np.array_equal(found[3] == 5, late == 5)
    assert np.array_equal(found[4] == 1, again == 1)
    carried = followed(net, shown, {1: stripes(2)})
    assert np.array_equal(found[2], carried[2])
    free = (late == 0) | (late == 255)
    assert np.array_equal(found[3][free], carried[3][free])


@pytest.mark.parametrize("feedback", ["final", "coarse"])
def test_what_a_given_mask_claims_is_not_fed_back_to_others(net: AGAME, feedback: str) -> None:
    late = np.full((48, 64), 5, np.uint8)
    late[:16] = 0
    tracker = Tracker(net, AGAMEOneShot(feedback=feedback))  # type: ignore[arg-type]
    for frame, mask in zip(frames(2, (48, 64)), (stripes(2, (48, 64)), late), strict=True):
        tracker.step(frame, mask)
    for i in (1, 2):
        mask_hw = tracker._states[i].mask[0, 0]
        assert mask_hw[:2].max() > 0
        assert mask_hw[2:].max() == 0
    assert tracker._states[5].mask[0, 0, 2:].min() == 1


def test_a_later_mask_begins_its_object_anew(net: AGAME) -> None:
    """As if the video began there, if no other object is known."""
    shown, mask = frames(4), stripes(1)
    assert np.array_equal(
        followed(net, shown, {0: np.roll(mask, 9), 2: mask})[3], followed(net, shown[2:], {0: mask})[1]
    )


def test_a_mask_without_an_object_gives_nothing(net: AGAME) -> None:
    nothing = np.zeros((45, 61), np.uint8)
    found = followed(net, frames(3), {0: nothing, 1: stripes(1), 2: nothing})
    assert not found[0].any()
    assert np.array_equal(found[2], followed(net, frames(3)[1:], {0: stripes(1)})[1])


def test_a_size_resizes_the_frames_that_the_network_sees(net: AGAME, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    see = net.see
    monkeypatch.setattr(net, "see", lambda batch: sizes.append(tuple(batch.shape[-2:])) or see(batch))
    for size in (None, 32, 90):
        (found, *_) = followed(net, frames(2), {0: stripes(1)}, size=size)
        assert found.shape == (45, 61)
    assert sizes[::2] == [(48, 64), (32, 48), (96, 128)]


def test_memory_does_not_grow_with_the_video(net: AGAME) -> None:
    shown = frames(1)[0]
    tracker = Tracker(net)
    tracker.step(shown, stripes(2))
    for _ in range(3):
        tracker.step(shown)
    tracemalloc.start()
    before = None
    for t in range(12):
        tracker.step(shown)
        if t == 1:
            before = tracemalloc.get_traced_memory()[0]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert before is not None and after - before < 20_000  # a frame has 8 kB
    state = tracker._states[1]
    assert state.mask.shape == (1, 1, 6, 8)


@pytest.mark.parametrize(("wrong", "named"), [({"size": 8}, "--size 8"), ({"batch": 0}, "--batch 0")])
def test_settings_out_of_range(net: AGAME, wrong: dict[str, int], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Tracker(net, AGAMEOneShot(**wrong))


# --- as a user types it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4])
def test_the_command_writes_a_mask_of_every_frame(
    moving_squares: Squares, net: AGAME, tmp_path: Path, count: int
) -> None:
    FORMAT.save(tmp_path / "agame.safetensors", net, {"options": json.dumps({"sample": {"size": 40}})})
    root = moving_squares(videos=1, frames=count, objects=2)
    words = ["propagate", str(root), "--system", "agame", "--weights", str(tmp_path / "agame.safetensors")]
    assert main([*words, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    written = [read_mask(path) for path in sorted((tmp_path / "out/square0").glob("*.png"))]
    assert len(written) == count
    assert np.array_equal(written[0], read_mask(root / "Annotations/480p/square0/00000.png"))


def test_weights_have_to_be_given_and_to_be_agames(
    moving_squares: Squares, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mug.checkpoint import packaged_weights

    words = ["propagate", str(moving_squares(videos=1, frames=2)), "--system", "agame", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "mug finetune agame" in capsys.readouterr().err
    assert main([*words, "--weights", str(packaged_weights())]) == 2
    assert "holds no agame" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

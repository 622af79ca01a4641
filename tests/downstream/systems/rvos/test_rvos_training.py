"""RVOS as it is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from downstream.systems.rvos import RVOSConfig, RVOSFinetuneOptions
from downstream.systems.rvos.network import FORMAT, Decoded
from downstream.systems.rvos.training import NOWHERE, RVOSTraining
from downstream.training.options import Clip
from mug.command.options import parse
from mug.errors import InputError
from tests.downstream.systems.rvos.dense import TRUNK, small


def trainable(task: str = "one-shot", **more: object) -> RVOSTraining:
    """A small model that begins at random."""
    model = RVOSConfig(trunk=TRUNK, task=task, hidden=8)  # type: ignore[arg-type]
    options = {"system": "rvos", "data": Path("data"), "out": Path("out"), "scratch": True, "model": model, **more}
    torch.manual_seed(0)
    return RVOSTraining(RVOSFinetuneOptions(**options))  # type: ignore[arg-type]


def batch_of(clips: int = 2, length: int = 4, objects: int = 2, size: tuple[int, int] = (32, 48)) -> dict[str, Tensor]:
    """Objects of colours of their own that move to the right."""
    height, width = size
    masks = torch.zeros(clips, length, height, width, dtype=torch.uint8)
    for clip in range(clips):
        for t in range(length):
            for i in range(objects):
                top, left = 2 + i * (height // objects), 3 + 2 * t + 5 * clip
                masks[clip, t, top : top + height // objects - 3, left : left + 14] = i + 1
    colours = torch.tensor([[30, 60, 30], [220, 40, 40], [40, 40, 220], [40, 220, 40]], dtype=torch.uint8)
    return {"frames": colours[masks.long()].permute(0, 1, 4, 2, 3).contiguous(), "masks": masks}


def dense_loss(masks: Tensor, logits: Tensor, clips: list[int], objects: list[int], predictions: list[int]) -> float:
    """A mean of 1 - relaxed IoU over the frames that show the object."""
    terms = []
    for clip, number, prediction in zip(clips, objects, predictions, strict=True):
        for t in range(masks.shape[1]):
            known = (masks[clip, t] != 255).double()
            truth = (masks[clip, t] == number + 1).double()
            likely = logits[clip, t, prediction].double().sigmoid() * known
            both = (truth * likely).sum()
            if truth.any():
                terms.append(float(1 - both / (truth.sum() + likely.sum() - both)))
    return float(np.mean(terms))


def watched(made: RVOSTraining, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor | None], list[Decoded]]:
    """Previous masks that the decoder gets, and what it gives."""
    masks: list[Tensor | None] = []
    given: list[Decoded] = []
    decode = made.network.decode

    def watch(*args: object) -> Decoded:
        masks.append(args[4])  # type: ignore[arg-type]
        given.append(decode(*args))  # type: ignore[arg-type]
        return given[-1]

    monkeypatch.setattr(made.network, "decode", watch)
    return masks, given


def test_one_shot_loss_is_the_mean_over_objects_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    made, batch = trainable(steps=10).train(), batch_of()
    batch["masks"][1][batch["masks"][1] == 2] = 0  # the second clip shows one object
    batch["masks"][0, 2:][batch["masks"][0, 2:] == 1] = 0  # that leaves
    batch["masks"][:, :, :4, :7] = 255
    batch["masks"][:, 3, 20:22] = 9  # that comes too late
    _, given = watched(made, monkeypatch)
    out = made(batch, False, 0)
    logits = torch.stack([x.logits for x in given], 1).detach()
    assert logits.shape == (2, 4, 2, 32, 48)
    expected = dense_loss(batch["masks"], logits, [0, 0, 1], [0, 1, 0], [0, 1, 0])
    assert out["total"].item() == pytest.approx(expected, abs=1e-5)
    assert out["mask"].item() == pytest.approx(expected, abs=1e-5)
    assert "stop" not in out
    assert out["logits"].shape == (8, 1, 32, 48)
    assert torch.equal(out["logits"][:4, 0], logits[0].amax(1))
    assert torch.equal(out["logits"][4:, 0], logits[1, :, 0])
    out["total"].backward()
    assert all(p.grad is not None for p in made.network.parameters() if p.requires_grad)


def test_zero_shot_loss_is_that_of_matched_predictions_and_of_stop_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    made, batch = trainable("zero-shot", stop_weight=0.25, objects=3).train(), batch_of()
    batch["masks"][1] = 0  # nothing to find
    masks, given = watched(made, monkeypatch)
    out = made(batch, False, 0)
    assert masks == [None] * 4
    logits = torch.stack([x.logits for x in given], 1).detach()
    assert logits.shape[2] == 3  # n + 2, at most `objects`
    options = [(dense_loss(batch["masks"][:, :1], logits[:, :1], [0, 0], [0, 1], [a, b]), a, b)
               for a in range(3) for b in range(3) if a != b]  # fmt: skip
    _, a, b = min(options)
    mask = dense_loss(batch["masks"], logits, [0, 0], [0, 1], [a, b])  # matched on the first frame alone
    stops = torch.stack([x.stops for x in given], 1).detach().double()  # type: ignore[misc]
    terms = [-(torch.sigmoid(s) if i < 2 else torch.sigmoid(-s)).log() for t in stops[0] for i, s in enumerate(t)]
    terms += [-torch.sigmoid(-s).log() for t in stops[1] for s in t[:2]]
    stop = float(torch.stack(terms).mean())
    assert out["mask"].item() == pytest.approx(mask, abs=1e-5)
    assert out["stop"].item() == pytest.approx(stop, abs=1e-5)
    assert out["total"].item() == pytest.approx(mask + 0.25 * stop, abs=1e-5)
    assert torch.equal(out["logits"][:4, 0], logits[0, :, [a, b]].amax(1))
    assert (out["logits"][4:] == NOWHERE).all()


def test_previous_masks_are_given_in_the_first_steps_and_inferred_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for more, first_inferred in (({"steps": 10}, 5), ({"steps": 10, "given_steps": 0}, 0)):
        made, batch = trainable(**more).train(), batch_of()
        truth = torch.stack([batch["masks"] == i for i in (1, 2)], 1)
        masks, given = watched(made, monkeypatch)
        if first_inferred:
            made(batch, False, first_inferred - 1)
            for t, shown in enumerate(masks):
                assert torch.equal(shown, truth[:, :, max(t - 1, 0)])  # type: ignore[arg-type]
        masks.clear()
        given.clear()
        made(batch, False, first_inferred)
        for t, shown in enumerate(masks):
            assert shown is not None and not shown.requires_grad
            assert torch.equal(shown, truth[:, :, 0] if t < 2 else given[t - 1].logits.sigmoid())


def test_one_frame_and_clips_without_objects_do() -> None:
    for task in ("one-shot", "zero-shot"):
        made, batch = trainable(task).train(), batch_of(length=1)
        assert made(batch, False, 0)["total"].item() > 0
        batch["masks"][:] = 0
        out = made(batch, False, 0)
        out["total"].backward()
        assert out["mask"].item() == 0
        assert out["iou"].isfinite()
        assert (out["total"] > 0) == (task == "zero-shot")  # the stop score still learns


def test_iou_is_that_of_objects_and_a_perfect_prediction_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made, batch = trainable(), batch_of()
    batch["masks"][:, 1, :9] = 255
    truth = torch.stack([batch["masks"] == i for i in (1, 2)], 2)
    perfect = truth * 60.0 - 30
    perfect[:, 1, :, :9] = 30  # void
    zeros = torch.zeros((), requires_grad=True)
    monkeypatch.setattr(made, "_decode", lambda *args: (perfect + zeros, None))
    out = made(batch, False, 0)
    assert out["iou"] == 1
    assert out["total"].item() == pytest.approx(0, abs=1e-5)
    perfect[:, :, 1] = -30  # the second object is missed
    assert made(batch, False, 0)["iou"] == 0.5


def test_the_matching_of_the_first_frame_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions that fit in reverse order at first, and in order from the second frame on, are wrong there."""
    made, batch = trainable("zero-shot"), batch_of(clips=1)
    truth = torch.stack([batch["masks"] == i for i in (1, 2)], 2)
    logits = torch.full((1, 4, 4, 32, 48), -30.0)  # n + 2 predictions
    logits[:, :, :2] += truth * 60.0
    logits[:, 0, :2] = logits[:, 0, :2].flip(1)
    parts = logits + torch.zeros((), requires_grad=True), torch.zeros(1, 4, 4)
    monkeypatch.setattr(made, "_decode", lambda *args: parts)
    out = made(batch, False, 0)
    assert out["mask"].item() == pytest.approx(3 / 4, abs=1e-5)
    assert out["iou"].item() == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("task", "recurrence"), [("one-shot", "both"), ("zero-shot", "spatial"), ("zero-shot", "temporal")]
)
def test_it_learns(task: str, recurrence: str) -> None:
    model = RVOSConfig(trunk=TRUNK, task=task, hidden=16, recurrence=recurrence)  # type: ignore[arg-type]
    made = trainable(model=model, steps=30).train()
    batch = batch_of(clips=1, length=2)
    optimiser = torch.optim.AdamW(made.parameters(), 1e-2)
    losses = []
    for step in range(30):
        out = made(batch, False, step)
        optimiser.zero_grad()
        out["total"].backward()
        optimiser.step()
        losses.append(out["mask"].item())
    assert losses[-1] < 0.7 * losses[0], losses


def test_clips_are_successive_frames_with_objects() -> None:
    assert trainable(gap=3).clip == Clip("successive", 3, objects=True)


def test_a_later_stage_has_the_task_of_its_weights(tmp_path: Path) -> None:
    FORMAT.save(tmp_path / "rvos.safetensors", small(task="zero-shot"), {})
    made = trainable("one-shot", scratch=False, start=tmp_path / "rvos.safetensors")
    assert made.network.config.task == "zero-shot"
    assert "stop" in made(batch_of(), False, 0)


@pytest.mark.parametrize("name", ["objects", "gap", "given_steps", "stop_weight"])
def test_numbers_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: -1 is too little"):
        trainable(**{name: -1})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--model.task=zero-shot", "--given_steps=3"),
            "--given_steps: has no effect here: is of --model.task one-shot",
        ),
        (("--stop_weight=1",), "--stop_weight: has no effect here: is of --model.task zero-shot"),
        (("--no-model.stop",), "--model.stop: has no effect here: is of --model.task zero-shot"),
        (("--model.task=zero-shot", "--no-model.stop", "--stop_weight=1"), "--stop_weight: has no effect here"),
        (("--model.trunk.depth=50",), "--model.trunk.depth: has no effect here"),
        (("--start=a.safetensors", "--model.task=zero-shot"), "--model.task: has no effect here"),
    ],
)
def test_options_without_effect_are_refused(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse("mug finetune", RVOSFinetuneOptions, ("system",), ["rvos", "--data=d", "--out=o", *words])


def test_with_weights_to_go_on_from_options_of_either_task_are_taken() -> None:
    words = ["rvos", "--data=d", "--out=o", "--start=a.safetensors", "--given_steps=3", "--stop_weight=1"]
    assert parse("mug finetune", RVOSFinetuneOptions, ("system",), words).given_steps == 3

"""Objects of clips, their matching and the losses."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from downstream.systems.rvos.matching import (
    Objects,
    in_order,
    mask_loss,
    match,
    objects_of,
    relaxed_iou,
    stop_loss,
)


def dense_iou(likely: Tensor, truth: Tensor) -> float:
    both = sum(p * y for p, y in zip(likely.flatten().tolist(), truth.flatten().tolist(), strict=True))
    return both / (float(likely.sum()) + float(truth.sum()) - both)


def test_objects_are_those_of_the_first_frame_in_order_of_their_ids() -> None:
    masks = torch.zeros(2, 2, 2, 3, dtype=torch.uint8)
    masks[0, 0] = torch.tensor([[7, 0, 3], [7, 255, 0]])
    masks[0, 1] = torch.tensor([[9, 7, 7], [255, 3, 0]])  # 9 appears too late
    masks[1, 1] = 4
    objects = objects_of(masks)
    assert objects.counts == [2, 0]
    assert objects.masks.shape == (2, 2, 2, 2, 3)
    assert torch.equal(objects.masks[0, 0], masks[0] == 3)
    assert torch.equal(objects.masks[0, 1], masks[0] == 7)
    assert not objects.masks[1].any()
    assert torch.equal(objects.known, masks != 255)
    assert objects_of(masks, most=1).counts == [1, 0]
    assert objects_of(masks[1:]).masks.shape == (1, 1, 2, 2, 3)


def test_relaxed_iou_is_that_of_the_equation() -> None:
    torch.manual_seed(0)
    likely, truth = torch.rand(5, 4, 6, dtype=torch.float64), torch.randint(0, 2, (5, 4, 6)).double()
    expected = [dense_iou(p, y) for p, y in zip(likely, truth, strict=True)]
    assert relaxed_iou(likely, truth).tolist() == pytest.approx(expected)
    assert relaxed_iou(truth, truth).tolist() == pytest.approx([1] * 5)  # with the slide's plus, one third
    assert relaxed_iou(torch.zeros(3, 3), torch.zeros(3, 3)) == 0
    assert torch.autograd.gradcheck(relaxed_iou, (likely.requires_grad_(), truth))


@pytest.mark.parametrize("objects", range(7))
@pytest.mark.parametrize("predictions", [1, 3, 6, 8])
def test_matching_is_the_best_of_all(objects: int, predictions: int) -> None:
    torch.manual_seed(10 * objects + predictions)
    masks = torch.zeros(1, 2, 8, 9, dtype=torch.uint8)
    if objects:
        masks = torch.randint(0, objects + 1, (1, 2, 8, 9), dtype=torch.uint8)
    masks[:, :, 0] = 255
    masks[0, 0, 1, :objects] = torch.arange(1, objects + 1)
    logits = 3 * torch.randn(1, predictions, 8, 9, dtype=torch.float64)
    pairs = match(logits, objects_of(masks), [predictions])
    assert pairs.clips == [0] * min(objects, predictions)
    assert len(set(pairs.objects)) == len(set(pairs.predictions)) == len(pairs.clips)
    known = masks[0, 0] != 255
    score = np.array([
        [dense_iou(logits[0, i].sigmoid() * known, ((masks[0, 0] == j + 1) & known).double()) for j in range(objects)]
        for i in range(predictions)
    ]).reshape(predictions, objects)  # fmt: skip
    found = sum(score[i, j] for i, j in zip(pairs.predictions, pairs.objects, strict=True))
    few, table = (objects, score.T) if objects <= predictions else (predictions, score)
    best = max(sum(table[a, b] for a, b in enumerate(chosen)) for chosen in permutations(range(table.shape[1]), few))
    assert found == pytest.approx(best)


def test_a_clip_considers_its_own_first_predictions() -> None:
    masks = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    masks[:, 0, :2], masks[1, 0, 2:] = 1, 2
    logits = torch.full((2, 4, 4, 4), -5.0)
    logits[:, 3, :2], logits[1, 1, 2:] = 5, 5
    pairs = match(logits, objects_of(masks), [3, 4])
    found = list(zip(*pairs, strict=True))
    assert [pair for pair in found if pair[0] == 1] == [(1, 1, 1), (1, 0, 3)]
    assert all(prediction < 3 for clip, _, prediction in found if clip == 0)
    assert list(zip(*in_order(objects_of(masks)), strict=True)) == [(0, 0, 0), (1, 0, 0), (1, 1, 1)]


def test_a_matching_of_what_is_not_finite_waits_for_the_loss_to_say_so() -> None:
    logits = torch.full((1, 3, 4, 4), torch.nan)
    assert len(match(logits, objects_of(torch.ones(1, 1, 4, 4, dtype=torch.uint8)), [3]).clips) == 1


def test_mask_loss_leaves_out_void_and_frames_without_the_object() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    known = torch.rand(3, 2, 4, 5) > 0.3
    truth = (torch.rand(3, 2, 4, 5) > 0.5) & known
    truth[1, 1] = False
    loss = mask_loss(logits, truth, known)
    shown = [(p, t) for p in range(3) for t in range(2) if (p, t) != (1, 1)]
    terms = [1 - dense_iou((logits[at].sigmoid() * known[at]).detach(), truth[at].double()) for at in shown]
    assert loss.item() == pytest.approx(np.mean(terms))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[~known].any() and not gradient[1, 1].any() and gradient[0].any()
    assert torch.autograd.gradcheck(lambda x: mask_loss(x, truth, known), logits)
    nothing = mask_loss(logits[:0], truth[:0], known[:0])
    assert nothing == 0 and nothing.requires_grad


def test_stop_loss_is_the_cross_entropy_of_the_predictions_that_a_clip_has() -> None:
    torch.manual_seed(0)
    stops = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    counts, allowed = [1, 4], [3, 4]
    loss = stop_loss(stops, counts, allowed)
    terms = []
    for clip in range(2):
        for t in range(3):
            for i in range(allowed[clip]):
                there = torch.sigmoid(stops[clip, t, i]) if i < counts[clip] else 1 - torch.sigmoid(stops[clip, t, i])
                terms.append(-torch.log(there))
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, stops), torch.autograd.grad(expected, stops))


def test_bfloat16_is_widened_before_sums() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 96, 96).bfloat16()
    truth, known = torch.rand(2, 1, 96, 96) > 0.5, torch.ones(2, 1, 96, 96, dtype=torch.bool)
    loss = mask_loss(logits, truth, known)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, mask_loss(logits.float(), truth, known))
    assert isinstance(objects_of(torch.ones(1, 1, 2, 2, dtype=torch.uint8)), Objects)

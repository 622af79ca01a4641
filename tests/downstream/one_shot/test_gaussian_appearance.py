"""A-GAME's appearance model as evidence beside matching."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from downstream.one_shot.evidence import gather
from downstream.one_shot.gaussian_appearance import FLOOR, TEMPERATURES, UNSEEN, GaussianAppearance, suited_temperature
from downstream.one_shot.gaussians import fit, log_odds, log_scores
from downstream.systems.mug import MuGPropagateOptions
from mug.command.options import parse
from mug.errors import InputError

SIZE = (32, 48)
RED, GREEN, BLUE = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
NOTHING = torch.zeros(2, 4, 6)


def scene(*objects: tuple[tuple[int, int, int], int, int], noise: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Objects of (colour, first column, id) on noisy green, and the ids."""
    rng = np.random.default_rng(len(objects))
    frame = np.tile(np.array(GREEN), (*SIZE, 1))
    ids = np.zeros(SIZE, int)
    for colour, left, i in objects:
        frame[8:24, left : left + 12], ids[8:24, left : left + 12] = colour, i
    return (frame + rng.integers(-noise, noise + 1, frame.shape)).astype(np.uint8), ids


def one_hot(ids: np.ndarray, count: int) -> np.ndarray:
    return np.stack([ids == i for i in range(count)]).astype(np.float32)


def taught(frame: np.ndarray, labels: np.ndarray, given: Sequence[int]) -> GaussianAppearance:
    model = GaussianAppearance()
    model.learn(model.look(frame, NOTHING), labels, given)
    return model


def test_given_masks_alone_set_the_model() -> None:
    """Against the closed form at the positions that are learned from."""
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((3, SIZE[0] // 2, SIZE[1] // 2, 5)).astype(np.float32)
    labels = rng.dirichlet((0.3, 0.3, 0.3), (3, *SIZE)).transpose(0, 3, 1, 2).astype(np.float32)
    labels[:, :, :10] *= 0.5  # partly void
    model = GaussianAppearance()
    for t in range(3):
        model.learn(looks[t], labels[t], given=[1, 2] if t == 0 else [])
    x = torch.from_numpy(looks[:, 1::2, 1::2].reshape(3, -1, 5)).transpose(1, 2)
    y = torch.from_numpy(labels[:, :, 3::4, 3::4].reshape(3, 3, -1))
    floor = (FLOOR * x[0].var(1)).expand(4, -1)
    odds = []
    new = torch.from_numpy(rng.standard_normal(looks[0].shape).astype(np.float32))
    for label in (1, 2):
        theta = fit(x[:1], y[0, label : label + 1], floor, y[0].sum(0, keepdim=True))
        odds.append(log_odds(log_scores(new.flatten(0, 1).T[None], theta))[0])
    p = (torch.stack(odds).double() / model._temperature).sigmoid().clamp(3e-7, 1 - 3e-7)
    everything = torch.cat([(1 - p).prod(0, keepdim=True), p])
    expected = everything / (1 - everything)
    expected = (expected / expected.sum(0)).reshape(1, 3, 16, 24).float()
    found = torch.from_numpy(model.likely(new.numpy(), (16, 24)))
    torch.testing.assert_close(found[None], expected, atol=1e-4, rtol=1e-3)


def test_labels_are_told_apart_and_sum_to_one() -> None:
    frame, ids = scene((RED, 4, 1), (BLUE, 30, 2))
    model = taught(frame, one_hot(ids, 3), [1, 2])
    read = model.likely(model.look(frame, NOTHING), SIZE)
    assert read.shape == (3, *SIZE) and read.dtype == np.float32
    assert np.allclose(read.sum(0), 1, atol=1e-5)
    assert [int(read[:, 16, x].argmax()) for x in (10, 24, 36)] == [1, 0, 2]


def test_a_hidden_object_is_nowhere() -> None:
    """Its probability is low at every pixel; a readout that divides the frame among labels need not say so."""
    frame, ids = scene((RED, 4, 1))
    model = taught(frame, one_hot(ids, 2), [1])
    hidden, _ = scene()
    assert model.likely(model.look(frame, NOTHING), SIZE)[1].max() > 0.9
    looks = model.look(hidden, NOTHING)
    assert model.likely(looks, SIZE)[1].max() < 0.1
    assert np.allclose(model.read(looks, SIZE), np.log(np.clip(model.likely(looks, SIZE), UNSEEN, 1)))


def test_an_object_that_comes_later_gets_a_model_of_its_own() -> None:
    frame, ids = scene((RED, 4, 1))
    model = taught(frame, one_hot(ids, 2), [1])
    both, later = scene((RED, 4, 1), (BLUE, 30, 2))
    model.learn(model.look(both, NOTHING), one_hot(later, 3), [2])
    read = model.likely(model.look(both, NOTHING), SIZE)
    assert [int(read[:, 16, x].argmax()) for x in (10, 24, 36)] == [1, 0, 2]


@pytest.mark.parametrize(("given", "after"), [([1], BLUE), ([], RED)])
def test_a_mask_that_is_given_again_begins_anew(given: list[int], after: tuple[int, int, int]) -> None:
    red, ids = scene((RED, 18, 1))
    blue, _ = scene((BLUE, 18, 1))
    model = taught(red, one_hot(ids, 2), [1])
    model.learn(model.look(blue, NOTHING), one_hot(ids, 2), given)
    read = {c: model.likely(model.look(scene((c, 18, 1))[0], NOTHING), SIZE)[1, 16, 24] for c in (RED, BLUE)}
    assert read[after] > 0.9
    assert given == [] or read[RED] < 0.5


def test_void_teaches_nothing() -> None:
    frame, ids = scene((RED, 4, 1), (BLUE, 30, 2))
    labels = one_hot(ids, 3)[:2]  # the blue one is void
    model = taught(frame, labels, [1])
    other = frame.copy()
    other[ids == 2] = GREEN[::-1]
    floor = model._floor
    again = GaussianAppearance()
    again._floor = floor
    again.learn(again.look(other, NOTHING), labels, [1])
    looks = model.look(scene((RED, 20, 1))[0], NOTHING)
    # colours are blurred over a few pixels, so the void still shows around its edge
    assert np.abs(model.likely(looks, SIZE) - again.likely(looks, SIZE)).mean() < 0.05


def test_the_temperature_is_the_best_of_the_candidates() -> None:
    """Odds that are k times too sure are divided by k."""
    generator = torch.Generator().manual_seed(0)
    odds = torch.randn(1, 4000, generator=generator) * 2
    y = (torch.rand(1, 4000, generator=generator) < odds.sigmoid()).float()
    for k in (1, 4, 32):
        assert suited_temperature(k * odds, y, torch.ones(1, 4000)) == k
    assert suited_temperature(1e6 * odds, y, torch.ones(1, 4000)) == TEMPERATURES[-1]


def test_an_object_weighs_as_much_as_its_background() -> None:
    odds, y = torch.tensor([[3.0, -2.0, -5.0, -1.0]]), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    known = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    losses = [
        float(F.softplus(-odds[0, 0] / t) + (F.softplus(odds[0, 1] / t) + F.softplus(odds[0, 2] / t)) / 2)
        for t in TEMPERATURES
    ]
    assert suited_temperature(odds, y, known) == TEMPERATURES[int(np.argmin(losses))]


def test_the_kind_is_chosen() -> None:
    for kind, made in (("ridge", "Appearance"), ("gaussian", "GaussianAppearance")):
        evidence = gather("appearance", looks=kind)  # type: ignore[arg-type]
        assert evidence is not None and type(evidence._appearance).__name__ == made
    motion = gather("motion", looks="gaussian")
    assert motion is not None and motion._appearance is None
    assert 0 < GaussianAppearance.weight < 0.3


@pytest.mark.parametrize("words", [("--evidence", "none"), ("--evidence", "motion"), ("--preset", "crw")])
def test_it_is_refused_where_appearance_is_not_heard(words: tuple[str, ...]) -> None:
    line = [str(Path("videos")), "--out", "out", "--appearance", "gaussian"]
    assert parse("mug propagate", MuGPropagateOptions, ("videos",), line).appearance == "gaussian"
    with pytest.raises(InputError, match=r"--appearance: has no effect here: .* leaves appearance out"):
        parse("mug propagate", MuGPropagateOptions, ("videos",), [*line, *words])

"""What joins matching: motion and appearance, against transcriptions in float64, and what they are good for."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.backbones.colour import colours
from downstream.one_shot import appearance, evidence
from downstream.one_shot.appearance import Appearance
from downstream.one_shot.evidence import Evidence, gather, overlap
from downstream.one_shot.motion import Past, whole_video
from downstream.one_shot.propagator import Propagator, labels_to_grid
from downstream.one_shot.protocols import PRESETS, PropagationConfig
from mug.media.video import Video
from mug.priors import motion_prior
from mug.synth.videos import synthetic_video

SIZE = (32, 48)


def blank_features(frame: Tensor) -> Tensor:
    """Everything looks alike."""
    return torch.ones(1, 4, frame.shape[2] // 8, frame.shape[3] // 8)


class Clip(Video):
    """Frames in memory as a video."""

    def __init__(self, frames: np.ndarray) -> None:
        self._frames = frames
        self.frame_names, self.size, self.fps = [f"{i:05d}" for i in range(len(frames))], frames.shape[1:3], 24.0

    def _frame(self, index: int) -> np.ndarray:
        return self._frames[index]


def one_hot(ids: np.ndarray, count: int) -> Tensor:
    return torch.from_numpy(np.stack([ids == i for i in range(count)]).astype(np.float32))


# --- joining ---------------------------------------------------------------------------------------------------------


def test_votes_and_log_odds_add_up() -> None:
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 256, (2, *SIZE), dtype=np.uint8)
    queue = iter(maps)
    joined = Evidence(lambda frame: next(queue), appearance=None)
    frame = np.zeros((*SIZE, 3), np.uint8)
    ids = rng.integers(0, 3, SIZE)
    first = joined.see(frame, torch.zeros(1, 4, 6))
    joined.given(first, one_hot(ids, 3), [1, 2])
    votes = torch.rand(3, 4, 6).softmax(0)
    got = joined.join(joined.see(frame, torch.zeros(1, 4, 6)), votes)

    moving = 1 / (1 + np.exp(-_log_odds(maps[0])))
    odds = np.log(np.maximum(F.interpolate(votes[None], SIZE, mode="bilinear")[0].double().numpy(), evidence.VETO))
    for label, other in ((1, 2), (2, 1)):
        mine, alone = ids == label, moving * (ids != other)
        trust = np.sqrt(np.minimum(alone, mine).sum() / np.maximum(alone, mine).sum())
        odds[label] += evidence.MOTION * trust * _log_odds(maps[1])
    expected = np.exp(odds) / np.exp(odds).sum(0)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-5)


def _log_odds(map_hw: np.ndarray) -> np.ndarray:
    likely = np.clip(map_hw / 255.0, evidence.CERTAINTY, 1 - evidence.CERTAINTY)
    return np.log(likely / (1 - likely))


def test_a_prior_that_knows_nothing_of_an_object_is_not_heard() -> None:
    """Two objects: one that the prior explains, one at rest."""
    prior = np.zeros(SIZE, np.uint8)
    prior[4:12, 4:20] = 255
    joined = Evidence(lambda frame: prior, appearance=None)
    ids = np.zeros(SIZE, int)
    ids[4:12, 4:20], ids[20:28, 24:40] = 1, 2
    seen = joined.see(np.zeros((*SIZE, 3), np.uint8), torch.zeros(1, 4, 6))
    joined.given(seen, one_hot(ids, 3), [1, 2])
    votes = torch.full((3, 4, 6), 1 / 3)
    labels = joined.join(seen, votes)
    assert labels[1, 8, 10] > 0.9, "what moves is the object that moves"
    assert float(labels[2, 24, 30]) == pytest.approx(float(labels[0, 24, 30]), rel=0.2), "no verdict on the one at rest"
    assert labels[1, 24, 30] < 0.1


def test_matching_that_is_sure_overrules_motion() -> None:
    moving = np.full(SIZE, 255, np.uint8)
    joined = Evidence(lambda frame: moving, appearance=None)
    seen = joined.see(np.zeros((*SIZE, 3), np.uint8), torch.zeros(1, 4, 6))
    joined.given(seen, one_hot(np.ones(SIZE, int), 2), [1])
    votes = torch.tensor([1.0, 0.0])[:, None, None].expand(2, 4, 6)
    assert float(joined.join(seen, votes)[1].max()) < 0.5


def test_overlap_of_soft_maps() -> None:
    a, b = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.5, 0.5, 0.5])
    assert float(overlap(a, b)) == pytest.approx(1.0 / 2.0)
    assert float(overlap(torch.zeros(3), torch.zeros(3))) == 0


def test_without_evidence_there_are_no_witnesses() -> None:
    assert gather("none") is None
    for preset, config in PRESETS.items():
        assert config.evidence == ("both" if preset == "mug" else "none")


# --- appearance ------------------------------------------------------------------------------------------------------


def test_appearance_is_a_ridge_regression() -> None:
    """Against a float64 transcription: one given frame, two found ones, three labels."""
    rng = np.random.default_rng(1)
    looks = rng.standard_normal((3, *(side // appearance.STRIDE for side in SIZE), 7)).astype(np.float32)
    labels = rng.dirichlet((0.3, 0.3, 0.3), (3, *SIZE)).transpose(0, 3, 1, 2).astype(np.float32)
    model = Appearance()
    for t in range(3):
        model.learn(looks[t], labels[t], given=[1, 2] if t == 0 else [])
    gram, answer = np.zeros((7, 7)), np.zeros((7, 3))
    for t, share in enumerate((1, (1 - appearance.FORGET) * appearance.FORGET, 1 - appearance.FORGET)):
        p = labels[t][:, 1::2, 1::2][:, 1::2, 1::2].reshape(3, -1).astype(np.float64)
        x = looks[t][1::2, 1::2].reshape(-1, 7).astype(np.float64)
        sure = np.sort(p, 0)[2] - np.sort(p, 0)[1]
        mass = np.array([sure[p.argmax(0) == i].sum() for i in range(3)])
        for n in range(len(x)):
            best = p[:, n].argmax()
            weight = share * sure[n] / max(mass[best], appearance.FEWEST)
            gram += weight * np.outer(x[n], x[n])
            answer[:, best] += weight * x[n]
    weights = np.linalg.solve(gram + appearance.RIDGE * np.trace(gram) / 7 * np.eye(7), answer)
    new = rng.standard_normal(looks[0].shape).astype(np.float32)
    expected = cv2.resize(np.clip(new.astype(np.float64) @ weights, 0, 1), SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(model.read(new, SIZE), expected.transpose(2, 0, 1), atol=1e-4)


def test_an_object_that_comes_later_gets_a_look_of_its_own() -> None:
    red, green, blue = ((200, 30, 30), (30, 200, 30), (30, 30, 200))
    frame = np.zeros((*SIZE, 3), np.uint8)
    frame[:], frame[4:28, 4:20], frame[4:28, 28:44] = green, red, blue
    ids = np.zeros(SIZE, int)
    ids[4:28, 4:20] = 1
    model, features = Appearance(), torch.zeros(2, 4, 6)
    looks = model.look(frame, features)
    model.learn(looks, one_hot(ids, 2).numpy(), given=[1])
    assert model.read(looks, SIZE)[1, 16, 12] > 0.8
    ids[4:28, 28:44] = 2
    model.learn(looks, one_hot(ids, 3).numpy(), given=[1])
    read = model.read(looks, SIZE)
    assert read.shape == (3, *SIZE)
    assert [int(read[:, 16, x].argmax()) for x in (12, 24, 36)] == [1, 0, 2]


def test_looks_hold_the_features_and_the_colours() -> None:
    """Both tell pixels apart by themselves."""
    rng = np.random.default_rng(2)
    grey = np.full((*SIZE, 3), 100, np.uint8)
    model = Appearance()
    features = torch.from_numpy(rng.standard_normal((5, 4, 6)).astype(np.float32))
    assert np.ptp(model.look(grey, features), axis=(0, 1)).max() > 1
    assert np.ptp(model.look(grey, torch.zeros(5, 4, 6)), axis=(0, 1)).max() < 1e-5
    colourful = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    assert np.ptp(model.look(colourful, torch.zeros(5, 4, 6)), axis=(0, 1)).max() > 0.05
    assert colours(colourful).shape == (*SIZE, 9)


# --- motion as a video goes on ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moving() -> tuple[np.ndarray, np.ndarray]:
    return synthetic_video(np.random.default_rng(5), frames=10, height=96, width=144, objects=1)


def test_whole_video_is_the_motion_prior_from_a_frame_on(moving: tuple[np.ndarray, np.ndarray]) -> None:
    video = Clip(moving[0])
    motion = whole_video(video, start=3)
    for frame, expected in zip(video[3:], motion_prior(video, range(3, 10)), strict=True):
        assert np.array_equal(motion(frame), expected)


def test_the_past_alone_is_asked_and_does_not_change_afterwards(moving: tuple[np.ndarray, np.ndarray]) -> None:
    frames, masks = moving
    whole, begun = Past(), Past()
    maps = [whole(frame) for frame in frames]
    assert all(np.array_equal(begun(frame), maps[t]) for t, frame in enumerate(frames[:6]))
    found = np.stack(maps[4:]) > 127
    truth = masks[4:] > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.4


# --- the whole of it -------------------------------------------------------------------------------------------------


def follow(frames: np.ndarray, first: np.ndarray, config: PropagationConfig, looking_ahead: bool = False) -> np.ndarray:
    motion = whole_video(Clip(frames)) if looking_ahead else None
    propagator = Propagator(blank_features, config, motion=motion)
    return np.stack([propagator.step(frame, None if t else first) for t, frame in enumerate(frames)])


@pytest.mark.parametrize("looking_ahead", [True, False])
def test_evidence_finds_what_blind_matching_loses(moving: tuple[np.ndarray, np.ndarray], looking_ahead: bool) -> None:
    frames, masks = moving
    config = replace(PRESETS["mug"], size=None)

    def score(results: np.ndarray) -> float:
        return float(((results > 0) & (masks > 0)).sum() / ((results > 0) | (masks > 0)).sum())

    blind = score(follow(frames, masks[0], replace(config, evidence="none")))
    witnesses = ("motion", "appearance", "both")
    heard = {w: score(follow(frames, masks[0], replace(config, evidence=w), looking_ahead)) for w in witnesses}  # type: ignore[arg-type]
    assert all(s > blind + 0.02 for s in heard.values()), (blind, heard)


def test_what_is_remembered_is_what_was_agreed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matching votes nothing for the object, evidence everything: the next frame's votes have to know of it."""
    said = torch.zeros(2, 16, 24)
    said[1, :8] = 1
    said[0] = 1 - said[1]
    monkeypatch.setattr(Evidence, "join", lambda self, seen, votes: said)
    seen_votes = []
    propagate = Propagator._propagate
    monkeypatch.setattr(
        Propagator, "_propagate", lambda self, query: seen_votes.append(propagate(self, query)) or seen_votes[-1]
    )
    frame, mask = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.uint8)
    mask[24:, 40:] = 1
    config = replace(PRESETS["mug"], size=None, keep_first=False, frames=1, evidence="appearance", sharpen=1)
    propagator = Propagator(blank_features, config)
    for t in range(3):
        result = propagator.step(frame, None if t else mask)
    assert np.array_equal(result[:, 0] > 0, np.arange(32) < 16)
    assert np.allclose(seen_votes[1][1, 0], 1), "the votes of the cells around are those that were said"


def test_void_of_the_given_mask_teaches_nothing() -> None:
    labels = labels_to_grid(np.full(SIZE, 255, np.uint8), [0, 1], SIZE)
    model = Appearance()
    looks = model.look(np.zeros((*SIZE, 3), np.uint8), torch.zeros(2, 4, 6))
    model.learn(looks, labels.numpy(), given=[1])
    assert np.allclose(model.read(looks, SIZE), 0)

"""What every draw of frames has in common."""

from __future__ import annotations

import numpy as np
import pytest

from mug.errors import InputError
from pretrain.sampling import SampleFrames, SampleOptions, draw_frames


def draws(length: int, abstract: int = 8, stride: int = 1, count: int = 200) -> list[SampleFrames]:
    return [draw_frames(length, abstract, 3, stride, np.random.default_rng([3, i])) for i in range(count)]


@pytest.mark.parametrize("length", [6, 7, 20, 300])
def test_clips_are_ordered_and_within_six_frames(length: int) -> None:
    clips = np.stack([draw.clip for draw in draws(length)])
    assert (np.diff(clips, axis=1) > 0).all()
    assert set(clips[:, 2] - clips[:, 0]) == {2, 3, 4, 5}
    assert clips.min() == 0 and (length > 20 or clips.max() == length - 1)
    assert clips.max() < length


@pytest.mark.parametrize(("length", "abstract"), [(8, 8), (61, 8), (300, 4), (9, 8)])
def test_abstracts_have_a_frame_of_each_equal_segment(length: int, abstract: int) -> None:
    frames = np.stack([draw.abstract for draw in draws(length, abstract, count=2000 if length == 61 else 200)])
    for k in range(abstract):
        span = range(k * length // abstract, (k + 1) * length // abstract)
        assert set(frames[:, k]) <= set(span)
        if length == 61:
            assert set(frames[:, k]) == set(span)


def test_only_references_keep_to_frames_with_a_map() -> None:
    """Video and long term see every frame of a video, however few of them have a map."""
    drawn = draws(400, 4, 50, count=2000)
    for seen in ([draw.abstract for draw in drawn], [draw.abstract[draw.pair] for draw in drawn]):
        assert set(np.concatenate(seen)) == set(range(400))
    assert len({draw.instance for draw in drawn}) > 390
    assert set(np.concatenate([draw.references for draw in drawn])) == set(range(0, 400, 50))
    few = draws(60, 4, 50)  # two frames with a map for three references
    assert all({0, 50} & {*draw.references, draw.instance, *draw.abstract} == {0, 50} for draw in few)


def test_pairs_are_far_apart_and_in_both_orders() -> None:
    apart = [int(np.diff(draw.abstract[draw.pair])[0]) for draw in draws(50)]
    assert min(map(abs, apart)) >= 6 and min(apart) < 0 < max(apart)
    assert len({tuple(draw.pair) for draw in draws(300)}) > 40


@pytest.mark.parametrize("length", [1, 2, 4, 6])
def test_short_videos_give_the_farthest_pair(length: int) -> None:
    for draw in draws(length):
        i, j = draw.pair
        assert i != j
        assert abs(draw.abstract[i] - draw.abstract[j]) == np.ptp(draw.abstract) < 6
        assert draw.clip.shape == (3,) and draw.clip.max() < length and (np.diff(draw.clip) >= 0).all()
        assert draw.instance < length


@pytest.mark.parametrize(("length", "stride"), [(12, 1), (61, 5), (300, 50)])
def test_an_instance_shares_no_frame_with_the_abstract(length: int, stride: int) -> None:
    seen = set()
    for draw in draws(length, 8, stride):
        others = [draw.instance, *draw.references]
        assert len({*others, *draw.abstract}) == len(others) + 8
        seen |= set(others)
    assert len(seen) > 7
    for draw in draws(8, 8):  # nothing is left over
        assert draw.references.shape == (3,) and set(draw.references) <= set(range(8))


def test_draws_depend_on_the_generator_alone() -> None:
    first, again = (draw_frames(90, 8, 3, 2, np.random.default_rng([1, 2, 3])) for _ in range(2))
    other = draw_frames(90, 8, 3, 2, np.random.default_rng([1, 2, 4]))
    for name in ("clip", "abstract", "pair", "instance", "references"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.abstract != other.abstract).any()


@pytest.mark.parametrize(
    ("option", "value"),
    [("size", 31), ("abstract", 1), ("references", 0), ("grey", 1.5), ("crop", 0.0), ("aspect", 0.5)],
)
def test_impossible_options_are_refused(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"sample.{option}"):
        SampleOptions(**{option: value})  # type: ignore[arg-type]

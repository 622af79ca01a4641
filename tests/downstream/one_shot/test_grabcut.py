"""Masks of boxes and points, and how these are written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from downstream.one_shot.grabcut import MOST_PIXELS, grabcut
from downstream.one_shot.prompts import Prompt, drawn, mask_of, masks_of, read_prompts
from mug.errors import InputError
from mug.media.video import Video, open_video

HEIGHT, WIDTH = 60, 90


def scene(scale: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame with a round and a cornered object on textured ground, and their masks."""
    rng = np.random.default_rng(0)
    frame = rng.integers(20, 60, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    ball = (rows - 30) ** 2 + (columns - 25) ** 2 < 14**2
    block = (abs(rows - 28) < 12) & (abs(columns - 66) < 9)
    frame[ball] += np.array([150, 60, 0], np.uint8)
    frame[block] += np.array([0, 120, 150], np.uint8)
    grow = (scale, scale)
    return (
        np.kron(frame, np.ones((*grow, 1), np.uint8)),
        np.kron(ball, np.ones(grow)) > 0,
        np.kron(block, np.ones(grow)) > 0,
    )


def box_of(mask: np.ndarray, margin: int = 0) -> tuple[float, float, float, float]:
    (rows,), (columns,) = np.nonzero(mask.any(1)), np.nonzero(mask.any(0))
    x, y = int(columns[0]) - margin, int(rows[0]) - margin
    return x, y, int(columns[-1]) + 1 + margin - x, int(rows[-1]) + 1 + margin - y


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


# --- GrabCut ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0, 4])
def test_a_box_around_an_object(margin: int) -> None:
    frame, ball, block = scene()
    for shape in (ball, block):
        assert overlap(grabcut(frame, box_of(shape, margin)), shape) > 0.95


def test_a_point_on_an_object() -> None:
    frame, ball, block = scene()
    for shape, point in ((ball, (20, 33)), (block, (70, 20))):
        mask = grabcut(frame, points=[point])
        assert overlap(mask, shape) > 0.9
        assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2


def test_points_in_a_box_are_of_the_object() -> None:
    frame, ball, block = scene()
    both = (5, 5, 80, 50)
    assert overlap(grabcut(frame, both, [(25, 30)]), ball) > 0.9
    assert overlap(grabcut(frame, both, [(66, 28)]), block) > 0.9
    assert overlap(grabcut(frame, points=[(25, 30), (66, 28)]), ball | block) > 0.9


def test_a_large_frame_is_cut_at_its_own_resolution() -> None:
    frame, ball, _ = scene(scale=6)
    box = box_of(ball, 20)
    assert box[2] * box[3] * 1.5**2 > MOST_PIXELS
    mask = grabcut(frame, box)
    assert mask.shape == ball.shape and overlap(mask, ball) > 0.95


@pytest.mark.parametrize(
    "box",
    [(0, 0, WIDTH, HEIGHT), (-50, -50, 500, 500), (30, 30, 1, 1), (88.5, 59.2, 20, 20), (10, 10, 0.2, 0.2)],
    ids=["all", "more than all", "a pixel", "a corner", "less than a pixel"],
)
def test_unusual_boxes_have_a_mask_inside(box: tuple[float, float, float, float]) -> None:
    frame, *_ = scene()
    mask = grabcut(frame, box)
    rows, columns = np.nonzero(mask)
    assert len(rows) and columns.min() >= np.floor(box[0]) and rows.max() < box[1] + box[3]


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (9, 40), (40, 30)])
def test_a_frame_of_one_colour_has_some_mask(shape: tuple[int, int]) -> None:
    frame = np.full((*shape, 3), 7, np.uint8)
    assert grabcut(frame, (0, 0, shape[1], shape[0])).any()
    assert grabcut(frame, points=[(0, 0)])[0, 0]


def test_the_same_box_gives_the_same_mask() -> None:
    frame, ball, _ = scene()
    first = grabcut(frame, box_of(ball, 3))
    cv2.setRNGSeed(123)
    assert np.array_equal(first, grabcut(frame, box_of(ball, 3)))


@pytest.mark.parametrize(
    ("box", "points", "says"),
    [
        (None, [], "give a box around the object or a point on it"),
        ((5, 5, 0, 9), [], "box 5,5,0,9: has no area"),
        ((5, 5, float("nan"), 9), [], "has no area"),
        ((90, 5, 9, 9), [], "lies outside the frame of 90x60 pixels"),
        ((-9, 5, 9, 9), [], "lies outside the frame"),
        (None, [(90, 5)], "point 90,5: lies outside the frame of 90x60 pixels"),
        ((5, 5, 9, 9), [(1, -1)], "point 1,-1: lies outside"),
    ],
)
def test_what_marks_nothing_is_refused(box: object, points: list[tuple[float, float]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        grabcut(scene()[0], box, points)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="must be RGB"):
        grabcut(scene()[0][..., 0], (1, 1, 5, 5))


# --- as text ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def video(tmp_path: Path) -> Video:
    frame, *_ = scene()
    for name in ("00005", "00006", "00010"):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    return open_video(tmp_path)


def test_boxes_and_points_as_text(video: Video) -> None:
    found = read_prompts(video, ["10,20,30,40", "3:1,2.5,3,4"], ["5,6", "3:7,8", "00010@9,9", "6@2:1,1"])
    assert found == {
        "00005": {
            3: Prompt((1, 2.5, 3, 4), [(7, 8)]),
            1: Prompt((10, 20, 30, 40)),
            2: Prompt(None, [(5, 6)]),
        },
        "00010": {1: Prompt(None, [(9, 9)])},
        "00006": {2: Prompt(None, [(1, 1)])},
    }


@pytest.mark.parametrize(
    ("boxes", "points", "says"),
    [
        (["1,2,3"], [], "--box 1,2,3: must be x,y,width,height in pixels"),
        (["1 2 3 4"], [], "must be x,y,width,height"),
        (["a:1,2,3,4"], [], "must be x,y,width,height"),
        ([], ["1,2,3"], "--point 1,2,3: must be x,y in pixels"),
        (["0:1,2,3,4"], [], "ids are 1 to 254"),
        ([], ["255:1,2"], "ids are 1 to 254"),
        (["7@1,2,3,4"], [], "has no frame 7; its frames are 00005 to 00010"),
        (["2:1,2,3,4", "2:1,2,3,4"], [], "object 2 has a box already"),
    ],
)
def test_other_texts_are_refused(video: Video, boxes: list[str], points: list[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_prompts(video, boxes, points)


def test_of_overlapping_objects_the_smaller_is_in_front(video: Video) -> None:
    frame, ball, block = scene()
    marked = {4: Prompt(box_of(ball, 3)), 9: Prompt((0, 0, WIDTH, HEIGHT), [(25, 30), (66, 28)])}
    mask = mask_of(frame, marked)
    assert overlap(mask == 4, ball) > 0.9 and overlap(mask == 9, block) > 0.8
    with pytest.raises(InputError, match="object 1: its mask is that of other objects"):
        mask_of(frame, {1: Prompt(box_of(ball)), 2: Prompt(box_of(ball))})


def test_masks_are_those_of_their_frames(video: Video) -> None:
    _, ball, block = scene()
    boxes = [",".join(map(str, box_of(shape))) for shape in (ball, block)]
    masks = dict(masks_of(video, read_prompts(video, [boxes[0], f"10@{boxes[1]}"])))
    assert list(masks) == ["00005", "00010"]
    assert overlap(masks["00005"] == 1, ball) > 0.9 and overlap(masks["00010"] == 1, block) > 0.9


def test_prompts_are_drawn() -> None:
    frame, ball, _ = scene()
    picture = drawn(frame, ball.astype(np.uint8), {1: Prompt((2, 3, 50, 40), [(80, 50)])})
    assert picture[3, 20].tolist() == picture[50, 80].tolist() == [191, 127, 127]
    assert picture[30, 25, 0] > frame[30, 25, 0] / 2 + 60 and np.array_equal(picture[55, 5], frame[55, 5])

"""The picture of a graph, and the page of a fine-tuning run that shows it."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agnn_head.checkpoint import save_weights
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig, EmbeddingConfig
from downstream.pages.graph_picture import GraphView, graph_picture, heat, inner_point, outlined, render_graph, view
from downstream.report import ReportOptions, report
from downstream.systems.agnn import GraphConfig
from downstream.systems.agnn.inference import graph_probabilities, square
from mug.errors import InputError
from mug.media.video import Video, find_videos
from mug.options import BackboneConfig

Squares = Callable[..., Path]
SMALL = EmbeddingConfig(backbone=BackboneConfig(depth=18, stages=2, stride=8))


def small_model(**options) -> AGNN:
    torch.manual_seed(0)
    return AGNN(AGNNConfig(SMALL, channels=16, **options)).eval()


@pytest.fixture
def video(moving_squares: Squares) -> Video:
    return find_videos(moving_squares(videos=1, frames=7))[0]


def test_the_view_is_of_the_state_before_the_last_round(video: Video) -> None:
    model, config = small_model(), GraphConfig(nodes=3, side=64)
    seen = view(video, model, config)
    assert seen.names == ["00000", "00003", "00006"]
    np.testing.assert_array_equal(seen.frames[1], video[3])
    frames = torch.stack([square(video[index], 64) for index in (0, 3, 6)])
    with torch.no_grad():
        v = model.embed(frames.float() / 255)[None]
        h = model.propagate(v, iterations=2)
    assert inner_point(seen.probability[0]) == seen.point
    maps = [model.loop_attention_map(h[0, 0], seen.point)]
    maps += [model.attention_map(h[0, 0], h[0, k], seen.point) for k in (1, 2)]
    np.testing.assert_allclose(seen.attention, torch.stack(maps), atol=1e-6)
    np.testing.assert_allclose(seen.attention.sum((1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(seen.gates, model.gates(h)[0, 0].mean(-1), atol=1e-6)
    np.testing.assert_allclose(seen.probability, graph_probabilities(model, frames, config), atol=2e-3)


@pytest.mark.parametrize(("frames", "expected"), [(1, ["00000"]), (2, ["00000", "00001"])])
def test_short_videos(moving_squares: Squares, frames: int, expected: list[str]) -> None:
    video = find_videos(moving_squares(videos=1, frames=frames))[0]
    seen = view(video, small_model(), GraphConfig(nodes=4, side=64))
    assert seen.names == expected
    assert render_graph(seen).shape[1:] == (1200, 3)


def test_at_most_five_frames_and_never_without_messages(video: Video) -> None:
    assert len(view(video, small_model(), GraphConfig(nodes=9, side=64)).frames) == 5
    asked, none = GraphConfig(), GraphConfig(iterations=0)
    for model, config in ((small_model(iterations=0), asked), (small_model(), none), (small_model(graph=False), asked)):
        with pytest.raises(InputError, match=r"graph\.iterations 0"):
            graph_picture(video, model, config)


def test_the_point_lies_deepest_in_the_mask() -> None:
    probability = np.full((9, 12), 0.1, np.float32)
    probability[2:7, 3:8] = 0.9  # its middle is three cells from the border
    probability[0, 11] = 1.0  # the surest cell, at the border
    assert inner_point(probability) == (5, 4)
    probability[:] = 0.9
    assert inner_point(probability)[1] == 4  # the image ends the mask
    assert inner_point(np.where(np.arange(12) == 7, 0.4, 0.2) * np.ones((9, 1), np.float32)) == (7, 0)


def test_heat_glows_where_attention_is_and_darkens_the_rest() -> None:
    frame = np.full((40, 40, 3), 200, np.uint8)
    attention = np.zeros((4, 4), np.float32)
    attention[1, 2] = 0.3
    (drawn,) = heat([frame], attention[None])
    assert drawn[15, 25].sum() > 450  # the middle of the cell (2, 1)
    assert drawn.sum(-1).max() == drawn[14:16, 24:26].sum(-1).max()
    np.testing.assert_array_equal(drawn[35, 5], [70, 70, 70])


def test_masks_are_tinted_and_outlined() -> None:
    frame = np.full((40, 40, 3), 100, np.uint8)
    probability = np.zeros((4, 4), np.float32)
    probability[1:3, 1:3] = 1
    drawn = outlined(frame, probability)
    assert drawn[20, 20, 0] > drawn[20, 20, 1]
    assert (drawn == 255).all(-1).any()
    np.testing.assert_array_equal(drawn[2, 2], [100, 100, 100])


def test_every_part_of_the_picture_follows_what_it_shows() -> None:
    rng = np.random.default_rng(0)

    def graph(**changes) -> GraphView:
        fields = {
            "frames": [np.full((40, 60, 3), 90, np.uint8)] * 3,
            "names": ["0", "5", "9"],
            "point": (2, 1),
            "attention": np.full((3, 4, 6), 1 / 24, np.float32),
            "gates": np.array([0.5, 0.5, 0.5]),
            "probability": np.full((3, 4, 6), 0.2, np.float32),
            "alpha": 0.5,
        }
        return GraphView(**fields | changes)

    plain = render_graph(graph())
    changes = [
        {"frames": [rng.integers(0, 255, (40, 60, 3), np.uint8)] * 3},
        {"point": (4, 3)},
        {"attention": rng.dirichlet(np.ones(24), 3).reshape(3, 4, 6).astype(np.float32)},
        {"gates": np.array([0.5, 0.9, 0.5])},
        {"probability": np.full((3, 4, 6), 0.8, np.float32)},
        {"names": ["0", "6", "9"]},
        {"alpha": 0.7},
    ]
    for change in changes:
        assert render_graph(graph(**change)).shape == plain.shape
        assert (render_graph(graph(**change)) != plain).any()
    changed = (render_graph(graph(gates=np.array([0.5, 0.9, 0.5]))) != plain).any(-1)
    assert 420 < np.flatnonzero(changed.any(0)).min() < np.flatnonzero(changed.any(0)).max() < 780  # the middle column


# --- the page of a run -----------------------------------------------------------------------------------------------


def run_folder(path: Path, data: Path, model: AGNN, config: str = "") -> Path:
    """A run's folder as fine-tuning leaves it."""
    (path / "pictures").mkdir(parents=True)
    told = f"system: agnn\ndata: {data}\nlabels: annotations\nstills: []\nsample: {{size: 64, nodes: 3}}\nseed: 0\n"
    (path / "config.yaml").write_text(told + config)
    rows = [f"{step},0.001,,{1 - step / 50},{step / 50},0.5" for step in range(40)]
    (path / "metrics.csv").write_text("\n".join(["step,lr,still,video,iou,grad_norm", *rows]) + "\n")
    for step in (20, 40):
        Image.new("RGB", (32, 16)).save(path / "pictures" / f"{step:07d}.png")
    (path / "held_out.txt").write_text("square2\n")
    save_weights(path / "agnn.safetensors", model, {})
    return path


def page(run: Path) -> str:
    report(ReportOptions(run))
    return (run / "report.html").read_text()


@pytest.fixture
def run(moving_squares: Squares, tmp_path: Path) -> Path:
    return run_folder(tmp_path / "run", moving_squares(videos=4, frames=4), small_model())


def test_page_of_a_fine_tuning_run(run: Path) -> None:
    html = page(run)
    titles = re.findall(r'class="chart"><h4>([^<]*)<', html)
    assert titles == ["Loss on video", "J of the masks of a step", "Norm of the gradient", "Learning rate"]
    assert "<td>system</td><td>agnn</td>" in html
    assert "<td>stills</td>" not in html
    assert "After 40 steps" in html and "After 20 steps" not in html
    shown = re.findall(r"<figcaption>One graph of (\w+), a video ([\w ]+)\.", html)
    assert shown == [
        ("square2", "kept out of training"),
        ("square0", "of the training"),
        ("square1", "of the training"),
    ]
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', html)
    assert [Image.open(io.BytesIO(base64.b64decode(data))).width for data in pictures] == [32, 1200, 1200, 1200]


def test_page_without_weights_data_or_messages(run: Path, tmp_path: Path) -> None:
    save_weights(run / "agnn.safetensors", small_model(iterations=0), {})
    assert "passes no messages" in page(run)
    save_weights(run / "agnn.safetensors", small_model(), {})
    shutil.rmtree(tmp_path / "squares")
    html = page(run)
    assert "no longer where they lay" in html and "One graph" not in html
    (run / "agnn.safetensors").unlink()
    assert "What the graph does" not in page(run)


def test_videos_without_annotations_are_shown_where_the_run_made_its_own(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "squares" / "Annotations")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("labels: annotations", "labels: pseudo"))
    assert page(run).count("One graph of") == 3 * 2  # caption and description

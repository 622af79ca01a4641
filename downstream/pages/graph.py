"""Part of a fine-tuning run's page that shows the graph on a few videos."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from agnn_head.checkpoint import load_weights
from downstream.data.kinds import find_dataset, open_videos
from downstream.pages.graph_picture import graph_picture
from downstream.pages.html import heading, paragraph, picture
from downstream.systems.agnn import GraphConfig
from downstream.systems.agnn.inference import as_trained
from downstream.training.annotated import splits_of, tell_apart
from mug.media.listing import roots_of

VIDEOS = 3
NODES = 4
CAPTION = "One graph of {name}, a video {role}. Heat goes up to the maximum of each map."


def graph_parts(run: Path, config: Mapping[str, Any]) -> Iterator[Markup]:
    """Frames, edges, gates and masks of up to three videos, held-out ones first.

    Args:
        run: Folder of the run; without weights in it, nothing is shown.
        config: Content of its config.yaml.

    Raises:
        InputError: weights or frames cannot be read.
    """
    weights = run / "agnn.safetensors"
    if not weights.is_file():
        return
    yield heading("What the graph does")
    roots = roots_of(config.get("data") or [])
    parts = zip(roots, splits_of(config.get("split"), len(roots)), strict=True)
    found = tell_apart(
        [
            (root, video)
            for root, split in parts
            if _holds_videos(root, config)
            for video in open_videos(root, config.get("dataset"), split)
        ]
    )
    model, metadata = load_weights(weights)
    if model.rounds() == 0:
        yield paragraph("The model passes no messages, so that there is no graph to look at.", "soft")
        return
    if not found:
        yield paragraph("It is drawn of videos, and the run's data are none, or no longer where they lay.", "soft")
        return
    held = run / "held_out.txt"
    kept_out = held.read_text().split() if held.is_file() else []
    graph = as_trained(GraphConfig(nodes=NODES), metadata)
    videos = sorted(found, key=lambda video: video.name not in kept_out)
    for video in videos[:VIDEOS]:
        role = "kept out of training" if video.name in kept_out else "of the training"
        image = graph_picture(video, model, graph)
        yield picture(image, CAPTION.format(name=video.name, role=role))


def _holds_videos(data: Path, config: Mapping[str, Any]) -> bool:
    """Whether the data are videos rather than groups of images."""
    if config.get("labels") == "pseudo":
        return data.exists()
    return find_dataset(data, config.get("dataset")) is not None

"""Part of a pretraining run's page: area of the labels of each round against that of the initial maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from downstream.pages.curves import charts, dots
from downstream.pages.html import heading, paragraph, table
from mug.media.files import natural_key
from mug.media.masks import read_soft

MAPS = 8
"""Number of maps measured per video, evenly spread."""
WIPED = 0.2
"""Videos whose labels kept less than this share of their area are listed."""


def label_parts(run: Path, config: Mapping[str, Any]) -> Iterator[Markup]:
    """A chart for each relabelling of a run, and a table of videos that lost most of their labels.

    Args:
        run: Folder of the run; without renewed labels in it, nothing is shown.
        config: Content of its config.yaml.

    Raises:
        InputError: a map cannot be read.
    """
    rounds = sorted((run / "labels").glob("round*"), key=lambda path: natural_key(path.name))
    areas = {folder.name: renewed_areas(initial_maps(run, config), folder) for folder in rounds}
    areas = {name: points for name, points in areas.items() if points}
    if not areas:
        return
    yield heading("Labels")
    yield paragraph(
        "The area of each video's labels, as a share of the frame: initial maps across, renewed ones upwards. "
        "A video on the dashed line kept its area, one along the bottom has lost its labels.",
        "soft",
    )
    yield charts(
        dots(f"labels after {name.replace('round', 'round ')}", points, "initial maps", "renewed")
        for name, points in areas.items()
    )
    lost = [
        (video, name.replace("round", ""), f"{100 * before:.2f}", f"{100 * after:.2f}")
        for name, points in areas.items()
        for video, (before, after) in points.items()
        if after < WIPED * before
    ]
    if lost:
        header = ("video", "round", "initial maps", "renewed")
        yield table(header, lost, f"Videos that kept less than {WIPED:.0%} of the area; per cent of the frame.")


def initial_maps(run: Path, config: Mapping[str, Any]) -> Path:
    """Folder of a run's initial maps: the configured one, or the default in the run."""
    bootstrap = config.get("bootstrap")
    cache = bootstrap.get("cache") if isinstance(bootstrap, Mapping) else None
    return Path(config.get("maps") or cache or run / "labels" / "prior")


def renewed_areas(initial: Path, renewed: Path) -> dict[str, tuple[float, float]]:
    """Mean area of each video's maps, thresholded at one half, as a share of the frame: (initial, renewed) by video.

    Only maps present in both folders are compared.
    """
    areas = {}
    for folder in sorted({path.parent for path in renewed.rglob("*.png")}):
        name = folder.relative_to(renewed)
        both = [path for path in sorted(folder.glob("*.png")) if (initial / name / path.name).is_file()]
        chosen = [both[int(k)] for k in np.unique(np.linspace(0, len(both) - 1, MAPS).round())] if both else []
        if chosen:
            before, after = (np.mean([area(at / name / p.name) for p in chosen]) for at in (initial, renewed))
            areas[str(name)] = (float(before), float(after))
    return areas


def area(path: Path) -> float:
    """Share of a soft map that is foreground at a threshold of one half."""
    return float((read_soft(path) >= 128).mean())

"""Part of a pretraining run's page: the labels of each round beside the initial maps, and what became of their area."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from downstream.data.kinds import open_videos
from downstream.pages.curves import charts, dots
from downstream.pages.html import Cell, heading, paragraph, strip, table
from mug.errors import InputError
from mug.media.files import natural_key
from mug.media.listing import roots_of
from mug.media.masks import read_soft
from mug.media.video import Video

MAPS = 8
"""Number of maps measured per video, evenly spread."""
SHOWN = 6
"""Number of videos whose maps are shown."""
WIDTH = 320
"""Maximum width of a shown map in pixels."""
WIPED = 0.2
"""Videos whose labels kept less than this share of their area are listed."""


def label_parts(run: Path, config: Mapping[str, Any]) -> Iterator[Markup]:
    """Maps of each round in pictures, a chart for each relabelling, and a table of videos that lost their labels.

    Args:
        run: Folder of the run; without maps in it or where they were read, nothing is shown.
        config: Content of its config.yaml.

    Raises:
        InputError: a map cannot be read.
    """
    initial = initial_maps(run, config)
    rounds = sorted((run / "labels").glob("round*"), key=lambda path: natural_key(path.name))
    titles = {initial: "the prior"} | {folder: f"after {folder.name.replace('round', 'round ')}" for folder in rounds}
    pictures = list(
        _pictures(
            {folder: title for folder, title in titles.items() if folder.is_dir()},
            roots_of(config.get("videos") or []),
        )
    )
    if not pictures:
        return
    yield heading("Labels: what the network is taught as foreground")
    yield from pictures
    areas = {folder.name: renewed_areas(initial, folder) for folder in rounds}
    areas = {name: points for name, points in areas.items() if points}
    if not areas:
        return
    yield heading("Area kept from round to round", 3)
    yield paragraph(
        "The area of each video's labels, as a share of the frame: initial maps across, renewed ones upwards. "
        "A video on the dashed line kept its area, one along the bottom has lost its labels.",
        "soft",
    )
    yield charts(
        dots(f"After {name.replace('round', 'round ')}", points, "initial maps", "renewed")
        for name, points in areas.items()
    )
    lost = [
        (
            Cell(video),
            Cell(number := name.removeprefix("round"), float(number)),
            *(Cell(f"{100 * value:.2f}", value) for value in (before, after)),
        )
        for name, points in areas.items()
        for video, (before, after) in points.items()
        if after < WIPED * before
    ]
    if lost:
        header = ("video", "round", "initial maps", "renewed")
        yield table(header, lost, f"Videos that kept less than {WIPED:.0%} of the area; per cent of the frame.")


def _pictures(folders: Mapping[Path, str], roots: Sequence[Path]) -> Iterator[Markup]:
    """A frame of a few videos with its map before and after each round; of videos that have all of them if there are.

    Args:
        folders: The initial maps, and the renewed ones of each round, with what they are.
        roots: The videos; maps of those that are no longer there are shown alone.
    """
    names = [sorted({str(path.parent.relative_to(folder)) for path in folder.rglob("*.png")}) for folder in folders]
    everywhere = [
        name for name in dict.fromkeys(name for some in names for name in some) if all(name in n for n in names)
    ]
    shown = (
        [everywhere[int(k)] for k in np.unique(np.linspace(0, len(everywhere) - 1, SHOWN).round())]
        if everywhere
        else []
    )
    if not shown:
        return
    found = _videos(roots)
    columns = [*(["a frame"] if found else []), *folders.values()]
    yield paragraph(f"From left to right: {', '.join(columns)}. White is foreground.", "soft")
    for name in shown:
        maps = [sorted((folder / name).glob("*.png")) for folder in folders]
        common = sorted(set.intersection(*({path.name for path in files} for files in maps)))
        if not common:
            continue
        file = common[len(common) // 2]
        images = [_small(read_soft(folder / name / file)) for folder in folders]
        frame = _frame(found.get(name), Path(file).stem)
        yield strip(
            [*([] if frame is None else [_small(frame, images[0].shape[:2])]), *images],
            f"{name}, frame {Path(file).stem}",
        )


def _videos(roots: Sequence[Path]) -> dict[str, Video]:
    """The videos by name; those that cannot be opened now are left out."""
    found: dict[str, Video] = {}
    for root in roots:
        if root.exists():
            with suppress(InputError):
                found |= {video.name: video for video in open_videos(root)}
    return found


def _frame(video: Video | None, name: str) -> np.ndarray | None:
    """The frame of that name, HWC uint8 RGB, if there is one."""
    if video is None or name not in video.frame_names:
        return None
    frame: np.ndarray = video[list(video.frame_names).index(name)]
    return frame


def _small(image: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """A picture at the size of another, or no wider than `WIDTH`."""
    height, width = size or (round(image.shape[0] * WIDTH / image.shape[1]), WIDTH)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


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

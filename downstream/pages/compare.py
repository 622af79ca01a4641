"""Part of a page that shows where results differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from downstream.data.kinds import open_dataset
from downstream.pages.html import heading, paragraph, strip, table
from downstream.pages.mask_pictures import mask_picture, over_frame, videos_by_name
from downstream.scoring.compare import comparison_table
from downstream.scoring.tables import percent, rows_in_words
from mug.media.listing import mask_files


def is_comparison(content: Any) -> bool:
    """Whether the content of a JSON file is a comparison written by `mug evaluate --out`."""
    return isinstance(content, dict) and {"task", "gt", "results", "comparison"} <= content.keys()


def comparison_parts(content: Mapping[str, Any], videos: Path | None) -> Iterator[Markup]:
    """The table of a comparison, and the frames where the results differ most: annotation, then each result.

    Args:
        content: Content of the JSON file.
        videos: Folder of the frames; None: those of the dataset.
    """
    drawn = comparison_table(content)
    yield table(drawn.header, rows_in_words(drawn), drawn.title)
    for note in drawn.notes:
        yield paragraph(note)
    comparison, results = content["comparison"], content["results"]
    gt = Path(content["gt"])
    if not gt.is_dir() or not all(Path(entry["pred"]).is_dir() for entry in results.values()):
        yield paragraph("The masks that were compared are no longer where they lay.", "soft")
        return
    dataset, films = open_dataset(gt, content["dataset"]), videos_by_name(videos, content)
    baseline = comparison["baseline"]
    for other, entry in comparison["others"].items():
        yield heading(f"Where {other} and {baseline} differ most", 3)
        if not entry["frames"]:
            yield paragraph("Nowhere.", "soft")
        for place in entry["frames"]:
            sequence, frame = place["sequence"], place["frame"]
            paths = [mask_files(Path(results[name]["pred"]) / sequence)[frame] for name in (baseline, other)]
            truth = dataset.frames(sequence)[frame]
            images = [over_frame(truth.read(), truth.path, frame, films.get(sequence))]
            images += [mask_picture(path, frame, films.get(sequence), content["threshold"]) for path in paths]
            values = [f"{name} J {percent(j)}" for name, j in zip((baseline, other), place["J"], strict=True)]
            yield strip(images, f"{sequence}, frame {frame}: annotation; {'; '.join(values)}")

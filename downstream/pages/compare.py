"""Part of a page that shows where results differ."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from downstream.data.kinds import open_dataset
from downstream.pages.html import Cell, heading, paragraph, share_cell, strip, table
from downstream.pages.mask_pictures import mask_picture, over_frame, videos_by_name
from downstream.scoring.compare import in_words, signed
from downstream.scoring.tables import missing_in_words, percent
from mug.media.listing import mask_files


def is_comparison(content: Any) -> bool:
    """Whether the content of a JSON file is a comparison written by `mug evaluate --out`."""
    return isinstance(content, dict) and {"task", "gt", "results", "comparison"} <= content.keys()


def comparison_parts(content: Mapping[str, Any], videos: Path | None, links: Mapping[str, str]) -> Iterator[Markup]:
    """The table of a comparison, and the frames where the results differ most: annotation, then each result.

    Args:
        content: Content of the JSON file.
        videos: Folder of the frames; None: those of the dataset.
        links: Identifiers of players in the page, by sequence.
    """
    results, comparison = content["results"], content["comparison"]
    shown = short_names(results)
    yield _table(content, shown, links)
    if lacking := missing_in_words(results[comparison["baseline"]]):
        yield paragraph(f"PARTIAL: {lacking}")
    for note in in_words(content):
        yield paragraph(note, "soft")
    gt = Path(content["gt"])
    if not gt.is_dir() or not all(Path(entry["pred"]).is_dir() for entry in results.values()):
        yield paragraph("The masks that were compared are no longer where they lay.", "soft")
        return
    dataset, films = open_dataset(gt, content["dataset"]), videos_by_name(videos, content)
    baseline = comparison["baseline"]
    for other, entry in comparison["others"].items():
        yield heading(f"Where {shown[other]} and {shown[baseline]} differ most", 3)
        if not entry["frames"]:
            yield paragraph("Nowhere.", "soft")
        for place in entry["frames"]:
            sequence, frame = place["sequence"], place["frame"]
            paths = [mask_files(Path(results[name]["pred"]) / sequence)[frame] for name in (baseline, other)]
            truth = dataset.frames(sequence)[frame]
            images = [over_frame(truth.read(), truth.path, frame, films.get(sequence))]
            images += [mask_picture(path, frame, films.get(sequence), content["threshold"]) for path in paths]
            values = [f"{shown[name]} J {percent(j)}" for name, j in zip((baseline, other), place["J"], strict=True)]
            title = linked_cell(sequence, links, frame)
            yield strip(images, f": annotation; {'; '.join(values)}", title)


def _table(content: Mapping[str, Any], shown: Mapping[str, str], links: Mapping[str, str]) -> Markup:
    """J and F of each result and their differences to the first: one row per sequence, the mean and its interval."""
    results, comparison = content["results"], content["comparison"]
    baseline, others = comparison["baseline"], comparison["others"]
    header = ["sequence"]
    for measure in "JF":
        header.append(f"{measure}\n{shown[baseline]}")
        for other in others:
            header += [f"{measure}\n{shown[other]}", "difference"]

    def row(name: Cell | str, values: Mapping[str, Any], changes: Mapping[str, Any]) -> list[str | Cell]:
        cells: list[str | Cell] = [name]
        for measure in "JF":
            cells.append(_share(values[baseline][measure]["mean"]))
            for other in others:
                change = changes[other][measure]
                cells += [_share(values[other][measure]["mean"]), Cell(signed(change), change)]
        return cells

    rows = [
        row(
            linked_cell(name, links),
            {result: entry["sequences"][name] for result, entry in results.items()},
            {other: entry["sequences"][name] for other, entry in others.items()},
        )
        for name in results[baseline]["sequences"]
    ]
    means = {other: {measure: entry[measure]["difference"] for measure in "JF"} for other, entry in others.items()}
    ends: list[str | Cell] = [f"{comparison['level']:.0%} interval"]
    for measure in "JF":
        ends.append("")
        for entry in others.values():
            ends += ["", " … ".join(signed(entry[measure][end]) for end in ("low", "high"))]
    foot = [row("mean", results, means), ends]
    return table(header, rows, f"{content['task']}, per cent; a name leads to its player.", foot=foot)


def linked_cell(sequence: str, links: Mapping[str, str], frame: str = "") -> Cell:
    """The name of a sequence, or of a frame, which leads to its player if the page has one."""
    name = f"{sequence}, frame {frame}" if frame else sequence
    place = links.get(sequence, "")
    return Cell(name, link=f"{place}/{frame}" if place and frame else place)


def _share(fraction: float | None) -> Cell:
    return share_cell(percent(fraction), fraction)


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Names of results without the last folders that all have in common.

    >>> short_names(["mug/masks", "agnn/masks"])
    {'mug/masks': 'mug', 'agnn/masks': 'agnn'}
    """
    parts = {name: name.split("/") for name in names}
    while len(parts) > 1 and all(len(some) > 1 for some in parts.values()):
        if len({some[-1] for some in parts.values()}) > 1:
            break
        parts = {name: some[:-1] for name, some in parts.items()}
    return {name: "/".join(some) for name, some in parts.items()}

"""`mug report`: one HTML page for a run, or for results and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from downstream.pages.html import check_page, write_page
from downstream.pages.results import results_parts
from downstream.pages.run import run_parts
from mug.errors import InputError
from mug.media.listing import own_name


@dataclass
class ReportOptions:
    """Options of `mug report`."""

    run: Path
    """Folder of a run, folder of results (masks, score files or both), or a score file."""
    out: Path | None = None
    """Path of the page; by default `report.html` in that folder, or beside a score file with its name."""
    videos: Path | None = None
    """Videos to draw the masks over; by default those of the scored dataset."""
    weights: Path | None = None
    """Weights of MuG or AGNN: a click into a picture shows the affinity of that point to another frame. Those that come
    with the package need not be given for results that were made with them."""


def report(options: ReportOptions) -> None:
    """Writes one self-contained HTML page for a run or for results."""
    source = options.run
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; give a run, a folder of results or a score file")
    out = options.out or (source / "report.html" if source.is_dir() else source.with_suffix(".html"))
    check_page(out)
    if source.is_dir() and (source / "metrics.csv").is_file():
        parts = list(run_parts(source))
    else:
        parts = results_parts(source, options.videos, options.weights)
    if not parts:
        raise InputError(f"{source}: holds no metrics.csv, score file or mask; give a run, results or a score file")
    write_page(out, f"mug: {own_name(source)}", parts)
    print(f"{out}: written, {out.stat().st_size / 1e6:.1f} MB; open it in a browser")

"""The page of results: score tables, comparisons, and a player for each sequence."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from downstream.data.dataset import Dataset
from downstream.data.kinds import find_dataset, open_dataset
from downstream.pages.compare import comparison_parts, is_comparison, linked_cell, short_names
from downstream.pages.html import Cell, heading, paragraph, share_cell, table
from downstream.pages.mask_pictures import videos_by_name
from downstream.pages.player import anchor, film_of, fit, player
from downstream.scoring.stored import check_scores
from downstream.scoring.tables import percent
from mug import __version__
from mug.errors import InputError
from mug.media.files import natural_key
from mug.media.listing import files_of, own_name, sequence_folders
from mug.media.plain import read_json
from mug.run.progress import track

SEQUENCES = 20
"""Maximum number of sequences with a player; tables list all."""
PAGE_BYTES = 18_000_000
"""Approximate maximum size of the players of a page; the frames of many sequences are reduced to fit."""
FILM_BYTES = 2_500_000
"""The same for one sequence."""
FEATURES = 0.25
"""Share of it for the features that affinities are computed from."""

MEASURES = (
    "J is the overlap of a mask with the true one (intersection over union), F how well their outlines agree within "
    "0.8 % of the diagonal; recall is the share of frames above 50, decay what the last quarter of a sequence has lost "
    "against the first, and T how unsteady the outline is from frame to frame."
)
"""What the columns of a score table are."""

Scores = dict[str, Any]
"""Scores written by `mug evaluate --out`."""


@dataclass
class Collection:
    """Results on the same videos."""

    folders: dict[str, Path]
    """Folders of masks by the name of the result."""
    scores: dict[str, Scores]
    """Scores of the results that have some."""
    videos: tuple[Any, ...] = ()
    """See `videos_of`."""
    number: int = 1
    """Its number in the page."""

    def title(self) -> str:
        """The videos in words."""
        return ", ".join(str(fact) for fact in (Path(self.videos[0]).name, *self.videos[1:]) if fact)

    def links(self) -> dict[str, str]:
        """Identifiers of the players of its sequences; those of other collections may have the same names."""
        prefix = f"{self.number}:" if self.number > 1 else ""
        return {name: prefix + anchor(name) for name in self.sequences()[:SEQUENCES]}

    def scored(self) -> Scores:
        """The facts that all scores share; empty without scores."""
        return next(iter(self.scores.values()), {})

    def there(self) -> dict[str, Path]:
        """The folders that still lie where they lay."""
        return {name: folder for name, folder in self.folders.items() if folder.is_dir()}

    def sequences(self) -> list[str]:
        """The sequences of which there are masks and, if there are scores, scores."""
        names = sorted({name for folder in self.there().values() for name in sequence_folders(folder)}, key=natural_key)
        if not self.scores:
            return names
        return [name for name in names if any(name in entry["sequences"] for entry in self.scores.values())]


def results_parts(source: Path, videos: Path | None, weights: Path | None = None) -> list[Markup]:
    """Score tables, comparisons, and players; empty if there are neither scores nor masks.

    Args:
        source: A folder of score files or of masks, or a score file.
        videos: The videos; None: those of the scored dataset.
        weights: Weights whose affinity a click shows.

    Raises:
        InputError: a file cannot be read, or does not belong to the others.
    """
    contents = read_contents(source)
    scores = {name: content for name, content in contents.items() if _is_scores(content)}
    comparisons = {name: content for name, content in contents.items() if is_comparison(content)}
    if source.is_file() and not scores and not comparisons:
        raise InputError(f"{source}: holds no scores; give a file that `mug evaluate --out` wrote")
    collections = collect(scores, comparisons)
    if not collections and source.is_dir() and sequence_folders(source):
        collections = [Collection({own_name(source): source}, {})]
    for number, collection in enumerate(collections[1:], 2):
        collection.number = number
    parts: list[Markup] = []
    for name, content in comparisons.items():
        links = next((of.links() for of in collections if of.videos == videos_of(content)), {})
        parts += [heading(name), *comparison_parts(content, videos, links)]
    if scores:
        parts += [heading("Scores"), score_table(scores), paragraph(MEASURES, "soft"), *_facts(collections)]
    for collection in collections:
        more = f" of {collection.title()}" if len(collections) > 1 else ""
        if own := {name: entry for name, entry in collection.scores.items() if name in scores}:
            parts += [heading(f"Sequences{more}"), sequence_table(own, collection.links())]
        parts += [heading(f"Masks{more}"), *_players(collection, videos, weights)]
    return parts


def _facts(collections: Sequence[Collection]) -> Iterator[Markup]:
    """What was scored, and by which version."""
    names = "; ".join(f"{collection.title()} ({len(collection.sequences())} sequences)" for collection in collections)
    yield paragraph(f"Scored: {names}. mug {__version__}, {datetime.date.today().isoformat()}.", "soft")


def collect(scores: Mapping[str, Scores], comparisons: Mapping[str, Any]) -> list[Collection]:
    """All results of score files and comparisons, each once; those on the same videos together."""
    named = dict(scores)
    known = {(entry["pred"], entry["task"], *videos_of(entry)) for entry in scores.values()}
    for content in comparisons.values():
        shown = short_names(content["results"])
        for name, entry in content["results"].items():
            if (made := (entry["pred"], entry["task"], *videos_of(entry))) not in known:
                known.add(made)
                named[shown[name] if shown[name] not in named else entry["pred"]] = entry
    together: dict[tuple[Any, ...], dict[str, Scores]] = {}
    for name, entry in named.items():
        together.setdefault(videos_of(entry), {})[name] = entry
    return [
        Collection({name: Path(e["pred"]) for name, e in found.items()}, found, of) for of, found in together.items()
    ]


def videos_of(content: Mapping[str, Any]) -> tuple[Any, ...]:
    """The dataset, its kind and the split of scores or of a comparison."""
    return content["gt"], content.get("dataset"), content.get("split")


def read_contents(source: Path) -> dict[str, Any]:
    """Contents of the JSON files of a folder, or of a single file, by file name.

    Raises:
        InputError: a file is not valid JSON, or not as `mug evaluate` writes it.
    """
    files = sorted(files_of(source, (".json",))) if source.is_dir() else [source]
    contents = {file: read_json(file) for file in files}
    for file, content in contents.items():
        if _is_scores(content):
            check_scores(file, content)
    return {file.stem: content for file, content in contents.items()}


def _is_scores(content: Any) -> bool:
    return isinstance(content, dict) and {"task", "gt", "pred", "J", "F", "sequences"} <= content.keys()


def score_table(scores: Mapping[str, Scores], names: Mapping[str, str] | None = None) -> Markup:
    """One row per score file: J, F and T over the whole dataset, in per cent.

    Args:
        scores: Score files by name.
        names: Names to show instead.
    """
    t = [entry.get("T", {}).get("mean") for entry in scores.values()]
    with_t = any(value is not None for value in t)
    header = ("", "task", "J mean", "recall", "decay", "F mean", "recall", "decay", *(["T"] if with_t else []))
    rows = []
    for (name, entry), stability in zip(scores.items(), t, strict=True):
        row: list[str | Cell] = [(names or {}).get(name, name)]
        row.append(", ".join(entry[key] for key in ("task", "protocol") if key in entry))
        for measure in "JF":
            mean, recall, decay = (entry[measure].get(key) for key in ("mean", "recall", "decay"))
            row += [share_cell(percent(mean), mean), *(Cell(percent(value), value) for value in (recall, decay))]
        rows.append([*row, *([Cell(percent(stability), stability)] if with_t else [])])
    lower = "decay and T" if with_t else "decay"
    return table(header, rows, f"Per cent; higher is better, but for {lower}.")


def sequence_table(scores: Mapping[str, Scores], links: Mapping[str, str]) -> Markup:
    """Mean J and F of every sequence, two columns per score file.

    Args:
        scores: Score files by name.
        links: Identifiers of players in the page, by sequence.
    """
    sequences = dict.fromkeys(name for entry in scores.values() for name in entry["sequences"])

    def row(name: str | Cell, entries: Mapping[str, Mapping[str, Any]]) -> list[str | Cell]:
        values = [entries[file].get(measure, {}).get("mean") for file in scores for measure in "JF"]
        return [name, *(share_cell(percent(value), value) for value in values)]

    rows = [
        row(linked_cell(name, links), {file: entry["sequences"].get(name, {}) for file, entry in scores.items()})
        for name in sequences
    ]
    named = len(scores) > 1
    header = ["sequence", *(f"{measure}\n{file}" if named else measure for file in scores for measure in "JF")]
    return table(header, rows, "Per cent; a name leads to its player.", foot=[row("mean", scores)])


def sequence_j(scores: Scores, sequence: str) -> float | None:
    """Mean J of a sequence; None if it was not scored."""
    value: float | None = scores["sequences"].get(sequence, {}).get("J", {}).get("mean")
    return value


# --- players ---------------------------------------------------------------------------------------------------------


def _players(collection: Collection, videos: Path | None, weights: Path | None) -> Iterator[Markup]:
    there, sequences = collection.there(), collection.sequences()
    if not there:
        yield paragraph("The masks that were scored are no longer where they lay.", "soft")
        return
    scored = collection.scored()
    found = videos_by_name(videos, scored)
    dataset = _dataset(videos, scored)
    if not found:
        yield paragraph("The frames are not at hand: with --videos VIDEOS, masks are drawn over them.", "soft")
    if len(sequences) > SEQUENCES:
        yield paragraph(f"The first {SEQUENCES} of {len(sequences)} sequences.", "soft")
    links = collection.links()
    shown = list(links)
    matchers = _matchers(there, shown, weights)
    budget = min(FILM_BYTES, PAGE_BYTES // max(len(shown), 1))
    for name in track(shown, "players"):
        film = film_of(name, found.get(name), there, collection.scores, dataset)
        size, frames = fit(film, round(budget * (1 - FEATURES)) if matchers else budget)
        features: list[Any] = []
        if film.video is not None and matchers:
            from downstream.pages.features import features as features_of

            each = round(budget * FEATURES) // len(matchers)
            features = [features_of(film.video, frames, matcher, each) for matcher in matchers]
        yield player(film, size, frames, filter(None, features), links[name])


def _dataset(videos: Path | None, scored: Scores) -> Dataset | None:
    """Where the annotations are: in the scored dataset, or with the videos if there are no scores."""
    if scored:
        return open_dataset(Path(scored["gt"]), scored.get("dataset")) if Path(scored["gt"]).is_dir() else None
    return None if videos is None else find_dataset(videos)


def _matchers(folders: Mapping[str, Path], sequences: Sequence[str], weights: Path | None) -> list[Any]:
    """What affinities are shown of: the packaged weights if they made some of the results, and the given ones."""
    packaged = any(_is_by_packaged(folder, name) for folder in folders.values() for name in sequences[:1])
    if not packaged and weights is None:
        return []
    from downstream.pages.features import open_matcher  # loads torch, which no other part of this page needs

    return [open_matcher(path) for path in ([None] if packaged else []) + ([] if weights is None else [weights])]


def _is_by_packaged(folder: Path, sequence: str) -> bool:
    """Whether masks were made with the packaged weights of MuG, as recorded beside them."""
    record = folder / f".{sequence}.json"
    if not record.is_file():
        return False
    settings = read_json(record).get("settings", {})
    return settings.get("backbone") == "mug" and settings.get("weights") is None

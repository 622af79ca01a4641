"""Where the shards of one evaluation meet: beside its output file, each scored sequence is a file.

The name of such a file is a digest of all that its scores depend on, so there is nothing to lock and nothing old can be
taken for new. Whichever shard finds all of them writes the output.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mug.errors import InputError
from mug.media.files import atomic_path
from mug.run.settings import digest, to_plain
from mug.run.shard import Shard

Key = TypeVar("Key")
Job = TypeVar("Job")
Scores = dict[str, Any]
ScoreJobs = Callable[[Mapping[Key, Job]], Iterator[tuple[Key, Scores]]]
"""Scores jobs, in any order."""


class Unfinished(Exception):
    """This shard has done its part and leaves the output to another one; the message is one line."""


class Meeting:
    """The meeting of the shards of one evaluation.

    Args:
        shard: This shard.
        outs: The output files, at least one; the shards meet beside the first.
        overwrite: Whether they may be replaced.
        settings: What the scores depend on beside the files, as plain data.
    """

    def __init__(self, shard: Shard, outs: Sequence[Path], overwrite: bool, settings: Mapping[str, Any]) -> None:
        self._shard, self._outs, self._overwrite = shard, outs, overwrite
        self._settings = dict(settings)
        self._folder = outs[0].with_name(f".{outs[0].name}.shards")

    def score(self, jobs: Mapping[Key, Job], score: ScoreJobs[Key, Job]) -> dict[Key, Scores]:
        """The scores of all jobs, after the part of this shard has been scored.

        Args:
            jobs: Plain data and dataclasses; files in them count by name, time and size.
            score: See `ScoreJobs`.

        Raises:
            InputError: an output is there already and may not be replaced.
            Unfinished: scores of other shards are not there yet, or there was nothing to do.
        """
        files = {key: list(_files(job)) for key, job in jobs.items()}
        places = {key: self._place([str(key), to_plain(jobs[key]), list(map(_stamp, files[key]))]) for key in jobs}
        mine = self._shard.share(list(jobs), lambda key: len(files[key]), "sequences")
        todo = {key: jobs[key] for key in mine if not places[key].is_file()}
        there = [out for out in self._outs if out.exists() and not self._overwrite]
        if there and todo:
            raise InputError(f"{there[0]}: is there already; choose another file or add --overwrite")
        for key, scores in score(todo):
            with atomic_path(places[key]) as temporary:
                temporary.write_text(json.dumps(scores))
        if there:
            raise Unfinished(f"{there[0]}: is there already")
        found = {key: _read(place) for key, place in places.items()}
        done = {key: scores for key, scores in found.items() if scores is not None}
        if len(done) < len(jobs):
            raise Unfinished(
                f"{self._outs[0]}: {len(done)} of {len(jobs)} sequences are scored; the shard that scores the last "
                "one writes it"
            )
        return done

    def _place(self, content: Any) -> Path:
        """The file for the scores of a sequence."""
        return self._folder / f"{digest([self._settings, content], 24)}.json"

    def end(self) -> None:
        """Removes what the shards left for each other, once the output is written."""
        shutil.rmtree(self._folder, ignore_errors=True)


def score_jobs(jobs: Mapping[Key, Job], score: ScoreJobs[Key, Job], meeting: Meeting | None) -> dict[Key, Scores]:
    """The scores of all jobs; see `Meeting.score` for those that are shared with other shards."""
    return dict(score(jobs)) if meeting is None else meeting.score(jobs, score)


def _files(job: Any) -> Iterator[Path]:
    """The files in plain data and dataclasses."""
    if isinstance(job, Path):
        yield job
    elif dataclasses.is_dataclass(job) and not isinstance(job, type):
        yield from _files([getattr(job, field.name) for field in dataclasses.fields(job)])
    elif isinstance(job, Mapping):
        yield from _files(list(job.values()))
    elif isinstance(job, list | tuple):
        for entry in job:
            yield from _files(entry)


def _stamp(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_mtime_ns, status.st_size]


def _read(place: Path) -> Scores | None:
    """The scores of a sequence; None if they are not there, or any more: another shard may have written the output."""
    try:
        scores: Scores = json.loads(place.read_text())
    except FileNotFoundError:
        return None
    return scores

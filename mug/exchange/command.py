"""`mug masks`: turns result masks into the formats of other tools, and annotations of other tools into masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mug.errors import InputError, logger
from mug.media.files import atomic_path, inside, prepare_file, prepare_output, undone_if_refused
from mug.media.masks import write_mask
from mug.run.progress import track

JSON: Mapping[str, str] = {"coco": "to_coco", "youtube-vis": "to_youtube_vis"}
MOVING: Mapping[str, str] = {"rgba": "write_rgba", "webm": "write_webm", "gif": "write_gif"}


@dataclass
class MasksOptions:
    """Options of `mug masks`."""

    masks: Path
    """Folder of result masks, <sequence>/<frame>.png, or of one sequence; for `--to png` a COCO or YouTube-VIS file."""
    to: Literal["coco", "youtube-vis", "rgba", "webm", "gif", "png"]
    """`coco`, `youtube-vis`: a JSON file with RLE masks (extra `coco`). `rgba`: PNG files with the objects cut out.
    `webm`: a video with the objects cut out, VP9 with transparency. `gif`: an animation of the masks over the frames.
    `png`: indexed masks, from JSON."""
    out: Path
    """The JSON file, or the folder, to write."""
    videos: Path | None = None
    """The videos of the masks, for `rgba`, `webm` and `gif`: a video, a folder of videos or a dataset root. For JSON,
    they give the true file names of the frames; else these end in .jpg."""
    overwrite: bool = False
    """Replace existing results."""

    def unused(self) -> Mapping[str, str]:
        """See `mug.command.options.parse`."""
        return {"videos": "--to png reads a JSON file alone"} if self.to == "png" else {}


def masks(options: MasksOptions) -> None:
    """Converts result masks into the formats of other tools, or JSON annotations into masks."""
    if options.to == "png":
        _write_masks(options)
    elif options.to in JSON:
        _write_json(options)
    else:
        _write_moving(options)
    logger.info("%s is written", options.out)


def _write_masks(options: MasksOptions) -> None:
    from mug.exchange import coco

    if options.masks.is_dir():
        raise InputError(f"{options.masks}: is a folder; --to png reads a COCO or YouTube-VIS file")
    for sequence, frame, _ in coco.read(options.masks):  # a fault is found before anything is written
        inside(options.out, f"{sequence}/{frame}.png")
    with undone_if_refused(options.out):
        prepare_output(options.out, options.overwrite)
        for sequence, frame, mask in track(coco.read(options.masks), "writing masks"):
            write_mask(options.out / sequence / f"{frame}.png", mask)


def _write_json(options: MasksOptions) -> None:
    from mug.exchange import coco, sequences

    if options.out.is_dir():
        raise InputError(f"{options.out}: is a folder; give a file, such as {options.out / 'masks.json'}")
    prepare_file(options.out, options.overwrite)
    found = sequences.find_sequences(options.masks, options.videos)
    convert: Callable[[Any], dict[str, Any]] = getattr(coco, JSON[options.to])
    content = convert(track(found, "encoding masks"))
    with atomic_path(options.out) as temporary:
        temporary.write_text(json.dumps(content))


def _write_moving(options: MasksOptions) -> None:
    from mug.exchange import moving, sequences

    if options.videos is None:
        raise InputError(f"--to {options.to}: shows the frames; give their videos with --videos")
    found = sequences.find_sequences(options.masks, options.videos)
    write: Callable[[sequences.Sequence, Path], None] = getattr(moving, MOVING[options.to])
    with undone_if_refused(options.out):
        prepare_output(options.out, options.overwrite)
        for sequence in track(found, "cutting out" if options.to != "gif" else "animating"):
            write(sequence, options.out)

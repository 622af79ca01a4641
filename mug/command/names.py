"""Names of options: short forms, names of earlier versions, and names that other commands have for the same thing."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

SHORT = {"device": "engine.device", "precision": "engine.precision"}
"""Options of a group that are typed without it, so that they have the same name in every command."""

RENAMED = (
    ("num_workers", "workers"),
    ("engine.accelerator", "engine.device"),
    ("labels", "maps"),
    ("weights", "loss"),
    ("warmup.weights", "warmup.loss"),
    ("initial", "weights"),
    ("weights", "classifier_weights"),
    ("carry", "graphs"),
)
"""Earlier and present name of an option, or of a group of options. Only a command without the first and with the second
has renamed it."""

ALIKE = (
    ("videos", "video", "data", "gt", "images", "run", "file", "input", "clips"),
    ("pred", "results", "masks", "predictions"),
    ("out", "output", "output_dir", "outdir"),
    ("weights", "checkpoint", "ckpt", "model_path"),
    ("device", "gpu", "gpus", "accelerator"),
    ("workers", "jobs", "processes", "cores"),
    ("batch", "batch_size"),
    ("steps", "epochs", "iterations"),
    ("config", "cfg"),
)
"""What other commands, or other programs, call the same thing."""


def full(name: str, known: Collection[str]) -> str:
    """The name of an option with its group."""
    return SHORT[name] if name not in known and SHORT.get(name) in known else name


def typed(name: str) -> str:
    """The shortest name of an option that the command line takes."""
    return next((short for short, long in SHORT.items() if long == name), name)


def advice(name: str, known: Mapping[str, object], positional: Sequence[str], command: str) -> str:
    """How an option that a command does not have may have been meant; the end of a message, empty if nobody knows."""
    if now := renamed(name, known):
        return f" any more: it is now --{typed(now)}"
    for alike in ALIKE:
        if name in alike:
            for other in alike:
                if other in positional:
                    places = " ".join(place.upper() for place in positional)
                    return f"; {other.upper()} goes without a name: `{command} {places}`"
                if full(other, known) in known or other == "config":
                    return f"; did you mean --{other}?"
    close = difflib.get_close_matches(name, [*known, *SHORT], n=1)
    return f"; did you mean --{typed(close[0])}?" if close and full(close[0], known) in known else ""


def renamed(name: str, known: Collection[str]) -> str | None:
    """The present name of an option that an earlier version called `name`, or the option within a renamed group."""
    for old, new in RENAMED:
        if name == old or name.startswith(f"{old}."):
            now = new + name.removeprefix(old)
            if now in known:
                return now
    return None

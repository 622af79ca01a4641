"""The command `mug`: a table of commands, each imported only when called."""

from __future__ import annotations

import difflib
import errno
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mug import __version__
from mug.command.messages import show_messages, split_level
from mug.errors import InputError, RunError, Stopped, logger
from mug.lazy import resolve
from mug.run.stop import Terminated, sigterm_raised


class Command(NamedTuple):
    """A row of the table."""

    name: str
    target: str
    """`module:function`; the function takes one dataclass of options, or nothing."""
    options: str
    """`module:class` of that dataclass, in a module that loads no large library: options are parsed and rejected before
    the function is imported. Or `module:function` that returns the class for the given arguments. Empty for none."""
    help: str
    positional: tuple[str, ...] = ()
    """Positional options."""
    folder: str = ""
    """The option that names an output folder, which one command at a time may write to."""


COMMANDS = (
    Command(
        "demo",
        "downstream.demo:demo",
        "downstream.options:DemoOptions",
        "the whole way on synthetic videos, ending in one HTML page",
        folder="out",
    ),
    Command(
        "synth",
        "mug.synth.videos:synth",
        "mug.synth.videos:SynthOptions",
        "write synthetic videos with masks in DAVIS layout",
        ("out",),
        folder="out",
    ),
    Command(
        "synth-groups",
        "mug.synth.groups:synth_groups",
        "mug.synth.groups:SynthGroupsOptions",
        "write groups of images that share an object",
        ("out",),
        folder="out",
    ),
    Command(
        "prior",
        "pretrain.prior_cache:prior",
        "pretrain.options:PriorOptions",
        "initial foreground maps of unlabeled videos",
        ("videos",),
        folder="out",
    ),
    Command(
        "pretrain",
        "pretrain.train:pretrain",
        "pretrain.options:PretrainOptions",
        "learn phi from unlabeled videos; resumes by itself",
        folder="out",
    ),
    Command(
        "calibrate",
        "downstream.calibrate:calibrate",
        "downstream.options:CalibrateOptions",
        "choose the matching temperature of weights",
        ("weights",),
    ),
    Command(
        "finetune",
        "downstream.finetune:finetune",
        "downstream.systems.choice:finetune_options",
        "train a system on annotated or on unlabeled video; resumes by itself",
        ("system",),
        folder="out",
    ),
    Command(
        "convert",
        "downstream.convert:convert",
        "downstream.options:ConvertOptions",
        "into mug: the weights of a system's authors as weights of mug",
        ("system", "file"),
    ),
    Command(
        "export",
        "downstream.export:export",
        "downstream.systems.exporting:ExportOptions",
        "out of mug: networks as ONNX or torch.export programs, weights for torchvision",
    ),
    Command(
        "propagate",
        "downstream.propagate:propagate",
        "downstream.systems.choice:propagate_options",
        "O-VOS: carry the first mask through a video",
        ("videos",),
        folder="out",
    ),
    Command(
        "segment",
        "downstream.segment:segment",
        "downstream.systems.choice:segment_options",
        "Z-VOS: masks of the main object, or of the objects, none given",
        ("videos",),
        folder="out",
    ),
    Command(
        "cosegment",
        "downstream.cosegment:cosegment",
        "downstream.options:CosegmentOptions",
        "masks of what the images of a group share",
        ("images",),
        folder="out",
    ),
    Command(
        "masks",
        "mug.exchange.command:masks",
        "mug.exchange.command:MasksOptions",
        "turn result masks into COCO, YouTube-VIS, transparent PNG, WebM or GIF, and JSON into masks",
        ("masks",),
    ),
    Command(
        "evaluate",
        "downstream.evaluate:evaluate",
        "downstream.evaluate:EvaluateOptions",
        "J, F, T, recall and decay of result masks",
    ),
    Command(
        "report",
        "downstream.report:report",
        "downstream.report:ReportOptions",
        "one self-contained HTML page of a run or of results",
        ("run",),
    ),
    Command("doctor", "mug.command.doctor:doctor", "", "say what is wrong with the installation"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    0 for success, 1 for a run that cannot continue, 2 for errors the user has to fix, 130 after Ctrl-C, 143 after
    SIGTERM.
    """
    with sigterm_raised():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    show_messages()
    try:
        level, arguments = split_level(sys.argv[1:] if arguments is None else arguments)
    except InputError as error:
        return _refuse(str(error))
    show_messages(level)
    if not arguments:
        return _refuse("no command given; `mug --help` lists them")
    name, *rest = arguments
    if name in ("-h", "--help", "help"):
        print(overview())
        return 0
    if name == "--version":
        print(f"mug {__version__}")
        return 0
    try:
        run(find(name), rest)
    except InputError as error:
        logger.debug("", exc_info=True)
        return _refuse(str(error))
    except RunError as error:
        logger.debug("", exc_info=True)
        _refuse(str(error))
        return 1
    except Stopped as stopped:
        return stopped.status
    except KeyboardInterrupt as stop:
        from mug.media.files import remove_begun

        remove_begun()
        logger.info("mug: stopped")
        return 143 if isinstance(stop, Terminated) else 130
    except OSError as error:
        remedy = _remedy(error)
        if remedy is None:
            raise
        logger.debug("", exc_info=True)
        return _refuse(f"{error.filename or 'the output folder'}: {remedy}")
    return 0


DISK = {
    errno.ENOSPC: "the disk is full; free some space and start again",
    errno.EDQUOT: "your share of the disk is full; free some space and start again",
    errno.EFBIG: "files may not grow larger here (`ulimit -f`); raise that limit and start again",
    errno.EIO: "the disk reports an error; see that it works and start again",
    errno.EROFS: "the disk is read-only; choose another folder",
}
"""Errors of a disk, with the remedy."""


def _remedy(error: OSError) -> str | None:
    """What to do about an error of a disk or a file; None if it may be an error of ours."""
    if error.errno in DISK:
        return DISK[error.errno]
    if error.errno and error.filename:
        return f"{(error.strerror or 'cannot be used').lower()}; see that it is there and may be used, and start again"
    return None


def overview() -> str:
    """The table of commands as `mug --help` prints it."""
    width = max(len(command.name) for command in COMMANDS)
    rows = [f"  {command.name:<{width}}  {command.help}" for command in COMMANDS]
    return "\n".join(
        [
            "usage: mug COMMAND [--config FILE.yaml] [--option VALUE ...]",
            "",
            "Video object segmentation learned from unlabeled video.",
            "",
            "commands:",
            *rows,
            "",
            "`mug COMMAND --help` lists the options of a command; `mug --version` prints the version.",
            "Every command also takes `--quiet` (only errors and results) and `--verbose` (more messages).",
        ]
    )


def find(name: str) -> Command:
    """The command with this name.

    Raises:
        InputError: the name is unknown.
    """
    for command in COMMANDS:
        if command.name == name:
            return command
    close = difflib.get_close_matches(name, [command.name for command in COMMANDS], n=1)
    remedy = f"did you mean `mug {close[0]}`?" if close else "`mug --help` lists the commands"
    raise InputError(f"{name!r} is no command; {remedy}")


def run(command: Command, arguments: Sequence[str]) -> None:
    """Parses the options in `arguments`, then imports the command's function and calls it with them.

    Raises:
        InputError: invalid options, or an installation that lacks what the command needs.
    """
    if not arguments and not command.options:
        with _explained(command):
            resolve(command.target)()  # `mug doctor` must run even if all packages are missing
        return
    with _explained(command):
        from mug.command.options import parse  # imports jsonargparse, which `mug --help` does not need
        from mug.command.preflight import preflight

        options_type = resolve(command.options) if command.options else None
        if options_type is not None and not isinstance(options_type, type):
            options_type = options_type(arguments)
    options = parse(f"mug {command.name}", options_type, command.positional, arguments, command.help)
    with _explained(command):
        function: Callable[..., Any] = resolve(command.target)
    preflight(options)
    logger.debug("mug %s, %s: %s", __version__, command.name, options)
    began = time.monotonic()
    with _alone(command, options):
        function(options)
    logger.debug("%s took %.1f s", command.name, time.monotonic() - began)


@contextmanager
def _alone(command: Command, options: Any) -> Iterator[None]:
    """Lets no other command write to the same output folder."""
    if not command.folder:
        yield
        return
    from mug.command.lock import output_lock

    try:
        with output_lock(options, command.folder):
            yield
    except OSError as error:
        if error.errno in DISK and error.filename is None:
            error.filename = str(getattr(options, command.folder))
        raise


def _shadow(module: str) -> Path | None:
    """The user's file that Python takes for the package of a module; None if there is none."""
    name = module.partition(".")[0]
    found = getattr(sys.modules.get(name), "__file__", None)
    ours = name in ("mug", "agnn_head", "pretrain", "downstream")
    return Path(found) if ours and found and Path(found).name != "__init__.py" else None


@contextmanager
def _explained(command: Command) -> Iterator[None]:
    """Turns a failed import into an `InputError` that names the missing module."""
    try:
        yield
    except ModuleNotFoundError as error:
        if shadow := _shadow(error.name or ""):
            raise InputError(f"{shadow}: hides the package of mug with this name; rename it") from error
        raise InputError(f"`mug {command.name}` needs the missing module {error.name!r}; run `mug doctor`") from error
    except RuntimeError as error:
        if "torchvision" not in str(error):
            raise
        raise InputError(f"torch and torchvision do not fit together ({_line(error)}); run `mug doctor`") from error


def _refuse(message: str) -> int:
    logger.error(" ".join(message.split()))
    return 2


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())

"""Damage to files, drawn by hypothesis, and the bounds within which a reader has to answer it."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import strategies as st

from mug.errors import InputError

CPU_S = 20
"""Seconds of computing within which any damaged file is answered."""
MEMORY = 2**30
"""Bytes that all damaged files of a format may need at most at a time."""
NET = 4 * MEMORY
"""Bytes beyond which memory is refused, so that a fault ends the test and not the machine."""

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers that sizes and counts in headers may not stand."""

Edit = Callable[[bytearray], None]


def _at(data: bytearray, place: float) -> int:
    return min(int(place * len(data)), max(len(data) - 1, 0))


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    """One change of some bytes."""
    kind = draw(st.sampled_from(("flip", "set", "number", "cut", "insert", "repeat", "drop")))
    start, end = sorted((draw(st.floats(0, 1, exclude_max=True)), draw(st.floats(0, 1, exclude_max=True))))
    value = draw(st.integers(0, 255))
    number = draw(st.sampled_from(EXTREMES))
    width, order = draw(st.sampled_from((2, 4, 8))), draw(st.sampled_from(("big", "little")))
    some = draw(st.binary(min_size=1, max_size=12))

    def edit(data: bytearray) -> None:
        if not data:
            return
        i, j = _at(data, start), min(_at(data, end), _at(data, start) + 64)
        if kind == "flip":
            data[i] ^= 1 << value % 8
        elif kind == "set":
            data[i] = value
        elif kind == "number":
            data[i : i + width] = (number & (256**width - 1)).to_bytes(width, order)  # type: ignore[arg-type]
        elif kind == "cut":
            del data[i:]
        elif kind == "insert":
            data[i:i] = some
        elif kind == "repeat":
            data[i:i] = data[i : j + 1]
        else:
            del data[i : j + 1]

    return edit


def damaged(valid: bytes) -> st.SearchStrategy[bytes]:
    """The file with one to six changes.

    Those of a PNG often get checksums that fit, and those of JSON are often other values: the damage gets further.
    """

    def apply(changes: list[Edit], mend: bool) -> bytes:
        data = bytearray(valid)
        for change in changes:
            change(data)
        return with_checksums(bytes(data)) if mend and valid.startswith(b"\x89PNG") else bytes(data)

    anywhere = st.builds(apply, st.lists(edits(), min_size=1, max_size=6), st.booleans())
    return (
        anywhere | st.builds(partial(revalued, valid), st.integers(0), OTHER_VALUES) if valid[:1] == b"{" else anywhere
    )


OTHER_VALUES = st.sampled_from((None, True, -1, 0, 1e308, 10**30, "", "dog", [], [None], {}, {"a": 1}))


def revalued(valid: bytes, number: int, value: object) -> bytes:
    """JSON in which one entry, counted round, has another value."""
    content = json.loads(valid)
    places: list[tuple[Any, Any]] = []

    def look(part: Any) -> None:
        keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
        for key in keys:
            places.append((part, key))
            look(part[key])

    look(content)
    part, key = places[number % len(places)]
    part[key] = value
    return json.dumps(content).encode()


def with_checksums(png: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold."""
    out, at = bytearray(png), 8
    while at + 12 <= len(out):
        end = at + 8 + struct.unpack_from(">I", out, at)[0]
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)


def answered(read: Callable[[], object]) -> bool:
    """Whether the file was read, rather than refused in one line."""
    said = ""
    try:
        read()
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    return not said


@contextlib.contextmanager
def bounded(name: str = "") -> Iterator[None]:
    """Context in which too much memory is a failure; with a name, what was needed is printed."""
    limit = resource.getrlimit(resource.RLIMIT_AS)
    began, clock = _status("VmRSS"), time.process_time()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    if began:
        resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + NET, limit[1]))
    try:
        yield
        needed = _status("VmHWM") - began
        if name:
            print(f"{name}: {needed / 2**20:.0f} MiB, {time.process_time() - clock:.0f} s")
        assert needed < MEMORY
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Context of one case, in which too much computing is a failure."""
    before = signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _too_long(_: int, __: FrameType | None) -> None:
    raise AssertionError(f"took longer than {CPU_S} s")


def _status(name: str) -> int:
    """A number of bytes that Linux tells of this process; 0 elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    return 0

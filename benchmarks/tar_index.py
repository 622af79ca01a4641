"""Opening an index of frames in tar files, and the memory it takes: `python benchmarks/tar_index.py [FRAMES]`.

Makes an index of videos of 50 frames each in a temporary folder (the tar files do not exist), and prints its size, the
time to open it in a new process, the resident memory of that process before and after, and of two processes that read
a thousand random entries from all over it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pretrain.tars import Member, TarVideos, files_of_index

FRAMES = 50
TARS = [Path(f"/data/shard-{i:06d}.tar") for i in range(100)]


def write(store: Path, videos: int) -> None:
    """Writes the index."""
    members = [
        (
            f"clips/{v:08d}",
            (480, 854),
            [Member(TARS[v % 100], i * 10**5, 80_000, f"clips/{v:08d}/{i:05d}.jpg") for i in range(FRAMES)],
        )
        for v in range(videos)
    ]
    TarVideos.write(store, TARS, members)


def resident() -> tuple[float, float]:
    """MiB of this process that only it has, and that it shares with the file."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))  # type: ignore[return-value]


def read(store: Path) -> None:
    """Opens the index and reads random entries; prints the figures."""
    np.load(files_of_index(store).videos, mmap_mode="r")[:1]  # the code itself
    before, began = resident(), time.perf_counter()
    index = TarVideos(store, TARS)
    count = len(index)
    index[count // 2].file(3)
    took = time.perf_counter() - began
    opened = resident()
    rng, began = np.random.default_rng(os.getpid()), time.perf_counter()
    for video in rng.integers(count, size=1000).tolist():
        index[video].file(7)
    each = (time.perf_counter() - began) / 1000
    after = resident()
    print(f"{count} videos opened in {1e3 * took:.1f} ms; an entry takes {1e6 * each:.0f} us; resident MiB, own and")
    print("  mapped: " + ", ".join(f"{a:.1f} + {b:.1f}" for a, b in (before, opened, after)) + " (before, open, read)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        read(Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            frames = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
            write(Path(folder) / "index", frames // FRAMES)
            sizes = [file.stat().st_size / 2**20 for file in files_of_index(Path(folder) / "index")]
            print(f"{frames} frames: {sizes[0]:.1f} MiB of videos and {sizes[1]:.1f} of frames on disk")
            for _ in range(2):
                subprocess.run([sys.executable, __file__, "read", str(Path(folder) / "index")], check=True)

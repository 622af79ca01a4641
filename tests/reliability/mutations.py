"""Makes small mistakes in the code, one at a time, and looks whether the tests notice.

python -m tests.reliability.mutations [PART ...]

Each mistake is made in a copy of the tree, in which the tests of the part run until the first fails. Mistakes were
chosen that most input does not show.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COPIED = ("mug", "agnn_head", "pretrain", "downstream", "tests", "pyproject.toml")


class Mutation(NamedTuple):
    """A mistake: text that occurs once in a file, and what is put in its place."""

    file: str
    before: str
    after: str


BOUNDARY, TEMPORAL = "downstream/metrics/boundary.py", "downstream/metrics/temporal.py"
CHUNKED, WINDOWED, INLIERS = (f"mug/affinity/{name}.py" for name in ("chunked", "windowed", "inliers"))
MASKS, VIDEO, STREAM = (f"mug/media/{name}.py" for name in ("masks", "video", "stream"))

PARTS: dict[str, tuple[Sequence[str], Sequence[Mutation]]] = {
    "metrics": (
        ("tests/downstream/test_metrics.py", "tests/downstream/test_temporal.py", "tests/downstream/scoring"),
        (
            Mutation(BOUNDARY, "TOLERANCE = 0.008", "TOLERANCE = 0.0075"),  # the same radius at 480p
            Mutation(BOUNDARY, "<= radius**2", "< radius**2"),
            Mutation(BOUNDARY, "math.ceil(TOLERANCE", "round(TOLERANCE"),
            Mutation(
                "downstream/metrics/region.py", "intersection & ~void, union & ~void", "intersection, union & ~void"
            ),
            Mutation("downstream/metrics/sequence.py", "frames > RECALL_THRESHOLD", "frames >= RECALL_THRESHOLD"),
            Mutation("downstream/metrics/sequence.py", "+ 1e-10", "- 1e-10"),
            Mutation("downstream/metrics/matching.py", "linear_sum_assignment(-value)", "linear_sum_assignment(value)"),
            Mutation(TEMPORAL, ".argmin()] + 1 for path", ".argmin()] for path"),
            Mutation(TEMPORAL, "for side in (0, 1):", "for side in (1, 0):"),
            Mutation(TEMPORAL, "max(longest, polygon, key=len)", "polygon"),
        ),
    ),
    "affinity": (
        ("tests/mug/affinity",),
        (
            Mutation(CHUNKED, ".sub_(n[:, chunk]).mul_(share)", ".mul_(share)"),
            Mutation(CHUNKED, "to_y.mul_(shrink).addmm_", "to_y.addmm_"),  # shows in several chunks only
            Mutation(CHUNKED, "total.mul_(shrink).add_", "total.add_"),
            Mutation(WINDOWED, "> radius**2 if circle", ">= radius**2 if circle"),
            Mutation(WINDOWED, "reach = int(stretch.radius)", "reach = max(int(stretch.radius) - 1, 0)"),
            Mutation(WINDOWED, "topk(k, sorted=False)", "topk(max(k - 1, 1), sorted=False)"),
            Mutation(INLIERS, ".gather(1, index).clamp(min=1)", ".gather(1, index)"),
            Mutation(INLIERS, ".prod(-1) * inside", ".prod(-1)"),
            Mutation(INLIERS, "<= 1 + 1e-4", "<= 1.5"),
        ),
    ),
    "masks": (
        ("tests/mug/media/test_masks.py", "tests/downstream/evaluate"),
        (
            Mutation(MASKS, "np.isin(carried, ids) & (given != VOID)", "np.isin(carried, ids)"),
            Mutation(MASKS, "((values <= MAX_LEVELS) |", "((values < MAX_LEVELS) |"),
            Mutation(MASKS, " and 3 * filled <= middle", ""),
            Mutation(MASKS, "levels.max(initial=0) < 2", "levels.max(initial=0) < 1"),
            Mutation(MASKS, "start[24] == 16", "start[24] == 32"),
            Mutation(MASKS, "if lone_void else _lone_void_shown(mask)", "if not lone_void else _lone_void_shown(mask)"),
        ),
    ),
    "video": (
        ("tests/mug/media/test_video.py", "tests/mug/media/test_stream.py", "tests/mug/media/test_live.py"),
        (
            Mutation(STREAM, "not 0 <= index - self._next < near", "not index - self._next < near"),
            Mutation(STREAM, " and stamps[index] == stamp else None", " else None"),
            Mutation(STREAM, "np.rot90(rgb, turns)", "np.rot90(rgb, -turns)"),
            Mutation(STREAM, "if expected < len(self):", "if expected > len(self):"),
            Mutation(STREAM, "> 1.5 / fps", "> 150 / fps"),
            Mutation(VIDEO, "frame.shape[:2] != self.size", "frame.shape[0] != self.size[0]"),
            Mutation(VIDEO, "key=natural_key), lambda", "key=str), lambda"),
        ),
    ),
}
"""By part: the tests that have to notice, and the mistakes."""


def mutate(tree: Path, mutation: Mutation) -> None:
    """Makes a mistake in a tree.

    Raises:
        ValueError: the text does not occur once.
    """
    file = tree / mutation.file
    text = file.read_text()
    if text.count(mutation.before) != 1:
        raise ValueError(f"{mutation.file}: holds {mutation.before!r} {text.count(mutation.before)} times")
    file.write_text(text.replace(mutation.before, mutation.after))


def failing(tree: Path, tests: Sequence[str]) -> str:
    """The first test that fails in a tree; empty if all pass.

    Raises:
        RuntimeError: the tests could not be run.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    found = re.search(r"^(?:FAILED|ERROR) \S+?::(\w+)", done.stdout, re.MULTILINE)
    return found[1] if found else "?" * done.returncode


def main(parts: Sequence[str]) -> int:
    """Makes the mistakes of parts; prints a row for each, and returns the number that no test noticed."""
    missed = 0
    print("| part | instead of | there was | noticed by |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        for part in parts or PARTS:
            tests, mutations = PARTS[part]
            for mutation in (None, *mutations):
                shutil.rmtree(tree, ignore_errors=True)
                for name in COPIED:
                    copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                    (tree / name).parent.mkdir(exist_ok=True)
                    copy(ROOT / name, tree / name)
                if mutation is None:
                    if test := failing(tree, tests):
                        raise RuntimeError(f"{part}: {test} fails without a mistake")
                    continue
                mutate(tree, mutation)
                test = failing(tree, tests)
                missed += not test
                cells = (part, f"`{mutation.before.strip()}`", f"`{mutation.after.strip()}`", test or "**no test**")
                print("|", " | ".join(cell.replace("|", "\\|") for cell in cells), "|", flush=True)
    print(f"\n{missed} were not noticed")
    return missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

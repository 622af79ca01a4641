"""The commands of the documents run, in order, as they are written, on tiny videos; so does their Python.

Each document has a folder of its own with what it takes for granted: a clone's `configs`, a video `clip.mp4` with its
first mask `first.png`, `clips/`, `DAVIS/`, `photos/`, and `RESULTS/` of another program. Options that make
a command small are added to it.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import mug
from mug.cli import main
from mug.media.listing import frame_files
from mug.media.masks import read_mask
from mug.media.overlay import OverlayWriter
from tests.docs.documents import DOCUMENTS, ROOT, current, fenced, lines_of

COMMANDS = {document: [line for b in fenced(current(document)) if b.language == "bash" for line in lines_of(b.code)]
            for document in DOCUMENTS}  # fmt: skip
RUN = ["README.md", *(name for name in DOCUMENTS if name.startswith("docs/") and COMMANDS[name])]

NOT_RUN = {
    r"^make ": "installs, and runs for minutes: continuous integration calls the targets, test_demo.py the quick demo",
    r"^hf ": "signs in",
    r"pip install": "installs from the network",
    r"^(torchrun|srun) |^#": "launches several processes; test_shards.py and test_shard.py do",
    r"resnet18_gpu": "needs GPUs",
    r"--box|masks/followed|instances_default|given/dog": "takes a larger video; test_prompted.py, test_masks.py",
    r"mug export": "takes long to trace; test_export.py runs it",
    r"^\. \.venv": "an environment is active",
    r"^git |^\.venv/": "changes the clone",
    r"\.pth\b": "weights that others publish",
    r"davis_|_davis|PASCAL|VOC2012|MSRA10K|DAVIS17|FBMS59|YouTubeVOS": "to download; test_layouts.py reads the layouts",
    r"^mug doctor": "takes seconds to time bfloat16; test_doctor.py runs it",
    r"^mug calibrate": "makes and follows videos of its own for a minute; test_calibrate.py runs it",
    r"--labels pseudo": "makes masks of all videos first; test_finetune.py runs it",
    r"--instances": "a minute a video; tests/downstream/instances runs it",
    r"synth-groups|cosegment|cosegmentation": "learns nothing in a short time; test_cosegment.py runs it",
    r"--task (retrieval|probe)": "takes longer videos; test_retrieval.py and test_probe.py run them",
    r"--system cosnet|runs/groups": "weights of a line that is not run",
}
"""Commands that are parsed, but not run, and why."""

PYTHON_NOT_RUN = {
    "import fiftyone": "a program of others",
    "import webdataset": "writes files that nothing else here reads; test_videos.py does",
    "mug.grabcut": "a box in a larger video; test_grabcut.py runs it",
    "push_to_hub": "takes an account; test_hub.py runs it with a hub of its own",
    "onnxruntime": "takes the extra `onnx` and long tracing; test_export.py runs it",
    "torch.export.load": "takes long tracing; test_export.py runs it",
    "resnet18.pth": "takes an exported file; test_export.py runs it",
}
"""Python that is not run, and why."""

SMALL = {
    "synth": "--videos 3 --frames 6 --height 48 --width 64",
    "prior": "--workers 1",
    "pretrain": "--sample.size 32 --batch 2 --rounds [1] --warmup.steps 0 --workers 0 --engine.threads 1 "
    "--sample.references 1 --picture_every 0 --retrieval_every 0 --share_every 0 --device cpu "
    "--model.backbone.stages 2",
    "finetune": "--sample.size 32 --steps 1 --workers 0 --engine.threads 1 --sample.nodes 2 --device cpu",
    "propagate": "--size 32",
    "segment": "--size 32 --mode paper",
    "segment --system": "--graph.nodes 2",
    "evaluate": "--workers 1",
}
"""What makes a command small."""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documents take for granted."""
    place = tmp_path_factory.mktemp("material")
    assert main(["--quiet", "synth", str(place / "DAVIS"), *SMALL["synth"].split()]) == 0
    frames = place / "DAVIS/JPEGImages/480p"
    shutil.copytree(frames, place / "clips")
    shutil.copytree(next(frames.iterdir()), place / "photos")
    first = next(frames.iterdir())
    shutil.copy(next((place / "DAVIS/Annotations/480p" / first.name).iterdir()), place / "first.png")
    video = mug.open_video(first)
    with OverlayWriter(place / "clip.mp4", 12, video.size) as writer:
        for frame in video:
            writer.write(frame, np.zeros(video.size, np.uint8))
    shutil.copytree(place / "DAVIS/Annotations/480p", place / "RESULTS")
    (place / "configs").symlink_to(ROOT / "configs")
    return place


@pytest.fixture
def here(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a document."""
    place = tmp_path / "here"
    shutil.copytree(material, place, symlinks=True)
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    return place


def why_not(line: str) -> str:
    """Why a command is not run; empty if it is."""
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, line)), "")


def made_small(line: str) -> list[str]:
    """The words of a command after `mug`, with what makes it small."""
    _, name, *words = shlex.split(line)
    other = name == "segment" and "--system" in words
    return [name, *words, *SMALL.get(f"{name} --system" if other else name, "").split()]


@pytest.mark.parametrize("document", RUN)
def test_commands_run_one_after_another(document: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace = given(here)
    for block in fenced(current(document)):
        if block.title:
            Path(block.title).write_text(block.code)
        elif block.language == "python" and not any(part in block.code for part in PYTHON_NOT_RUN):
            exec(compile(block.code, document, "exec"), namespace)
        for line in lines_of(block.code) if block.language == "bash" else ():
            if not why_not(line):
                assert line.startswith("mug "), line
                if line.startswith("mug synth "):  # in place of what is taken for granted
                    shutil.rmtree(line.split()[2], ignore_errors=True)
                status = main(made_small(line))
                assert status == 0, (line, capsys.readouterr().err)


def given(place: Path) -> dict[str, object]:
    """Names that Python in the documents takes for granted."""
    frames = frame_files(next((place / "DAVIS/JPEGImages/480p").iterdir()))
    video = mug.open_video(frames[0].parent)
    return {"frame": video[0], "next_frame": video[1], "mask": read_mask(place / "first.png"), "Path": Path}


def test_nothing_is_left_out_without_need() -> None:
    every = [line for lines in COMMANDS.values() for line in lines]
    assert not [pattern for pattern in NOT_RUN if not any(re.search(pattern, line) for line in every)]
    python = [b.code for document in DOCUMENTS for b in fenced(current(document)) if b.language == "python"]
    assert not [part for part in PYTHON_NOT_RUN if not any(part in code for code in python)]
    run = [line for line in every if not why_not(line)]
    assert len(run) >= 50
    assert all(line.startswith("mug ") for line in run)


def test_a_block_of_commands_says_so() -> None:
    """A block without a language is a layout or a format: no command escapes."""
    for document in DOCUMENTS:
        for block in fenced(current(document)):
            if not block.language:
                assert not re.search(r"^(mug [a-z]|make |pip install )", block.code, re.MULTILINE), (
                    document,
                    block.code,
                )

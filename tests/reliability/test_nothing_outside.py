"""Nothing is written outside of the output folder, and nothing of somebody else is removed from it."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from downstream.data.kinds import open_videos
from downstream.demo import take_up
from downstream.training.pseudo import pseudo_annotations
from mug.cli import main
from mug.errors import InputError
from mug.media.files import inside
from mug.media.results import Results
from tests.downstream.data import miniatures
from tests.reliability.world import FRAMES, linked, snapshot, words_of


@pytest.mark.parametrize("name", ["..", "../dog", "a/../../dog", "/dog", "", "."])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would lead out of it; rename"):
        inside(tmp_path, name)
    with pytest.raises(InputError, match="would lead out of it; rename"):
        Results(tmp_path / "out", [name])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["dog", "airplane/airplane-1", "a..b", "...", "~"])
def test_other_names_are_fine(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("beside", ["", "raw"])
def test_links_that_lead_out_are_refused_and_others_are_followed(beside: str, tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    (out / beside).mkdir(parents=True)
    (out / beside / "dog").symlink_to(elsewhere)
    with pytest.raises(InputError, match="dog: is a link that leads out of"):
        Results(out, ["dog"], beside=["raw"], overwrite=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")  # the user's own folder may lie on another disk
    results = Results(tmp_path / "link", ["dog"])
    with results.sequence("dog"):
        results.write_mask("dog", "0", np.zeros((2, 2), np.uint8))
    assert (tmp_path / "there/dog/0.png").is_file()
    assert not elsewhere.exists()


def test_a_dataset_that_names_a_sequence_of_another_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = miniatures.youtube_vos(tmp_path / "data")
    meta = json.loads((root / "valid/meta.json").read_text())
    (name,) = list(meta["videos"])[:1]
    shutil.copytree(root / f"valid/JPEGImages/{name}", root / "outside")
    meta["videos"] = {"../../outside": meta["videos"][name]}
    (root / "valid/meta.json").write_text(json.dumps(meta))
    before = snapshot(tmp_path)
    for command, says in (("segment", "'../../outside' would lead out of it"), ("propagate", "outside/00000.png")):
        assert main([command, str(root), "--split", "valid", "--out", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
    videos = open_videos(root, None, "valid")
    assert [video.name for video in videos] == ["../../outside"]
    with pytest.raises(InputError, match="would lead out of it"):
        pseudo_annotations([root], tmp_path / "labels", 2, None, 1)
    assert snapshot(tmp_path) == before


def test_maps_are_not_written_through_links(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linked(root)
    assert main([*words_of("prior", root), "--overwrite"]) == 2
    assert "out/square0: is a link that leads out" in capsys.readouterr().err
    assert not [path for path in (root / "elsewhere").rglob("*") if path.is_file()]


@pytest.mark.parametrize("command", ["finetune", "segment", "demo"])
def test_hidden_folders_of_others_stay(command: str, root: Path) -> None:
    """Of the hidden folders, only those of partial writes are removed: not `.git` beside a run."""
    place = "clip" if command == "segment" else ""
    dear = [root / "out" / place / name / "dear" for name in (".git/objects", ".0.abcdefgh", "..git")]
    for path in dear:
        path.parent.mkdir(parents=True)
        path.touch()
    (root / "out" / place / ".x.abcdefgh.partial").mkdir()
    if command == "demo":
        for _ in range(2):
            take_up(root / "out", True)
    else:
        assert main(words_of(command, root)) == 0
    assert all(path.is_file() for path in dear)
    assert not list(root.rglob("*.partial"))


def test_what_else_lies_beside_results_stays(root: Path) -> None:
    (root / "out/clip").mkdir(parents=True)
    for name in ("notes.txt", "00000.png", "99999.png"):
        (root / "out/clip" / name).write_text("dear to somebody")
    assert main([*words_of("segment", root), "--overwrite"]) == 0
    assert (root / "out/clip/notes.txt").read_text() == "dear to somebody"
    assert sorted(path.name for path in (root / "out/clip").glob("*.png")) == [f"{n:05d}.png" for n in range(FRAMES)]


@pytest.mark.parametrize("name", ["../00000.jpg", "../../outside/dog/00000.jpg", "/outside/00000.jpg"])
def test_a_coco_file_that_names_an_image_of_another_folder(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    content = {
        "images": [{"id": 1, "file_name": name, "height": 2, "width": 2}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": [0, 4]}}],
        "categories": [{"id": 1, "name": "object"}],
    }
    (tmp_path / "masks.json").write_text(json.dumps(content))
    before = snapshot(tmp_path)
    status = main(["masks", str(tmp_path / "masks.json"), "--to", "png", "--out", str(tmp_path / "out")])
    assert status == (2 if name.startswith("../0") else 0)
    assert all(path.split("/")[0] == "out" for path in snapshot(tmp_path).keys() - before.keys())


def test_a_tar_file_that_names_another_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(tmp_path / "clips.tar", "w") as tar:
        for number in range(3):
            frame = tmp_path / "frame.jpg"
            miniatures.frame(frame, number)
            tar.add(frame, f"../../outside/{number:05d}.jpg")
    before = snapshot(tmp_path)
    assert main(["prior", str(tmp_path / "clips.tar"), "--out", str(tmp_path / "a/out"), "--workers", "1"]) in (0, 2)
    added = snapshot(tmp_path).keys() - before.keys()
    assert all(path == "a" or path.startswith("a/out") for path in added), added

"""What is missing is said before any work begins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from downstream.options import SegmentOptions
from mug.cli import main
from mug.command.preflight import preflight
from mug.errors import InputError
from pretrain.options import LabelOptions, PretrainOptions
from pretrain.train import pretrain

RESNET = "torchvision:resnet18"
PAPER = Path(__file__).parents[3] / "configs" / "pretrain" / "mug_resnet50_oxuva.yaml"


@pytest.fixture
def without_crf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)


@pytest.mark.usefixtures("without_crf")
def test_a_missing_crf_is_asked_for_wherever_an_option_chooses_it() -> None:
    places = Path("videos"), Path("out")
    for options, name in (
        (PretrainOptions(*places, bootstrap=LabelOptions(refine="crf")), "--bootstrap.refine"),
        (SegmentOptions(videos=places[0], out=places[1], refine="crf"), "--refine"),
    ):
        with pytest.raises(InputError, match=f"dense CRF is not installed; .*, or use {name} guided"):
            preflight(options)
    preflight(PretrainOptions(*places, bootstrap=LabelOptions(refine="guided")))


@pytest.mark.usefixtures("without_crf")
def test_the_papers_run_is_refused_before_its_folder_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--videos", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main(["pretrain", "--config", str(PAPER), *places]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(InputError, match="dense CRF"):
        pretrain(PretrainOptions(tmp_path, tmp_path / "run", bootstrap=LabelOptions(refine="crf")))
    assert not (tmp_path / "run").exists()


def test_weights_of_others_are_asked_for_before_videos_are_looked_at(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.pth"
    for bootstrap, initial, message in (
        (LabelOptions(prior="cam", classifier=RESNET), None, f"{RESNET}: needs its weights"),
        (LabelOptions(prior="motion-cam", classifier=RESNET, classifier_weights=nowhere), None, "nowhere.pth: no such"),
        (LabelOptions(), nowhere, "nowhere.pth: no such file"),
    ):
        options = PretrainOptions(tmp_path / "no videos", tmp_path / "run", bootstrap=bootstrap, weights=initial)
        with pytest.raises(InputError, match=message):
            pretrain(options)
    preflight(
        PretrainOptions(tmp_path, tmp_path, maps=tmp_path, bootstrap=LabelOptions(prior="cam", classifier=RESNET))
    )

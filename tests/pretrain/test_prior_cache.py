"""`mug prior`: what lies on disk afterwards, what is kept, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mug.cli import main
from mug.errors import InputError
from mug.media.masks import read_soft, write_soft
from mug.media.refine import refine
from mug.media.video import find_videos
from pretrain.bootstrap import require_labels
from pretrain.options import PriorOptions
from pretrain.prior_cache import cache_priors, prior
from pretrain.videos import VideoIndex

sys.path.insert(0, str(Path(__file__).parent))
from test_videos import make_clip, make_frames

RESNET = "torchvision:resnet18"


@pytest.fixture
def videos(moving_squares):
    return find_videos(moving_squares(videos=2, frames=5))


def test_every_frame_of_every_video_has_a_map(moving_squares, tmp_path, capsys):
    out = tmp_path / "maps"
    assert main(["prior", str(moving_squares(videos=2, frames=3)), "--out", str(out), "--workers", "1"]) == 0
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert found == [f"square{v}/0000{t}.png" for v in range(2) for t in range(3)]
    assert read_soft(out / found[0]).shape == (48, 64)
    assert capsys.readouterr().out.endswith(": 6 maps of 2 videos written\n")
    (out / found[0]).unlink()
    assert main(["prior", str(tmp_path / "squares"), "--out", str(out), "--workers", "1"]) == 0
    assert capsys.readouterr().out.endswith(": 1 maps of 2 videos written, 5 were there\n")


def test_stride_and_what_is_there_is_kept(videos, tmp_path):
    assert cache_priors(videos, tmp_path / "q", "saliency", stride=2, workers=1) == 6
    kept, lost = tmp_path / "q" / "square0" / "00002.png", tmp_path / "q" / "square1" / "00004.png"
    assert not (tmp_path / "q" / "square0" / "00001.png").exists()
    before = read_soft(lost)
    write_soft(kept, np.full((48, 64), 7, np.uint8))
    lost.unlink()
    assert cache_priors(videos, tmp_path / "q", "saliency", stride=2, workers=1) == 1
    assert (read_soft(kept) == 7).all()
    np.testing.assert_array_equal(read_soft(lost), before)
    assert cache_priors(videos, tmp_path / "q", "saliency", stride=2, workers=1, overwrite=True) == 6
    assert not (read_soft(kept) == 7).all()


@pytest.mark.parametrize("refinement", ["none", "guided", "crf"])
def test_maps_are_cut_at_one_half_after_refinement(videos, tmp_path, refinement):
    if refinement == "crf":
        pytest.importorskip("pydensecrf")
    cache_priors(videos, tmp_path / "soft", "motion", workers=1)
    cache_priors(videos, tmp_path / "q", "motion", refinement=refinement, binary=True, workers=1)
    for path in (tmp_path / "q").rglob("*.png"):
        soft = read_soft(tmp_path / "soft" / path.relative_to(tmp_path / "q"))
        frame = next(v for v in videos if v.name == path.parent.name)[int(path.stem)]
        np.testing.assert_array_equal(read_soft(path) == 255, refine(frame, soft / 255, refinement) > 127.5 / 255)
        assert set(np.unique(read_soft(path))) <= {0, 255}
    with pytest.raises(InputError, match="maps of another prior"):
        cache_priors(videos, tmp_path / "q", "motion", workers=1)


def test_processes_write_the_same_maps(videos, tmp_path):
    cache_priors(videos, tmp_path / "one", "motion", workers=1)
    cache_priors(videos, tmp_path / "two", "motion", workers=2)
    for path in (tmp_path / "one").rglob("*.png"):
        np.testing.assert_array_equal(read_soft(path), read_soft(tmp_path / "two" / path.relative_to(tmp_path / "one")))


def test_a_run_that_was_killed_goes_on(videos, tmp_path):
    (tmp_path / "q" / ".prior.abc").mkdir(parents=True)  # what a kill may leave behind
    assert cache_priors(videos, tmp_path / "q", "saliency", stride=4, workers=1) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 0}, "--stride 0"),
        ({"workers": 0}, "--workers 0"),
        ({"kind": "cam", "classifier": RESNET}, f"{RESNET}: needs its weights"),
        (
            {"kind": "cam", "classifier": "torchvision:resnet18", "weights": Path("absent.pt")},
            "absent.pt: no such file",
        ),
        ({"kind": "depth"}, "is no prior"),
    ],
)
def test_refused_options(videos, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        cache_priors(videos, tmp_path / "q", **change)
    assert not (tmp_path / "q").exists()


def test_refused_folders(videos, tmp_path):
    cache_priors(videos, tmp_path / "q", "saliency", stride=4, workers=1)
    with pytest.raises(InputError, match="maps of another prior"):
        cache_priors(videos, tmp_path / "q", "motion", stride=4, workers=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="something else"):
        cache_priors(videos, tmp_path / "other", workers=1)
    with pytest.raises(InputError, match="is a file"):
        cache_priors(videos, tmp_path / "other" / "thesis.tex", workers=1)


def test_what_pretraining_leaves_out_is_left_out_and_named(moving_squares, tmp_path, capsys):
    root = moving_squares(videos=1, frames=3)
    frame = root / "JPEGImages" / "480p" / "square0" / "00001.jpg"
    frame.write_bytes(frame.read_bytes()[:300])
    prior(PriorOptions(root, tmp_path / "q", kind="saliency", workers=1))
    assert "1 unusable files left out" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "q").rglob("*.png")) == ["00000.png", "00002.png"]


def test_priors_are_made_of_what_pretraining_reads(tmp_path, capsys):
    """The nested layouts, video files and several roots, under the names that `mug pretrain --maps` looks for."""
    oxuva, files, out = tmp_path / "OxUvA", tmp_path / "clips", tmp_path / "q"
    make_frames(oxuva / "images/dev/vid0000", [f"{i:06d}.jpeg" for i in range(6)])
    make_frames(oxuva / "images/test/vid0337", [f"{i:06d}.jpeg" for i in range(6)])
    make_clip(files / "walk.mp4", 6)
    arguments = ["--kind", "saliency", "--stride", "3", "--out", str(out), "--workers", "1"]
    assert main(["prior", str(oxuva), str(files), *arguments]) == 0
    index = VideoIndex.build([oxuva, files], tmp_path / "cache")
    assert [video.name for video in index] == ["vid0000", "vid0337", "walk"]
    require_labels([out], index, 3)


def test_a_place_for_maps_that_will_not_do_is_refused_before_videos_are_unpacked(tmp_path):
    make_clip(tmp_path / "clips" / "walk.mp4", 6)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("dear")
    with pytest.raises(InputError, match="something else"):
        prior(PriorOptions(tmp_path / "clips", tmp_path / "other"))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_motion_prior_on_real_video(real_data, tmp_path):
    """A guard against a prior that went wrong, far below what it reaches."""
    from mug.media.masks import read_mask

    root = real_data / "davis16-dev"
    video = next(v for v in find_videos(root) if v.name == "camel")
    cache_priors([video], tmp_path, stride=30, workers=1)
    scores = []
    for path in sorted(tmp_path.rglob("*.png"))[1:]:
        found, truth = read_soft(path) >= 128, read_mask(root / "Annotations" / "480p" / "camel" / path.name) > 0
        scores.append((found & truth).sum() / (found | truth).sum())
    assert np.mean(scores) > 0.4

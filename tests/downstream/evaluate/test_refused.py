"""What `mug evaluate` refuses to score, and how it says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from downstream.scoring.davis import score_folder
from mug.errors import InputError
from mug.media.masks import read_mask, write_mask
from tests.downstream.evaluate.encodings import as_binary, as_bits, rewrite


def damage_nothing_there(truth: Path, results: Path) -> str:
    shutil.rmtree(results)
    return "results: no such folder"


def damage_empty_folder(truth: Path, results: Path) -> str:
    shutil.rmtree(results)
    results.mkdir()
    return "results: holds no <sequence>/<frame>.png"


def damage_missing_sequence(truth: Path, results: Path) -> str:
    shutil.rmtree(results / "square1")
    return "square1: no results for 1 of 2 sequences"


def damage_emptied_sequence(truth: Path, results: Path) -> str:
    for path in (results / "square1").iterdir():
        path.unlink()
    return "square1: no results for 1 of 2 sequences"


def damage_unknown_sequence(truth: Path, results: Path) -> str:
    shutil.copytree(results / "square1", results / "triangle")
    return "triangle: .* has no such sequence"


def damage_missing_frame(truth: Path, results: Path) -> str:
    (results / "square1" / "00002.png").unlink()
    return "square1/00002.png: is missing"


def damage_extra_frame(truth: Path, results: Path) -> str:
    shutil.copy(results / "square1" / "00002.png", results / "square1" / "00017.png")
    shutil.copy(results / "square1" / "00002.png", results / "square1" / "00018.png")
    return "square1/00017.png: square1 has no such frame with 1 more; it is left from another run"


def damage_numbers(truth: Path, results: Path) -> str:
    for path in sorted((results / "square1").iterdir(), reverse=True):
        path.rename(path.with_stem(f"{int(path.stem) + 1:05d}"))
    return "square1: its masks are numbered from 00001 and the frames of square1 from 00000; subtract 1 from each name"


def damage_short_truth(truth: Path, results: Path) -> str:
    for folder in (results, truth / "Annotations/480p"):
        for path in sorted((folder / "square1").iterdir())[2:]:
            path.unlink()
    return "square1: has 2 annotated frames; .* leave it out with --only-existing"


def damage_names(truth: Path, results: Path) -> str:
    for path in (results / "square1").iterdir():
        path.rename(path.with_name(f"frame_{path.name}"))
    return "square1/frame_00000.png: is named after no frame of square1, such as 00000"


def damage_binary(truth: Path, results: Path) -> str:
    rewrite(results / "square1", as_binary)
    return "square1/00001.png: holds only 0 and 255, which does not tell 2 objects apart"


def damage_size(truth: Path, results: Path) -> str:
    write_mask(results / "square1" / "00003.png", np.zeros((24, 32), np.uint8))
    return "square1/00003.png: is 32x24 where its annotation is 64x48"


def damage_truncated(truth: Path, results: Path) -> str:
    path = results / "square1" / "00003.png"
    path.write_bytes(path.read_bytes()[:60])
    return "square1/00003.png: .*truncated"


def damage_16_bit(truth: Path, results: Path) -> str:
    Image.fromarray(np.zeros((48, 64), np.uint16)).save(results / "square0" / "00001.png")
    return "square0/00001.png: .*16 bit"


def damage_first_annotation(truth: Path, results: Path) -> str:
    write_mask(truth / "Annotations" / "480p" / "square0" / "00000.png", np.zeros((48, 64), np.uint8))
    return "square0/00000.png: the first annotation has no object"


def damage_short_sequence(truth: Path, results: Path) -> str:
    for path in sorted((truth / "Annotations" / "480p" / "square0").iterdir())[2:]:
        path.unlink()
    return "square0: has 2 annotated frames"


def damage_no_annotations(truth: Path, results: Path) -> str:
    shutil.rmtree(truth / "Annotations")
    return "has no folder Annotations"


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing_there,
        damage_empty_folder,
        damage_missing_sequence,
        damage_emptied_sequence,
        damage_unknown_sequence,
        damage_missing_frame,
        damage_extra_frame,
        damage_names,
        damage_binary,
        damage_size,
        damage_truncated,
        damage_16_bit,
        damage_first_annotation,
        damage_short_sequence,
        damage_no_annotations,
    ],
    ids=lambda damage: damage.__name__.removeprefix("damage_"),
)
def test_what_cannot_be_scored_is_named(truth: Path, results: Path, damage: Callable[[Path, Path], str]) -> None:
    message = damage(truth, results)
    with pytest.raises(InputError, match=message) as error:
        score_folder(truth, results, "one-shot", stability=False)
    assert "\n" not in str(error.value)


def test_results_of_two_runs_in_one_folder_are_refused(truth: Path, results: Path) -> None:
    path = results / "square0" / "00003.png"
    as_binary(read_mask(path)).save(path)
    with pytest.raises(InputError, match=r"square0/00001.png: holds object ids, and 00003.png beside it 0 and 255"):
        score_folder(truth, results, "zero-shot", stability=False)
    # 0/255 and 1-bit masks go together, as do masks that show nothing
    rewrite(results / "square0", as_binary)
    as_bits(read_mask(path)).save(path)
    as_bits(np.zeros_like(read_mask(path))).save(path.with_name("00002.png"))
    assert score_folder(truth, results, "zero-shot", stability=False)["J"]["mean"] == 0.875


def test_nothing_that_exists_is_refused_too(truth: Path, results: Path) -> None:
    for path in results.rglob("*.png"):
        if path.stem not in ("00000", "00005"):
            path.unlink()
    with pytest.raises(InputError, match="no frame that counts"):
        score_folder(truth, results, "zero-shot", only_existing=True)


def test_an_error_in_a_process_reaches_the_user(truth: Path, results: Path) -> None:
    message = damage_size(truth, results)
    with pytest.raises(InputError, match=message):
        score_folder(truth, results, "one-shot", stability=False, workers=2)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, 128.0])
def test_a_threshold_is_a_share(truth: Path, results: Path, threshold: float) -> None:
    with pytest.raises(InputError, match="must be at least 0 and below 1"):
        score_folder(truth, results, "zero-shot", threshold=threshold)


def test_a_threshold_and_ids_do_not_go_together(truth: Path, results: Path) -> None:
    with pytest.raises(InputError, match="--threshold: a soft map has no object ids"):
        score_folder(truth, results, "one-shot", threshold=0.5)


def test_no_process_is_too_few(truth: Path, results: Path) -> None:
    with pytest.raises(InputError, match="--workers 0"):
        score_folder(truth, results, "one-shot", workers=0)

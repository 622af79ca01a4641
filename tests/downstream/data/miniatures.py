"""A miniature of every dataset, in the layout and encoding that it is published in.

Each holds a square (and, where the dataset knows several objects, a second one) that moves a pixel a frame over noise.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from downstream.data.dataset import Dataset
from mug.media.masks import PALETTE, VOID, write_mask

SIZE = 48, 64
FRAMES = 7
SPARSE = (0, 3, 6)
"""The frames that a dataset with few annotations shows masks of."""


def truth(index: int, objects: int = 2, first: int = 0) -> np.ndarray:
    """The mask of frame `index`, HW uint8 ids; the second object appears in frame `first`."""
    mask = np.zeros(SIZE, np.uint8)
    mask[8:24, 4 + index : 20 + index] = 1
    if objects == 2 and index >= first:
        mask[26:42, 40 - index : 56 - index] = 2
    return mask


def frame(path: Path, index: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 60, (*SIZE, 3), dtype=np.uint8)
    for identity in (1, 2):
        picture[truth(index) == identity] += np.uint8(80 * identity)
    Image.fromarray(picture).save(path)


def save(path: Path, mask: np.ndarray, encode: Callable[[np.ndarray], Image.Image]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encode(mask).save(path)


def indexed(mask: np.ndarray) -> Image.Image:
    image = Image.fromarray(mask).convert("L")
    image.putpalette(PALETTE.tobytes())
    return image


def binary(mask: np.ndarray) -> Image.Image:
    return Image.fromarray((mask > 0).astype(np.uint8) * 255)


def with_alpha(mask: np.ndarray) -> Image.Image:
    return binary(mask).convert("LA")


def in_rgb(mask: np.ndarray) -> Image.Image:
    return binary(mask).convert("RGB")


def davis16(root: Path) -> Path:
    for name in ("bear", "dog"):
        for index in range(FRAMES):
            frame(root / f"JPEGImages/480p/{name}/{index:05d}.jpg", index)
            two_channels = name == "bear" and index == 3  # as bear/00077.png is stored
            save(
                root / f"Annotations/480p/{name}/{index:05d}.png", truth(index), with_alpha if two_channels else binary
            )
    lines = [
        f"/JPEGImages/480p/{name}/{index:05d}.jpg /Annotations/480p/{name}/{index:05d}.png"
        for name in ("dog",)
        for index in range(FRAMES)
    ]
    for level in ("480p", "1080p"):
        (root / "ImageSets" / level).mkdir(parents=True)
        (root / "ImageSets" / level / "val.txt").write_text("\n".join(lines) + "\n")
    return root


def davis17(root: Path) -> Path:
    for name in ("bike", "judo"):
        for index in range(FRAMES):
            frame(root / f"JPEGImages/480p/{name}/{index:05d}.jpg", index)
            save(root / f"Annotations/480p/{name}/{index:05d}.png", truth(index), indexed)
    for year, names in (("2016", "judo"), ("2017", "bike\njudo")):
        (root / "ImageSets" / year).mkdir(parents=True)
        (root / "ImageSets" / year / "val.txt").write_text(f"{names}\n")
    return root


def davis17_unsupervised(root: Path) -> Path:
    for index in range(FRAMES):
        frame(root / f"JPEGImages/480p/judo/{index:05d}.jpg", index)
        mask = truth(index)
        mask[44:] = 255
        if index == FRAMES - 1:
            mask[:44] = 0  # the objects have gone; what is left is void, no object
        save(root / f"Annotations_unsupervised/480p/judo/{index:05d}.png", mask, indexed)
    (root / "ImageSets" / "2017").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text("judo\n")
    return root


def test_dev(root: Path) -> Path:
    for index in range(FRAMES):
        frame(root / f"JPEGImages/480p/aerobatics/{index:05d}.jpg", index)
    save(root / "Annotations/480p/aerobatics/00000.png", truth(0), indexed)
    (root / "ImageSets" / "2017").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets" / "2017" / "test-dev.txt").write_text("aerobatics\n")
    return root


def youtube_vos(root: Path) -> Path:
    """Every fifth frame is there in train; the second object of `b` appears later."""
    videos = {"train": {"a": 0, "b": 2}, "valid": {"c": 2}}
    for part, starts in videos.items():
        meta = {}
        for name, start in starts.items():
            names = [f"{5 * index:05d}" for index in range(FRAMES)]
            for index, stem in enumerate(names):
                frame(root / part / "JPEGImages" / name / f"{stem}.jpg", index)
                if part == "train" or index in (0, start):
                    save(root / part / "Annotations" / name / f"{stem}.png", truth(index, first=start), indexed)
            objects = {str(i): {"category": "dog", "frames": names[first:]} for i, first in ((1, 0), (2, start))}
            meta[name] = {"objects": objects}
        (root / part / "meta.json").write_text(json.dumps({"videos": meta}))
    return root


def youtube_objects(root: Path) -> Path:
    """As published: masks are JPEG files, and here and there a frame is called otherwise than its mask."""
    shots = (
        ("aeroplane", "0001", "002", "{:05d}"),
        ("cat", "0007", "001", "frame{:04d}"),
        ("cat", "0007", "003", "{:05d}"),
    )
    for name, video, shot, pattern in shots:
        folder = root / name / "data" / video / "shots" / shot
        for index in range(FRAMES):
            frame(folder / "images" / f"{pattern.format(index + 1)}.jpg", index)
        for index in SPARSE:
            save(folder / "labels" / f"{index + 1:05d}.jpg", truth(index, 1), binary)
    return root


def youtube_objects_flat(root: Path) -> Path:
    for name in ("aeroplane0001", "cat0007"):
        for index in range(FRAMES):
            frame(root / f"JPEGImages/{name}/{index + 1:05d}.jpg", index)
        for index in SPARSE:
            save(root / f"Annotations/{name}/{index + 1:05d}.png", truth(index, 1), binary)
    return root


GREYS = (0, 120, 255)
COLOURS = ((255, 255, 255), (255, 0, 0), (0, 0, 0))
"""Of the background and two objects: of PGM files, and of PPM files, whose background is white."""


def fbms(root: Path) -> Path:
    _fbms_sequence(root / "Testset" / "cats01", "cats01_{:04d}", "_gt.ppm", np.array(COLOURS, np.uint8))
    _fbms_sequence(root / "Trainingset" / "cars2", "cars2_{:02d}", ".pgm", np.array(GREYS, np.uint8))
    return root


def _fbms_sequence(folder: Path, pattern: str, ending: str, colours: np.ndarray) -> None:
    for index in range(FRAMES):
        frame(folder / f"{pattern.format(index + 1)}.jpg", index)
    codes = [int(c[0]) << 16 | int(c[1]) << 8 | int(c[2]) for c in colours] if colours.ndim == 2 else colours.tolist()
    lines = ["Ground truth definition file; do not change!", "", "Total number of regions:", str(len(codes))]
    for region, code in enumerate(codes):
        lines += ["", f"Scale of region {region}:", str(code)]
    lines += ["", "Confusion penality matrix:", *["0 1 1 "] * len(codes), ""]
    lines += ["Total number of frames in this shot:", str(FRAMES)]
    lines += ["Total number of labeled frames for this shot:", str(len(SPARSE))]
    for index in SPARSE:
        stem = pattern.format(index + 1)
        lines += ["Frame number:", str(index), "File name:", stem + ending, "Input file name:", f"{stem}.ppm"]
        save(folder / "GroundTruth" / (stem + ending), truth(index), lambda mask: Image.fromarray(colours[mask]))
        if ending == "_gt.ppm":  # what lies beside it for the official measure
            save(folder / "GroundTruth" / f"{stem}_gt.pgm", truth(index), binary)
            save(folder / "GroundTruth" / f"{stem}_PROB_gt.ppm", truth(index), in_rgb)
    (folder / "GroundTruth" / f"{folder.name}Def.dat").write_bytes("\r\n".join(lines).encode() + b"\r\n")


def fbms_converted(root: Path) -> Path:
    for name in ("cars2", "cats01"):
        for index in range(FRAMES):
            frame(root / f"JPEGImages/{name}/{index + 1:05d}.jpg", index)
        for index in SPARSE:
            save(root / f"Annotations/{name}/{index + 1:05d}.png", truth(index), binary)
    return root


def segtrack(root: Path) -> Path:
    for index in range(FRAMES):
        frame(root / f"JPEGImages/frog_2/frog_{index:05d}.png", index)
        save(root / f"GroundTruth/frog_2/frog_{index:05d}.png", truth(index, 1), in_rgb)
        # frames and masks of one name that differ in suffix
        frame(root / f"JPEGImages/cheetah/cheetah_{index:05d}.bmp", index)
        for identity, suffix in ((1, "bmp"), (2, "png")):
            path = root / f"GroundTruth/cheetah/{identity}/cheetah_{index:05d}.{suffix}"
            save(path, (truth(index) == identity).astype(np.uint8), in_rgb)
    (root / "GroundTruth" / "frog_2" / "Thumbs.db").write_bytes(b"junk")
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "all.txt").write_text("*frog\n*cheetah\n")
    for name, folder in (("frog", "frog_2"), ("cheetah", "cheetah")):
        (root / "ImageSets" / f"{name}.txt").write_text(f"{folder}/\n{name}_00000\n")
    return root


def folder(root: Path) -> Path:
    for name in ("mine", "yours"):
        for index in range(FRAMES):
            frame(root / f"{name}/{index:05d}.jpg", index)
        for index in SPARSE:
            save(root / f"{name}/masks/{index:05d}.png", truth(index), indexed)
    return root


def results_of(dataset: Dataset, split: str | None, out: Path, shift: int = 0) -> Path:
    """Masks as a perfect method would give them (moved aside by `shift`), for all annotated frames."""
    for sequence in dataset.sequences(split):
        for name, annotation in dataset.frames(sequence).items():
            mask = annotation.read()
            write_mask(out / sequence / f"{name}.png", np.roll(np.where(mask == VOID, 0, mask), shift, axis=1))
    return out

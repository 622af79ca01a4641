"""A small world in which every command works, and ways to spoil it."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from agnn_head.checkpoint import save_weights as save_agnn
from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from mug.checkpoint import save_weights
from mug.media.masks import write_mask
from mug.model import MuG
from mug.networks.tensors import read_safetensors
from mug.options import BackboneConfig, EmbeddingConfig, ModelConfig
from mug.run.settings import to_plain
from tests.downstream.systems.small import BRIEFLY, TRAINING
from tests.pretrain.tiny import make_videos, tiny

Spoil = Callable[[Path], object]

SIZE, FRAMES = (48, 64), 4
SEQUENCES = Path("davis/JPEGImages/480p"), Path("davis/Annotations/480p")
CPU = ("--device", "cpu")


def words_of(command: str, root: Path) -> list[str]:
    """The command as it works in the world at `root`."""
    out, phi = root / "out", root / "phi.safetensors"
    words: dict[str, tuple[object, ...]] = {
        "demo": ("--quick", "--out", out),
        "synth": (out, "--textures", root / "photos", "--videos", 1, "--frames", 2),
        "synth-groups": (out, "--textures", root / "photos", "--groups", 1, "--images", 2, "--size", 48),
        "prior": (root / "clips", "--out", out, "--workers", 1),
        "pretrain": ("--config", root / "pretrain.yaml", "--videos", root / "clips", "--out", out),
        "calibrate": (phi, *CPU),
        "finetune": (
            *("agnn", "--data", root / "davis", "--weights", phi, "--out", out, "--steps", 1),
            *(*TRAINING["agnn"], *BRIEFLY),
        ),
        "convert": ("agnn", root / "theirs.pth", "--out", root / "ours.safetensors"),
        "propagate": (
            *(root / "clip", "--mask", root / "first.png", "--weights", phi, "--out", out),
            *("--size", 48, "--evidence", "none", *CPU),
        ),
        "segment": (root / "clip", "--weights", phi, "--out", out, "--mode", "paper", "--size", 48, *CPU),
        "cosegment": (root / "groups", "--weights", root / "agnn.safetensors", "--out", out, "--size", 32, *CPU),
        "export": ("--to", "torchvision", "--weights", phi, "--out", root / "resnet.pth"),
        "masks": (root / "results", "--to", "rgba", "--videos", root / "davis", "--out", out),
        "evaluate": (
            *("--task", "zero-shot", "--gt", root / "davis", "--pred", root / "results"),
            *("--out", root / "scores.json"),
        ),
        "report": (root / "results", "--videos", root / "davis", "--out", root / "page.html"),
        "doctor": (),
    }
    return [command, *map(str, words[command])]


def build(root: Path) -> Path:
    """Writes the world."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    for number in range(FRAMES):
        frame, mask = texture // 2, np.zeros(SIZE, np.uint8)
        mask[10:30, 5 + 4 * number : 25 + 4 * number] = 1
        frame[mask > 0] += np.uint8(120)
        name = f"{number:05d}"
        for video in ("clip", SEQUENCES[0] / "bear", SEQUENCES[0] / "dog"):
            picture(root / video / f"{name}.jpg", frame)
        for sequence in ("bear", "dog"):
            write_mask(root / SEQUENCES[1] / sequence / f"{name}.png", mask)
            write_mask(root / "results" / sequence / f"{name}.png", mask)
        picture(root / "photos" / f"{name}.jpg", texture)
        picture(root / "groups/cats" / f"{name}.jpg", frame)
        write_mask(root / "groups/cats/GroundTruth" / f"{name}.png", mask)
        write_mask(root / "found/cats" / f"{name}.png", mask)
    shutil.copy(root / SEQUENCES[1] / "bear/00000.png", root / "first.png")
    make_videos(root / "clips")
    (root / "pretrain.yaml").write_text(yaml.safe_dump(to_plain(tiny(root / "clips", root / "out"))))
    torch.manual_seed(0)
    backbone = BackboneConfig(depth=18, stages=2, stride=8)
    save_weights(root / "phi.safetensors", MuG(ModelConfig(backbone)).eval(), {})
    embedding = EmbeddingConfig(backbone=backbone, rates=(1, 2, 3))
    save_agnn(root / "agnn.safetensors", AGNN(AGNNConfig(embedding, channels=8, iterations=1)).eval(), {})
    torch.save({"layer.weight": torch.zeros(2, 2)}, root / "theirs.pth")
    return root


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def snapshot(root: Path) -> dict[str, str]:
    """Everything below a folder: folders, and files by their size and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = f"{path.is_dir()} {len(content)} {hashlib.sha256(content).hexdigest()}"
    return found


# --- ways to spoil it ------------------------------------------------------------------------------------------------


def nothing(root: Path) -> None:
    """The words alone are wrong."""


def without(*places: str) -> Spoil:
    def spoil(root: Path) -> None:
        for path in [path for place in places for path in root.glob(place)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def emptied(place: str) -> Spoil:
    def spoil(root: Path) -> None:
        shutil.rmtree(root / place)
        (root / place).mkdir()

    return spoil


def holding(place: str, content: bytes = b"neither picture nor video") -> Spoil:
    """Other content in the files of a pattern, or in a new one."""

    def spoil(root: Path) -> None:
        for path in sorted(root.glob(place)) or [root / place]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return spoil


def cut(place: str, share: float = 0.5) -> Spoil:
    def spoil(root: Path) -> None:
        content = (root / place).read_bytes()
        (root / place).write_bytes(content[: int(share * len(content))])

    return spoil


def resized(place: str) -> Spoil:
    def spoil(root: Path) -> None:
        for path in list(root.glob(place)):
            Image.open(path).resize((32, 24), Image.Resampling.NEAREST).save(path)

    return spoil


def led_out(root: Path) -> None:
    """A dataset with a list of sequences that names the folder above."""
    for kind, name in (("JPEGImages", "00000.jpg"), ("Annotations", "00000.png")):
        shutil.copy(root / f"davis/{kind}/480p/dog/{name}", root / f"davis/{kind}/{name}")
    (root / "davis/ImageSets").mkdir()
    (root / "davis/ImageSets/val.txt").write_text("../00000.jpg\n")


def linked(root: Path) -> None:
    """An output folder in which the folders of results are links to another place."""
    for name in ("clip", "cats", "square0"):
        (root / "out").mkdir(exist_ok=True)
        (root / "elsewhere" / name).mkdir(parents=True)
        (root / "out" / name).symlink_to(root / "elsewhere" / name)


def redrawn(place: str, pixels: np.ndarray) -> Spoil:
    return lambda root: Image.fromarray(pixels).save(root / place)


def copied(place: str, copy: str) -> Spoil:
    def spoil(root: Path) -> None:
        (root / copy).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (root / place).is_dir() else shutil.copy)(root / place, root / copy)

    return spoil


def pickled(place: str) -> Spoil:
    """A pickle that would leave a file if it was trusted."""

    class Payload:
        def __init__(self, proof: Path) -> None:
            self.proof = proof

        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (self.proof,)

    return lambda root: (root / place).write_bytes(pickle.dumps({"model": Payload(root / "executed")}))


def changed_tensor(place: str, change: Callable[[Tensor], Tensor]) -> Spoil:
    """Changes the first floating-point tensor of a weights file."""

    def spoil(root: Path) -> None:
        tensors, (_, note) = load_file(root / place), read_safetensors(root / place)
        name = next(name for name, x in tensors.items() if x.is_floating_point() and x.ndim > 1)
        save_file(tensors | {name: change(tensors[name])}, root / place, note)

    return spoil


def not_a_number(place: str) -> Spoil:
    return changed_tensor(place, lambda x: x * torch.nan)


def misshapen(place: str) -> Spoil:
    return changed_tensor(place, lambda x: torch.cat([x, x]))


SOFT = np.linspace(0, 255, SIZE[0] * SIZE[1]).astype(np.uint8).reshape(SIZE)
DEEP = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE)
MANY_IDS = DEEP % 300
COLOURS = np.full((*SIZE, 3), (200, 30, 99), np.uint8)
EMPTY = np.zeros(SIZE, np.uint8)

"""Files that were made to do harm: they are refused soon, in little memory, and nothing in them is run."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mug.cli import main
from mug.errors import InputError
from mug.media.masks import read_mask
from mug.media.pictures import picture_size, read_frame
from mug.media.plain import count_entries, parse_json, read_json, read_yaml
from mug.networks.tensors import read_safetensors, read_tensors, refuse_inflated
from mug.run.checkpoints import Checkpoints
from mug.run.folder import RunFolder
from tests.reliability.damage import bounded, in_time


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge_png(path: Path) -> None:
    """A picture of 100,000 x 100,000 pixels, in a few hundred bytes."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def laughing_yaml(path: Path) -> None:
    """Nine lists of nine times the one before: 10^9 entries in a few lines."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join([*lines, "size: *a9"]) + "\n")


def endless_yaml(path: Path) -> None:
    path.write_text("size: &again [*again]\n")


def deep_yaml(path: Path) -> None:
    path.write_text("size: " + "[" * 1_200 + "\n")


def deep_json(path: Path) -> None:
    path.write_text("[" * 100_000 + "]" * 100_000)


def vast_safetensors(path: Path) -> None:
    """A header that claims to be 2^60 bytes long."""
    path.write_bytes(struct.pack("<Q", 2**60) + b'{"a": {}}')


def vast_tensor(path: Path) -> None:
    """A tensor that claims 2^60 bytes."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [2**30, 2**30], "data_offsets": [0, 2**60]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def zip_bomb(path: Path) -> None:
    """A checkpoint of 64 MiB of zeros in 64 kB."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, buffer)
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in whole.namelist():
            if not entry.endswith("data/0"):
                bomb.writestr(entry, whole.read(entry))
        with bomb.open("archive/data/0", "w", force_zip64=True) as data:
            for _ in range(64):
                data.write(bytes(2**20))


class Harm:
    """Leaves a file where it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.proof,)


def harmful_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Harm(path.parent / "executed")}))


def harmful_checkpoint(path: Path) -> None:
    torch.save({"step": 1, "model": Harm(path.parent / "executed")}, path)


def harmful_yaml(path: Path) -> None:
    path.write_text(f"size: !!python/object/apply:pathlib.Path.touch [{path.parent / 'executed'}]\n")


def as_checkpoint(path: Path) -> object:
    """As the checkpoint of a run."""
    (path.parent / "step0000001.pt").write_bytes(path.read_bytes())
    return Checkpoints(path.parent).load()


def as_run(path: Path) -> object:
    """As the configuration of a run."""
    (path.parent / "config.yaml").write_bytes(path.read_bytes())
    return RunFolder(path.parent).recorded("size")


CRAFTED: list[tuple[Callable[[Path], None], str, Callable[[Path], object]]] = [
    *((huge_png, "huge.png", read) for read in (read_frame, read_mask, picture_size)),
    *((make, "made.yaml", read) for make in (laughing_yaml, endless_yaml, deep_yaml, harmful_yaml)
      for read in (read_yaml, as_run)),
    (deep_json, "deep.json", read_json),
    *((make, "made.safetensors", read) for make in (vast_safetensors, vast_tensor, harmful_pickle)
      for read in (read_safetensors, read_tensors)),
    *((make, "made.pth", read) for make in (zip_bomb, harmful_pickle, harmful_checkpoint)
      for read in (read_tensors, as_checkpoint)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "name", "read"), CRAFTED, ids=lambda part: getattr(part, "__name__", "").removesuffix("_")
)
def test_harm_is_refused(
    make: Callable[[Path], None], name: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path / name)
    with bounded(), in_time(), pytest.raises(InputError) as error:
        read(tmp_path / name)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("read", [read_tensors, as_checkpoint])
def test_a_zip_bomb_is_not_even_opened(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_bomb(tmp_path / "made.pth")
    opened: list[object] = []
    monkeypatch.setattr(torch, "load", lambda *given, **_: opened.append(given))
    with pytest.raises(InputError):
        read(tmp_path / "made.pth")
    assert not opened
    with pytest.raises(InputError, match="would unpack to 64 MiB"):
        refuse_inflated(tmp_path / "made.pth")


@pytest.mark.parametrize("make", [laughing_yaml, endless_yaml, deep_yaml, harmful_yaml])
def test_a_harmful_config_is_refused_by_the_command(
    make: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "made.yaml")
    with bounded(), in_time():
        assert main(["synth", str(tmp_path / "out"), "--config", str(tmp_path / "made.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "made.yaml" in said and len(said) < 500
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.yaml"]


def test_harmless_data_is_counted() -> None:
    part = [1, 2]
    assert count_entries({"a": part, "b": part}) == 9
    assert parse_json('{"a": [1]}') == {"a": [1]}
    with pytest.raises(ValueError, match="too deeply"):
        parse_json("[" * 100_000)

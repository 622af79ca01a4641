"""Files that appear whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mug.errors import InputError
from mug.media.files import atomic_path, natural_key, prepare_output, remove_begun


def test_atomic_path_appears_only_on_success(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.csv"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".csv" and not target.exists()
    assert target.read_text() == "new"
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text(f"half {1 / 0}")
    assert target.read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["table.csv"]


def test_files_are_as_readable_as_others(tmp_path: Path) -> None:
    """Also those of writers that make private files, like safetensors."""
    with atomic_path(tmp_path / "weights") as temporary:
        temporary.touch(0o600)
    (tmp_path / "other").touch()
    modes = {(tmp_path / name).stat().st_mode for name in ("weights", "other")}
    assert len(modes) == 1


def test_atomic_path_makes_folders(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "frames") as temporary:
        temporary.mkdir()
        (temporary / "a").touch()
    assert (tmp_path / "frames" / "a").exists()


def test_output_with_results_needs_overwrite(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    prepare_output(out, overwrite=False)
    prepare_output(out, overwrite=False)
    (out / "00000.png").write_text("precious")
    with pytest.raises(InputError, match="--overwrite"):
        prepare_output(out, overwrite=False)
    prepare_output(out, overwrite=True)
    assert (out / "00000.png").read_text() == "precious"
    with pytest.raises(InputError, match="is a file"):
        prepare_output(out / "00000.png", overwrite=True)


def test_output_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(InputError, match="1 MiB are free"):
        prepare_output(tmp_path / "out", overwrite=False)


def test_natural_order() -> None:
    assert sorted(["f10", "f2", "a", "3", "f2b"], key=natural_key) == ["3", "a", "f2", "f2b", "f10"]


def test_what_a_signal_kept_from_being_removed_is_removed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def write() -> None:
        with monkeypatch.context() as patch, atomic_path(tmp_path / "a.png") as temporary:
            temporary.touch()
            patch.setattr(shutil, "rmtree", interrupted)

    with pytest.raises(KeyboardInterrupt):
        write()
    monkeypatch.undo()
    assert [path.name[:3] for path in tmp_path.glob(".*")] == [".a."]
    remove_begun()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

"""Settings as plain data, and what differs between two."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mug import __version__
from mug.run.settings import first_difference, settings_of, to_plain, without_paths


@dataclass
class Inner:
    """Options within options."""

    rate: float = 0.1
    where: Path = Path("a/b")


@dataclass
class Outer:
    """Options of a made-up command."""

    inner: Inner = field(default_factory=Inner)
    steps: tuple[int, ...] = (1, 2)


@dataclass
class Listing:
    """Options with lists of paths."""

    inner: Inner = field(default_factory=Inner)
    clips: list[Path] = field(default_factory=lambda: [Path("a"), Path("b")])
    start: Path | None = None
    names: list[str] = field(default_factory=lambda: ["a/b"])


def test_paths_are_left_out_at_any_depth() -> None:
    assert without_paths(Listing()) == {"inner": {"rate": 0.1}, "start": None, "names": ["a/b"]}


def test_options_become_plain_data() -> None:
    assert to_plain(Outer()) == {"inner": {"rate": 0.1, "where": "a/b"}, "steps": [1, 2]}


def test_first_difference_names_the_dotted_key_and_skips_free_ones() -> None:
    old = {"a": 1, "b": {"c": 2, "d": 3}, "e": 0}
    assert first_difference(old, old) is None
    assert first_difference(old, {"a": 1, "b": {"c": 2, "d": 4}, "e": 9}) == ("b.d", 3, 4)
    assert first_difference(old, {"a": 1, "b": {"c": 2, "d": 4}, "e": 0}, free=("b.d",)) is None
    assert first_difference({"a": 1}, {"a": 1, "new": 5}) == ("new", None, 5)


@dataclass
class Chosen:
    """Options that name files."""

    weights: Path | None = None
    videos: Path = Path("clips")
    inner: Inner = field(default_factory=Inner)
    out: Path = Path("out")


def test_files_count_by_content_and_videos_by_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "phi.safetensors").write_text("the same")
    (tmp_path / "clip.mp4").write_text("a video")
    first = settings_of(Chosen(Path("a/phi.safetensors"), Path("clip.mp4")), ("out",))
    assert first == settings_of(Chosen(tmp_path / "b/phi.safetensors", tmp_path / "clip.mp4", out=Path("x")), ("out",))
    assert first["version"] == __version__ and "out" not in first
    assert first["videos"] == str(tmp_path / "clip.mp4")
    (tmp_path / "a/phi.safetensors").write_text("trained on")
    again = settings_of(Chosen(Path("a/phi.safetensors"), Path("clip.mp4")), ("out",))
    key, old, new = first_difference(first, again) or ("", "", "")
    assert key == "weights" and old != new and old.startswith("phi.safetensors (")
    assert settings_of(Chosen(inner=Inner(where=Path("a"))), ())["inner"]["where"] == str(tmp_path / "a")
    assert settings_of(Chosen(), ())["weights"] is None

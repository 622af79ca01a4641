"""Annotated datasets in DAVIS layout: what a result is scored against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mug.errors import InputError
from mug.files import natural_key

RESOLUTION = "480p"
INFO_FILE = "db_info.yml"


@dataclass(frozen=True)
class Dataset:
    """A folder with `Annotations/480p/<sequence>/<frame>.png`; the level `480p` may be missing.

    Attributes:
        root: The folder.
        annotations: The folder in it that holds the sequences.
    """

    root: Path
    annotations: Path

    def sequences(self, split: str | None = None) -> list[str]:
        """Names of the annotated sequences, sorted; with `split` those that a file in `ImageSets` names.

        Args:
            split: Name of the file without `.txt` (`val`), with its folder where several have it (`2017/val`).

        Raises:
            InputError: nothing is annotated, there is no such split or several, or it names what is not annotated.
        """
        annotated = sequence_folders(self.annotations)
        if not annotated:
            raise InputError(f"{self.annotations}: holds no <sequence>/<frame>.png; give the root of a DAVIS layout")
        if split is None:
            return annotated
        path = self._split_file(split)
        chosen = _names(path)
        if not chosen:
            raise InputError(f"{path}: names no sequence; write one name a line")
        if missing := [name for name in chosen if name not in annotated]:
            raise InputError(f"{self.annotations}: has no annotations of {_some(missing)}, which {path} names")
        return chosen

    def frames(self, sequence: str) -> dict[str, Path]:
        """The annotations of a sequence in the order of its frames, by the frame's name without suffix."""
        return frame_files(self.annotations / sequence)

    def steady(self) -> set[str] | None:
        """The sequences that the dataset marks for T (`eval_t` in its `db_info.yml`); None if it has no such file.

        Raises:
            InputError: the file cannot be understood.
        """
        import yaml

        folders = (self.root, self.root / "Annotations", self.annotations)
        path = next((folder / INFO_FILE for folder in folders if (folder / INFO_FILE).is_file()), None)
        if path is None:
            return None
        try:
            entries = yaml.safe_load(path.read_text())["sequences"]
            return {str(entry["name"]) for entry in entries if entry.get("eval_t", False) is True}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise InputError(
                f"{path}: is no list of `sequences` with `name` and `eval_t` as DAVIS has it; mend or remove it"
            ) from error

    def _split_file(self, split: str) -> Path:
        folder = self.root / "ImageSets"
        found = sorted(folder.rglob(f"{split}.txt"))
        if not found:
            known = sorted({path.stem for path in folder.rglob("*.txt")})
            raise InputError(f"{folder}: has no {split}.txt" + (f"; there are {', '.join(known)}" if known else ""))
        if len(found) > 1:
            choices = ", ".join(str(path.relative_to(folder).with_suffix("")) for path in found)
            raise InputError(f"--split {split}: could be any of {choices}; name one of them")
        return found[0]


def open_dataset(root: Path) -> Dataset:
    """Finds the annotations of a dataset in DAVIS layout.

    Raises:
        InputError: the folder or its annotations are missing.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the root of a dataset in DAVIS layout")
    annotations = root / "Annotations"
    if not annotations.is_dir():
        raise InputError(f"{root}: has no folder Annotations/{RESOLUTION}; give the root of a dataset in DAVIS layout")
    level = annotations / RESOLUTION
    return Dataset(root, level if level.is_dir() else annotations)


def sequence_folders(folder: Path) -> list[str]:
    """Sorted names of the folders in `folder` that hold PNG files."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and next(path.glob("*.png"), None))


def frame_files(folder: Path) -> dict[str, Path]:
    """The PNG files of a folder by their name without suffix, `2` before `10`."""
    return {path.stem: path for path in sorted(folder.glob("*.png"), key=lambda path: natural_key(path.stem))}


def _names(path: Path) -> list[str]:
    """Sequences of a split file: a name a line, or, as in DAVIS-16, an image and an annotation a line."""
    first = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    names = [entry.rstrip("/").split("/")[-2] if "/" in entry.rstrip("/") else entry.rstrip("/") for entry in first]
    return list(dict.fromkeys(names))


def _some(names: list[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")

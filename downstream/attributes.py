"""What makes sequences of DAVIS difficult: AC, BC, ... of Perazzi et al. 2016, as its `db_info.yml` marks them."""

from __future__ import annotations

from downstream.data.dataset import Dataset
from downstream.data.davis import INFO_FILE
from mug.errors import InputError

FILES = (INFO_FILE, INFO_FILE.replace(".yml", ".yaml"))


def read_attributes(dataset: Dataset) -> dict[str, list[str]] | None:
    """The sequences that have each attribute, sorted by its name; None where the data set has no such list.

    Raises:
        InputError: the file cannot be understood.
    """
    import yaml

    folders = (dataset.root, dataset.root / "Annotations", dataset.annotations)
    path = next((folder / file for folder in folders for file in FILES if (folder / file).is_file()), None)
    if path is None:
        return None
    having: dict[str, list[str]] = {}
    try:
        for entry in yaml.safe_load(path.read_text())["sequences"]:
            for attribute in entry.get("attributes") or []:
                having.setdefault(str(attribute), []).append(str(entry["name"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise InputError(
            f"{path}: is no list of `sequences` with `name` and `attributes` as DAVIS has it; mend or remove it"
        ) from error
    return dict(sorted(having.items())) or None

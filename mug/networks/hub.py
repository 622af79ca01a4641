"""Weights that travel: folders and repositories of the Hugging Face Hub, by the mixin of `huggingface_hub`.

A repository holds a weights file like any other of mug under the name `FILE`, its configuration once more as
`config.json`, by which the Hub counts downloads, and a model card. Only the weights file is read.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from mug.errors import InputError
from mug.lazy import resolve

FILE = "model.safetensors"
"""Name of the weights file in a repository, as the Hub expects it."""

REPOSITORY = re.compile(r"(?!\.)[\w.-]+/(?!\.)[\w.-]+(?<!\.safetensors)(?<!\.pth)(?<!\.pt)", re.ASCII)
"""Names that may be a repository of the Hub."""

_SIGN_IN = "check the name, the connection and `hf auth login`"

CARD = """---
{{ card_data }}
---

# {{ name }}

Weights for `mug`, video object segmentation learned from unlabeled video.

```
pip install 'mug-vos[hub]'
```

```python
import mug

network = mug.load("{{ repository }}")
```

| metadata | |
|---|---|
{% for key, value in notes.items() %}| {{ key }} | `{{ value }}` |
{% endfor %}"""
"""Template of the model card."""


class Pretrained(nn.Module):
    """A network with the methods that users of the Hub expect; they need the extra `hub`.

    Attributes:
        stored_as: `module:name` of the format of its weights files: an object with `save(path, network, metadata)` and
            `load(path) -> (network, metadata)`.
        metadata: Notes in the weights file that the network was loaded from; it is saved with them.
    """

    stored_as: ClassVar[str]
    metadata: Mapping[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.metadata = {}

    @classmethod
    def from_pretrained(cls, name: Path | str, **options: Any) -> Self:
        """Loads the network from a file, a folder or a repository of the Hub.

        Args:
            name: A weights file, a folder of `save_pretrained`, or `OWNER/NAME` on the Hub.
            **options: Those of `huggingface_hub.ModelHubMixin.from_pretrained`: `revision`, `token`, `cache_dir`,
                `force_download`, `local_files_only`.

        Returns:
            The network on the CPU, in single precision and evaluation mode.

        Raises:
            InputError: there is no such file, folder or repository, it holds no weights of this network, or
                `huggingface_hub` is not installed.
        """
        path = local_file(name)
        if path is not None:
            network: Self = resolve(cls.stored_as).load(path)[0]
            return network
        mixin = _mixin()
        with _explained(_absent(name), _SIGN_IN):
            found: Self = mixin.from_pretrained(str(name), kind=cls, **options).network
        return found

    def save_pretrained(self, folder: Path | str, **options: Any) -> None:
        """Writes the weights file, `config.json` and, if there is none, a model card `README.md` to a folder.

        Args:
            folder: Created if missing.
            **options: Those of `huggingface_hub.ModelHubMixin.save_pretrained`: `repo_id`, `push_to_hub`, and so on.

        Raises:
            InputError: the folder cannot be written to, the Hub refuses, or `huggingface_hub` is not installed.
        """
        packed = _mixin()(self)
        with _explained(f"{folder}: cannot be saved", "choose another folder"):
            packed.save_pretrained(folder, config=self._settings(), **self._with_card(options))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Uploads what `save_pretrained` writes to a repository of the Hub, which is created if missing.

        Args:
            repo_id: `OWNER/NAME`.
            **options: Those of `huggingface_hub.ModelHubMixin.push_to_hub`: `private`, `token`, `branch`,
                `commit_message`, and so on.

        Returns:
            The address of the commit.

        Raises:
            InputError: the Hub refuses or cannot be reached, or `huggingface_hub` is not installed.
        """
        packed = _mixin()(self)
        with _explained(f"{repo_id}: cannot be pushed to the Hub", _SIGN_IN):
            return str(packed.push_to_hub(config=self._settings(), **self._with_card(options | {"repo_id": repo_id})))

    def _settings(self) -> dict[str, Any]:
        config: Any = self.config
        return {"architecture": type(self).__name__, **asdict(config)}

    def _with_card(self, options: dict[str, Any]) -> dict[str, Any]:
        shown = self.metadata.keys() - {"config", "options"}  # the long ones, which the weights file holds
        notes = {key: self.metadata[key].replace("|", "\\|") for key in sorted(shown)}
        card = {"name": type(self).__name__, "notes": notes, "repository": options.get("repo_id", "OWNER/NAME")}
        return options | {"model_card_kwargs": card | options.get("model_card_kwargs", {})}


def weights_file(name: Path | str, revision: str | None = None) -> Path:
    """The weights file that a user means.

    Args:
        name: A file; a folder of `save_pretrained`, or with a single `.safetensors` file, like that of a run; or, as
            text, `OWNER/NAME` on the Hub, from which it is downloaded if it is not in the cache.
        revision: Branch, tag or commit of the repository.

    Raises:
        InputError: there is no such file, folder or repository, or `huggingface_hub` is not installed.
    """
    path = local_file(name)
    return _download(str(name), revision=revision) if path is None else path


def local_file(name: Path | str) -> Path | None:
    """The file that a path leads to; None if there is nothing, and the name may be that of a repository.

    Raises:
        InputError: a folder without weights, or no path to anything and no name of a repository either.
    """
    path = Path(name)
    if path.is_dir():
        files = [path / FILE] if (path / FILE).is_file() else sorted(path.glob("*.safetensors"))
        if len(files) != 1:
            fault = f"holds {len(files)} .safetensors files" if files else "is a folder without a .safetensors file"
            raise InputError(f"{name}: {fault}; name the file with the weights")
        return files[0]
    if path.exists():
        return path
    if isinstance(name, Path) or not REPOSITORY.fullmatch(name):
        remedy = "give a weights file, a folder that holds one, or OWNER/NAME of a repository on the Hub"
        raise InputError(f"{name}: no such file or folder; {remedy}")
    return None


def _download(repository: str, **options: Any) -> Path:
    download = _library("hf_hub_download")
    with _explained(_absent(repository), _SIGN_IN):
        return Path(download(repository, FILE, **options))


def _library(name: str) -> Any:
    """An object of `huggingface_hub`.

    Raises:
        InputError: the package is not installed.
    """
    try:
        return resolve(f"huggingface_hub:{name}")
    except ModuleNotFoundError as error:
        raise InputError("the Hub needs the missing package huggingface_hub; pip install 'mug-vos[hub]'") from error


@contextmanager
def _explained(fault: str, remedy: str) -> Iterator[None]:
    """Turns the errors of `huggingface_hub` into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of its HTTP client too, which differs between releases
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise InputError(f"{fault} ({reason}); {remedy}") from error


def _absent(name: Path | str) -> str:
    return f"{name}: is no file or folder here, nor a repository of the Hub that can be read"


class _Packed:
    """A network as the mixin takes it."""

    def __init__(self, network: Pretrained) -> None:
        self.network = network

    def _save_pretrained(self, save_directory: Path) -> None:
        resolve(self.network.stored_as).save(save_directory / FILE, self.network, self.network.metadata)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, kind: type[Pretrained], **options: Any) -> Self:
        return cls(resolve(kind.stored_as).load(_download(model_id, **options))[0])


def _mixin() -> Any:
    """`_Packed` with the methods of `huggingface_hub`'s mixin."""
    settings = {
        "library_name": "mug",
        "pipeline_tag": "image-segmentation",
        "tags": ["video-object-segmentation"],
        "model_card_template": CARD,
    }
    return types.new_class("Packed", (_Packed, _library("ModelHubMixin")), settings)

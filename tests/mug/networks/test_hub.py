"""Weights in folders and in repositories of the Hub; nothing here uses a network."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import mug
from mug.checkpoint import load_weights, save_weights
from mug.errors import InputError
from mug.model import MuG
from mug.networks.hub import FILE, local_file
from mug.options import BackboneConfig, ModelConfig

hub = pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "phi.safetensors"
    notes = {"one_shot_temperature": "0.01", "training": "two | three clips", "options": "{}"}
    save_weights(path, MuG(ModelConfig(BackboneConfig(depth=18, stages=1, stride=4))), notes)
    return path


@pytest.fixture(scope="module")
def saved(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "saved"
    mug.load(weights).save_pretrained(folder)
    return folder


@pytest.fixture
def online(saved: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The Hub has one repository, me/phi; gives what was asked for."""
    asked = []

    def download(repo_id: str, filename: str, *, revision: str | None = None, **_: object) -> str:
        asked.append((repo_id, filename, revision))
        if repo_id != "me/phi":
            raise hub.errors.LocalEntryNotFoundError("Cannot find it.\nCheck the connection.")
        return str(saved / filename)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub.hub_mixin, "hf_hub_download", download)
    return asked


def same(one: MuG, other: MuG) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    kept = [name for name in ours if not name.startswith(("kappa.", "short."))]
    return one.config == other.config and all(torch.equal(ours[name], theirs[name]) for name in kept)


def test_a_folder_holds_the_weights_their_config_and_a_card(saved: Path, weights: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", FILE]
    network, metadata = load_weights(saved / FILE)
    assert same(network, load_weights(weights)[0])
    assert metadata["one_shot_temperature"] == "0.01"
    config = json.loads((saved / "config.json").read_text())
    assert config["architecture"] == "MuG" and config["backbone"]["depth"] == 18
    card = (saved / "README.md").read_text()
    assert 'mug.load("OWNER/NAME")' in card and "library_name: mug" in card
    assert "| training | `two \\| three clips` |" in card
    assert "| options |" not in card


def test_a_folder_is_loaded(saved: Path, weights: Path) -> None:
    true = mug.load(weights)
    for loaded in (mug.MuG.from_pretrained(saved), mug.load(str(saved)), mug.load(saved / FILE)):
        assert same(loaded, true) and not loaded.training
        assert loaded.metadata["training"] == "two | three clips"


def test_a_run_folder_is_loaded(weights: Path, tmp_path: Path) -> None:
    assert local_file(weights.parent) == weights
    with pytest.raises(InputError, match=r"is a folder without a \.safetensors file"):
        mug.load(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(InputError, match=r"holds 2 \.safetensors files; name the file"):
        mug.load(tmp_path)


def test_a_repository_is_loaded(online: list, weights: Path) -> None:
    true = mug.load(weights)
    assert same(mug.load("me/phi", revision="v2"), true)
    assert online == [("me/phi", FILE, "v2")]
    assert same(mug.MuG.from_pretrained("me/phi", revision="v3"), true)
    assert online[1:] == [("me/phi", "config.json", "v3"), ("me/phi", FILE, "v3")]


def test_what_is_here_comes_before_the_hub(
    online: list, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").mkdir()
    shutil.copy(weights, tmp_path / "me/phi")
    mug.load("me/phi")
    mug.MuG.from_pretrained("me/phi")
    assert not online


@pytest.mark.parametrize("load", [mug.load, mug.MuG.from_pretrained])
def test_a_repository_that_is_not_there_is_one_line(load: object, online: list) -> None:
    with pytest.raises(InputError) as refused:
        load("me/other")  # type: ignore[operator]
    text = "me/other: is no file or folder here, nor a repository of the Hub that can be read (Cannot find it.); check"
    assert str(refused.value).startswith(text) and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["phi", "runs/phi.safetensors", "a/b/c", "./phi/x", "/phi", "me/.phi", "old/phi.pth"])
def test_a_name_that_is_neither_is_not_asked_for(name: str, online: list) -> None:
    with pytest.raises(InputError, match=r"no such file or folder; give .* OWNER/NAME"):
        mug.load(name)
    assert not online


def test_a_path_is_no_repository(online: list) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        mug.load(Path("me/phi"))
    assert not online


def test_weights_are_pushed_with_their_notes(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Created:
        repo_id = "me/new"

    def upload(_: object, *, repo_id: str, folder_path: Path, **__: object) -> str:
        shutil.copytree(folder_path, tmp_path / "there")
        return f"commit of {repo_id}"

    monkeypatch.setattr(hub.HfApi, "create_repo", lambda *_, **__: Created())
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload)
    network = mug.load(weights)
    assert network.push_to_hub("me/new", private=True) == "commit of me/new"
    there = mug.load(tmp_path / "there")
    assert same(there, network) and there.metadata["one_shot_temperature"] == "0.01"
    assert 'mug.load("me/new")' in (tmp_path / "there/README.md").read_text()


def test_a_refused_push_is_one_line(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no right\nto do that")

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    with pytest.raises(InputError, match=r"^me/new: cannot be pushed to the Hub \(no right\); check .* login`$"):
        mug.load(weights).push_to_hub("me/new")


def test_a_folder_that_cannot_be_written_is_one_line(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/in: cannot be saved \(.*\); choose another folder$"):
        mug.load(weights).save_pretrained(tmp_path / "file/in")


def test_without_the_package_files_load_and_the_rest_names_it(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    network = mug.load(weights)
    assert same(mug.MuG.from_pretrained(weights.parent), network)
    for call in (
        lambda: mug.load("me/phi"),
        lambda: mug.MuG.from_pretrained("me/phi"),
        lambda: network.save_pretrained(tmp_path / "saved"),
        lambda: network.push_to_hub("me/phi"),
    ):
        with pytest.raises(InputError, match=r"huggingface_hub; pip install 'mug-vos\[hub\]'$"):
            call()
    assert not (tmp_path / "saved").exists()


def test_weights_of_another_network_are_refused(saved: Path) -> None:
    with pytest.raises(InputError, match="holds no agnn"):
        mug.AGNN.from_pretrained(saved)


def test_a_video_is_segmented_by_weights_of_the_hub(
    moving_squares: Callable[..., Path], online: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = moving_squares(videos=1, frames=1) / "JPEGImages/480p/square0"
    assert len(list(mug.segment(clip, "me/phi", mode="paper", size=48, device="cpu"))) == 1
    assert online == [("me/phi", FILE, None)]

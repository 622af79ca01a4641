"""The files that weights of other networks come in."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from downstream.backbones.by_name import named_network
from downstream.backbones.layer import LayerFeatures
from mug.errors import InputError
from mug.networks.tensors import read_tensors
from mug.networks.weights import load_into
from tests.downstream.backbones.networks import NO_MEAN, NO_STD, RESNET, frame, tiny_vit

FORMS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model, with options": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1), "optimizer": {"state": {}}},
    "teacher": lambda s: {
        "student": {f"module.backbone.{k}": torch.zeros_like(x) for k, x in s.items()},
        "teacher": {f"backbone.{k}": x for k, x in s.items()} | {"head.mlp.0.weight": torch.ones(2, 2)},
    },
    "module": lambda s: {f"module.{k}": x for k, x in s.items()},
    "MoCo": lambda s: {
        "state_dict": {f"module.encoder_q.{k}": x for k, x in s.items()}
        | {f"module.encoder_k.{k}": torch.zeros_like(x) for k, x in s.items()}
        | {"module.queue": torch.zeros(3)}
    },
    "CRW": lambda s: {
        "model": {f"encoder.model.{k}": x for k, x in s.items()} | {"selfsim_fc.0.weight": s["fc.weight"]}
    },
    "without what is not read": lambda s: {k: x for k, x in s.items() if not k.startswith(("layer3", "layer4", "fc"))},
    "older": lambda s: {k: x for k, x in s.items() if "num_batches" not in k},
    "compiled": lambda s: {f"_orig_mod.{k}": x for k, x in s.items()},
    "compiled on several GPUs": lambda s: {"model": {f"module._orig_mod.{k}": x for k, x in s.items()}},
    "compiled in parts": lambda s: {k.replace("layer1.0.", "layer1.0._orig_mod."): x for k, x in s.items()},
    "net.": lambda s: {"state_dict": {f"net.{k}": x for k, x in s.items()}},
    "net": lambda s: {"net": s, "acc": 93.1, "epoch": 3},
    "backbone": lambda s: {"backbone": s, "head": {"weight": torch.ones(2, 2)}, "epoch": 3},
    "numbers of NumPy": lambda s: {
        "state_dict": s,
        "best": np.float64(0.7),
        "steps": np.int64(3),
        "losses": np.ones(3, np.float32),
    },
    "beside the state of training": lambda s: s | {"epoch": 3, "lr": 0.1},
    "a prefix of their own": lambda s: {f"video.trunk.{k}": x for k, x in s.items()} | {"video.neck": torch.ones(1)},
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_weights(form: str, tmp_path: Path, resnet_state: dict[str, Tensor]) -> None:
    torch.save(FORMS[form](resnet_state), tmp_path / "weights.pth.tar")
    loaded = named_network(RESNET, tmp_path / "weights.pth.tar").network.state_dict()
    for name, x in loaded.items():
        assert torch.equal(x, resnet_state[name]), name


def test_numbers_pickled_by_an_older_numpy(tmp_path: Path, resnet_state: dict[str, Tensor]) -> None:
    torch.save(
        {"state_dict": resnet_state, "best": np.float64(0.7)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False
    )
    data = (tmp_path / "w.pth").read_bytes()
    assert b"cnumpy._core.multiarray\n" in data
    (tmp_path / "w.pth").write_bytes(data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert torch.equal(read_tensors(tmp_path / "w.pth")["conv1.weight"], resnet_state["conv1.weight"])


def test_nobody_knows_which_of_two_networks_is_meant(tmp_path: Path, resnet_state: dict[str, Tensor]) -> None:
    torch.save({f"{eye}.{k}": x for k, x in resnet_state.items() for eye in ("left", "right")}, tmp_path / "two.pth")
    with pytest.raises(InputError, match=r"two\.pth: does not fit .*unexpected left\.conv1\.weight"):
        named_network(RESNET, tmp_path / "two.pth")


def test_safetensors(tmp_path: Path, resnet_state: dict[str, Tensor]) -> None:
    safetensors.torch.save_file({f"backbone.{k}": x for k, x in resnet_state.items()}, tmp_path / "w.safetensors")
    loaded = named_network(RESNET, tmp_path / "w.safetensors").network.state_dict()
    assert torch.equal(loaded["conv1.weight"], resnet_state["conv1.weight"])


def test_positions_of_a_transformer_at_another_resolution(tmp_path: Path) -> None:
    state = tiny_vit().state_dict()
    state["encoder.pos_embedding"] = torch.randn(1, 1 + 25, 16)
    torch.save(state, tmp_path / "vit.pth")
    features = LayerFeatures("vit", tiny_vit(), "encoder.ln", NO_MEAN, NO_STD)
    load_into(features.network, tmp_path / "vit.pth", "vit", features.unused)
    assert torch.equal(features.network.encoder.pos_embedding, state["encoder.pos_embedding"])
    assert features(frame()).shape == (1, 16, 8, 12)


def test_names_that_the_authors_gave_are_translated(tmp_path: Path) -> None:
    state = tiny_vit().state_dict()
    torch.save({f"their.{k}": x + 1 for k, x in state.items()}, tmp_path / "vit.pth")
    network = tiny_vit()
    load_into(network, tmp_path / "vit.pth", "vit", (), lambda s: {k.removeprefix("their."): x for k, x in s.items()})
    assert torch.equal(network.class_token, state["class_token"] + 1)


class Malicious:
    """A pickle of it prints when it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("code ran",))


def changed(state: dict[str, Tensor], **tensors: Tensor) -> dict[str, Tensor]:
    return state | {name.replace("__", "."): x for name, x in tensors.items()}


BAD_WEIGHTS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "lacks": (lambda s: {k: x for k, x in s.items() if k != "conv1.weight"}, "missing conv1.weight"),
    "another network": (
        lambda s: {"a.weight": torch.ones(1), "b.weight": torch.ones(1)},
        r"missing conv1.weight, .* more; unexpected a.weight, b.weight",
    ),
    "more in the trunk": (lambda s: changed(s, layer1__0__extra=torch.ones(1)), "unexpected layer1.0.extra"),
    "another shape": (
        lambda s: changed(s, conv1__weight=torch.ones(64, 1, 7, 7)),
        r"of another shape conv1.weight \(64, 1, 7, 7\) instead of \(64, 3, 7, 7\)",
    ),
    "NaN": (lambda s: changed(s, conv1__weight=s["conv1.weight"] * torch.nan), "conv1.weight is not finite"),
    "code": (lambda s: {"model": Malicious()}, "more than tensors"),
    "no state dict": (lambda s: {"epoch": 3, "lr": 0.1}, r"no state dict \(but epoch, lr\)"),
    "a list": (lambda s: [torch.ones(1)], "holds a list"),
    "nothing": (lambda s: {}, r"no state dict \(but nothing\)"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights(
    case: str, tmp_path: Path, resnet_state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = BAD_WEIGHTS[case]
    torch.save(make(resnet_state), tmp_path / "bad.pth")
    with pytest.raises(InputError, match=message) as error:
        named_network(RESNET, tmp_path / "bad.pth")
    assert "bad.pth" in str(error.value)
    assert "\n" not in str(error.value)
    assert "code ran" not in capsys.readouterr().out


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    for name in ("text.pth", "absent.pth"):
        with pytest.raises(InputError, match=name):
            read_tensors(tmp_path / name)

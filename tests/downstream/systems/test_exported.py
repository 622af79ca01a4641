"""Programs of every system that has some, and folders of every system's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mug
from downstream.systems.base import SYSTEMS
from downstream.systems.choice import finetune_options
from mug.command.options import parse
from mug.lazy import resolve
from mug.model import MuG
from mug.networks.hub import Pretrained
from mug.networks.program import Part, difference, open_onnx, open_torch, write_onnx, write_torch
from mug.options import BackboneConfig, ModelConfig
from tests.downstream.systems.small import TRAINING

PHI = BackboneConfig(depth=18, stages=2, stride=8, hypercolumn=True)


def network_of(label: str) -> Pretrained:
    """A small network with weights and statistics other than their defaults."""
    torch.manual_seed(0)
    if label == "mug":
        network: Pretrained = MuG(ModelConfig(PHI))
    else:
        system = label.split(",")[0]
        kind = finetune_options([system])
        words = [system, *TRAINING[label], "--data=x", "--out=y"]
        options = parse("mug finetune", kind, ("system",), words)
        network = resolve(resolve(SYSTEMS[system]).format).build(options.model)
    with torch.no_grad():
        for name, x in network.state_dict().items():
            if x.is_floating_point() and "running_var" not in name:
                x.add_(0.02 * torch.randn(x.shape))
    return network.eval()


@pytest.fixture(params=["mug", *TRAINING])
def network(request: pytest.FixtureRequest) -> Pretrained:
    return network_of(request.param)


def test_weights_of_every_system_travel(network: Pretrained, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
    network.metadata = {"calibrated": "true"}
    network.save_pretrained(tmp_path)
    for loaded in (type(network).from_pretrained(tmp_path), mug.load(tmp_path)):
        assert type(loaded) is type(network) and loaded.config == network.config
        assert loaded.metadata["calibrated"] == "true"
        for name, x in loaded.state_dict().items():
            if not name.startswith(("kappa.", "short.")):
                torch.testing.assert_close(x, network.state_dict()[name], rtol=1e-3, atol=1e-3)


def part_of(network: Pretrained, label: str, name: str) -> Part:
    part: Part = resolve(resolve(SYSTEMS[label]).exported)(network)[name].fixed({"frames": 2} if name == "agnn" else {})
    if name == "propagation":
        part.network.groups = 1
    return part


PARTS = [("mug", "phi"), ("mug", "propagation"), ("agnn", "agnn"), ("cosnet", "cosnet"), ("hcpn", "hcpn")]
"""AGNN's program is tested with the command, in `tests/downstream/systems/test_export.py`."""


def test_parts_are_what_their_networks_give() -> None:
    found = []
    for label, place in SYSTEMS.items():
        if (exported := resolve(place).exported) is None:
            continue
        network = network_of(label)
        for name in resolve(exported)(network):
            part = part_of(network, label, name)
            inputs = part.example(1)
            outputs = part(*inputs)
            assert len(outputs) == len(part.outputs)
            if name not in ("phi", "propagation"):
                with torch.no_grad():
                    true = network(*inputs)
                torch.testing.assert_close(outputs[0], getattr(true, "masks", true))
            found.append((label, name))
    assert sorted(found) == sorted(PARTS)


@pytest.fixture(scope="module")
def mug_network() -> Pretrained:
    return network_of("mug")


@pytest.mark.parametrize("name", ["phi", "propagation"])
def test_a_program_of_torch_gives_what_the_network_gives(name: str, mug_network: Pretrained, tmp_path: Path) -> None:
    part = part_of(mug_network, "mug", name)
    write_torch(part, tmp_path / "it.pt2")
    run = open_torch(tmp_path / "it.pt2")
    for times in (1, 3):
        assert difference(part, run, times) < 1e-4


@pytest.mark.parametrize("name", ["phi", "propagation"])
def test_onnxruntime_gives_what_the_network_gives(name: str, mug_network: Pretrained, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra `onnx`")
    part = part_of(mug_network, "mug", name)
    write_onnx(part, tmp_path / "it.onnx")
    run = open_onnx(tmp_path / "it.onnx")
    for times in (1, 3):
        assert difference(part, run, times) < 1e-4

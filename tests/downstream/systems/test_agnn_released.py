"""AGNN's released weights: the embedding is converted, the rest is named as left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from agnn_head.checkpoint import load_weights
from downstream.systems.agnn.released import released
from mug.cli import main
from mug.errors import InputError
from tests.downstream.systems.released_deeplab import Tensors, embed, encoder, kernel, norm

REST = {
    "encoder.main_classifier", "encoder.layer5.sa", "encoder.layer5.conv51", "linear_e", "gate", "conv1", "bn1",
    "ConvGRU", "conv_fusion", "main_classifier1",
}  # fmt: skip
"""What the released graph has, beginnings of names."""


@pytest.fixture(scope="module")
def theirs() -> Tensors:
    made = encoder()
    for part, width in (("query", 64), ("key", 64), ("value", 256)):
        name = f"encoder.layer5.sa.{part}_conv"
        made |= {f"{name}.weight": kernel(width, 256), f"{name}.bias": torch.randn(width)}
    made["encoder.layer5.sa.gamma"] = torch.ones(1)
    made["encoder.layer5.conv51.0.weight"] = kernel(256, 256, 3)
    made |= norm("encoder.layer5.conv51.1", 256) | norm("bn1", 256)
    made |= {"linear_e.weight": torch.randn(256, 256), "gate.weight": kernel(1, 256)}
    made |= {"conv1.weight": kernel(256, 512, 3), "conv_fusion.weight": kernel(256, 512, 3)}
    made |= {"conv_fusion.bias": torch.randn(256)}
    for gate in ("reset", "update", "out"):
        made |= {f"ConvGRU.{gate}_gate.weight": kernel(256, 512), f"ConvGRU.{gate}_gate.bias": torch.randn(256)}
    return made | {"main_classifier1.weight": kernel(1, 256), "main_classifier1.bias": torch.randn(1)}


@torch.no_grad()
def test_the_embedding_is_the_released_one_and_the_rest_is_left_out(theirs: Tensors) -> None:
    torch.manual_seed(1)
    found = released(theirs)
    frames = torch.rand(1, 3, 65, 65)
    expected = embed(theirs, frames)
    assert (found.network.embed(frames) - expected).abs().mean() < 1e-3 * expected.abs().mean()
    left_out = {name for name in theirs.keys() - found.names.keys() if not name.endswith("num_batches_tracked")}
    assert left_out == {n for n in theirs if any(n.startswith(f"{b}.") for b in REST) and "num_batches" not in n}
    again = released(theirs).network.state_dict()
    assert all(torch.equal(x, again[name]) for name, x in found.network.state_dict().items())


def test_the_command_says_that_the_graph_is_to_be_trained(
    theirs: Tensors, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "attention_gnn.pth", tmp_path / "agnn.safetensors"
    torch.save({"model": {f"module.{name}": x for name, x in theirs.items()}}, file)
    assert main(["convert", "agnn", str(file), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "module.ConvGRU.reset_gate.bias (256,) -> left out" in told
    assert "the graph and the readout are random: train them" in told
    network, metadata = load_weights(out)
    assert "random" in metadata["training"]
    assert network.config.embedding.caffe and network.config.embedding.wide


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(InputError, match="has no encoder"):
        released({"linear_e.weight": torch.ones(256, 256)})

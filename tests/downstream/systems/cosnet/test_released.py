"""COSNet's released weights: names and shapes as released, values random."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from downstream.systems.base import Released
from downstream.systems.cosnet.network import FORMAT
from downstream.systems.cosnet.released import released
from mug.cli import main
from mug.errors import InputError
from tests.downstream.systems.released_deeplab import Tensors, embed, encoder, kernel, norm, normed

SECOND = ("conv2", "bn2", "main_classifier2")
"""The head of the second input."""

FOLDED = ("resnet.conv1", "resnet.bn1.running_mean", "aspp", "affinity.free", "gate")
"""What differs in form; `test_the_network_computes_what_the_released_one_does` compares it."""


@pytest.fixture(scope="module")
def theirs() -> Tensors:
    made = encoder()
    made["linear_e.weight"] = kernel(256, 256)[..., 0, 0] / 16
    made["gate.weight"] = kernel(1, 256)
    for k in (1, 2):
        made[f"conv{k}.weight"] = kernel(256, 512, 3)
        made |= norm(f"bn{k}", 256)
        made |= {f"main_classifier{k}.weight": kernel(1, 256), f"main_classifier{k}.bias": torch.randn(1)}
    return made


def segmented(tensors: Tensors, v_a: Tensor, v_b: Tensor) -> Tensor:
    """What the released network computes from V_a, V_b (1, 256, h, w): logits of its first input."""
    a, b = v_a[0].flatten(1), v_b[0].flatten(1)
    affinity = F.linear(a.T, tensors["linear_e.weight"]) @ b  # positions of a x those of b
    z = (b @ affinity.T.softmax(0)).view_as(v_a)
    z = z * F.conv2d(z, tensors["gate.weight"]).sigmoid()
    x = normed(tensors, "bn1", F.conv2d(torch.cat([z, v_a], 1), tensors["conv1.weight"], padding=1)).relu()
    return F.conv2d(x, tensors["main_classifier1.weight"], tensors["main_classifier1.bias"])


@pytest.fixture(scope="module")
def found(theirs: Tensors) -> Released:
    return released(theirs)


@torch.no_grad()
def test_the_network_computes_what_the_released_one_does(theirs: Tensors, found: Released) -> None:
    network = found.network
    frames = torch.rand(2, 3, 73, 89)
    expected, v = embed(theirs, frames), network.embed(frames)
    # the padding of the first convolution differs by less than a level
    assert (v - expected).abs().max() < 0.02 * expected.abs().max()
    assert (v - expected).abs().mean() < 1e-3 * expected.abs().mean()
    torch.testing.assert_close(
        network.probability(expected[0], expected[1:]),
        segmented(theirs, *expected.split(1)).sigmoid()[0, 0],
        atol=1e-4,
        rtol=0,
    )
    auxiliary = F.conv2d(expected, theirs["encoder.main_classifier.weight"], theirs["encoder.main_classifier.bias"])
    torch.testing.assert_close(network.auxiliary(expected), auxiliary)


def test_every_tensor_is_used_but_the_second_head(theirs: Tensors, found: Released) -> None:
    left_out = {name for name in theirs.keys() - found.names.keys() if not name.endswith("num_batches_tracked")}
    assert left_out == {name for name in theirs if name.split(".")[0] in SECOND and "num_batches" not in name}
    ours = found.network.state_dict()
    made_here = {"co_attention.gate.bias"}
    assert {n for n in ours if not n.endswith("num_batches_tracked")} == set(found.names.values()) | made_here
    assert found.names["encoder.layer3.17.bn2.bias"] == "embedding.trunk.resnet.layer3.17.bn2.bias"
    for name, target in found.names.items():  # key by key: what is not folded into another is as it was
        if not any(part in target for part in FOLDED):
            assert torch.equal(ours[target], theirs[name]), name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"linear_e.weight": None}, "has no linear_e.weight"),
        ({"encoder.layer3.22.bn3.running_var": None}, "has no encoder.layer3.22.bn3.running_var"),
        ({"gate.weight": torch.ones(1, 128, 1, 1)}, "gate.weight is .1, 128. and not .1, 256."),
        ({"main_classifier1.bias": torch.tensor([torch.nan])}, "main_classifier1.bias is not finite"),
    ],
)
def test_other_weights_are_refused(theirs: Tensors, change: dict[str, Tensor | None], told: str) -> None:
    wrong = {name: x for name, x in (theirs | change).items() if x is not None}
    with pytest.raises(InputError, match=told):
        released(wrong)


def test_the_command_writes_weights_that_segment(
    theirs: Tensors, found: Released, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "co_attention.pth", tmp_path / "cosnet.safetensors"
    torch.save({"model": {f"module.{name}": x for name, x in theirs.items()}, "epoch": 60}, file)
    assert main(["convert", "cosnet", str(file), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "module.linear_e.weight (256, 256) -> co_attention.affinity.free" in told
    assert "module.conv2.weight (256, 512, 3, 3) -> left out" in told
    network, metadata = FORMAT.load(out)
    assert metadata["training"] == "weights of the authors (co_attention.pth)"
    frames = torch.rand(2, 3, 65, 65)
    with torch.no_grad():
        before, after = (n.embed(frames) for n in (found.network, network))
    assert (before - after).abs().mean() < 0.01 * before.abs().mean()
    torch.save({"model": {"module.other": torch.ones(3)}}, file)
    assert main(["convert", "cosnet", str(file), "--out", str(out), "--overwrite"]) == 2
    assert "co_attention.pth: has no encoder." in capsys.readouterr().err

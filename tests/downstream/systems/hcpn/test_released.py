"""The authors' encoder, made up under its released names, as ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import resnet18

from downstream.systems.hcpn.options import HCPNConfig
from downstream.systems.hcpn.released import CONFIG, translate
from mug.errors import InputError
from mug.options import TrunkConfig

SMALL = replace(CONFIG, trunk=TrunkConfig(kind="resnet", depth=18, stride=32), channels=8)
WIDTHS = {2: 64, 3: 128, 4: 256, 5: 512}
PARTS = {"layer1": "res2", "layer2": "res3", "layer3": "res4", "layer4": "res5", "conv1": "conv1", "bn1": "bn1"}
DATA = "module."


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    made: dict[str, Tensor] = {}
    for number in (1, 2, 3):
        for name, x in resnet18().state_dict().items():
            group, _, rest = name.partition(".")
            if group != "fc":
                made[f"{PARTS[group]}_{number}.{rest}"] = torch.rand(x.shape) if x.is_floating_point() else x
    for stage, width in WIDTHS.items():
        for gate in ("alpha", "gamma", "beta"):
            made[f"gated_res{stage}.{gate}"] = torch.rand(1, 2 * width, 1, 1)
            made[f"cca_res{stage}.gct.{gate}"] = torch.rand(1, width, 1, 1)
        seen = 128 if stage == 2 else width
        for side in ("f1", "f2"):
            made[f"pca_res{stage}.p_{side}.weight"] = torch.rand(seen // 16, seen, 1, 1)
            made[f"pca_res{stage}.p_{side}.bias"] = torch.rand(seen // 16)
            made[f"pca_res{stage}.c_{side}.weight"] = torch.rand(1, seen, 1, 1)
            made[f"pca_res{stage}.c_{side}.bias"] = torch.rand(1)
        for branch, first in (("local_att", 0), ("global_att", 1), ("local_att2", 0), ("global_att2", 1)):
            for at, (rows, columns) in ((0, (width // 4, width)), (3, (width, width // 4))):
                place = f"cca_res{stage}.faf.{branch}.{first + at}"
                made[f"{place}.weight"], made[f"{place}.bias"] = torch.rand(rows, columns, 1, 1), torch.rand(rows)
                place = f"cca_res{stage}.faf.{branch}.{first + at + 1}"
                for part in ("weight", "bias", "running_mean", "running_var"):
                    made[f"{place}.{part}"] = torch.rand(rows) + 0.1
                made[f"{place}.num_batches_tracked"] = torch.tensor(7)
    return {DATA + name: x for name, x in made.items()}


def test_every_tensor_goes_where_it_belongs_or_is_left_out_by_name(theirs: Mapping[str, Tensor]) -> None:
    found = translate(theirs, SMALL)
    ours = found.network.state_dict()
    for name, target in found.names.items():
        if "faf" not in name:  # folded, see below
            assert torch.equal(ours[target].flatten(), theirs[name].flatten()), name
    left = {re.sub(r"\d", "N", name.removeprefix(DATA)).split(".")[0] for name in theirs.keys() - found.names.keys()}
    assert left == {"pca_resN", "cca_resN"}
    for name in theirs.keys() - found.names.keys():
        kind = name.removeprefix(DATA)
        assert (
            kind.startswith(("pca_res2", "cca_res2"))
            or re.match(r"pca_res.\.c_f.\.bias", kind)
            or "att2" in kind
            or (".faf." in kind and kind.endswith("num_batches_tracked"))
        ), kind
    assert {name for name in ours if name not in found.names.values()} == {
        name for name in ours if name.startswith("decoder.") or name.endswith("strength")
    }
    assert found.names[f"{DATA}res4_3.1.conv2.weight"] == "trunks.motion.resnet.layer3.1.conv2.weight"
    assert found.names[f"{DATA}res5_2.0.bn1.bias"] == "trunks.second.resnet.layer4.0.bn1.bias"
    assert found.names[f"{DATA}pca_res3.p_f2.weight"] == "stages.1.pcm.motion.weight"
    assert found.names[f"{DATA}gated_res5.gamma"] == "bridge.3.gamma"


def test_norms_are_folded_into_the_convolutions_of_the_fusion(theirs: Mapping[str, Tensor]) -> None:
    network = translate(theirs, SMALL).network

    def branch(name: str, first: int, x: Tensor) -> Tensor:
        for at in (0, 3):
            w, b = (theirs[f"{DATA}cca_res3.faf.{name}.{first + at}.{part}"] for part in ("weight", "bias"))
            norm = [theirs[f"{DATA}cca_res3.faf.{name}.{first + at + 1}.{part}"] for part in
                    ("running_mean", "running_var", "weight", "bias")]  # fmt: skip
            x = F.batch_norm(F.conv2d(x, w, b), *norm)
            x = x.relu() if at == 0 else x
        return x

    x, y = torch.rand(1, 128, 5, 4) - 0.5, torch.rand(1, 128, 5, 4) - 0.5
    both = x + y
    gate = branch("local_att", 0, both) + branch("global_att", 1, both.mean((2, 3), keepdim=True))
    found = network.stages[1].ccm.fuse(x, y)  # type: ignore[index, union-attr]
    assert torch.allclose(found, both * gate.sigmoid(), atol=1e-4)


def test_the_gate_is_that_of_the_release(theirs: Mapping[str, Tensor]) -> None:
    network, v = translate(theirs, SMALL).network, torch.rand(2, 256, 3, 3)
    alpha, gamma, beta = (theirs[f"{DATA}gated_res3.{name}"] for name in ("alpha", "gamma", "beta"))
    s = (v.pow(2).sum((2, 3), keepdim=True) + 1e-5).sqrt() * alpha
    expected = v + v * torch.tanh(gamma * s / (s.pow(2).mean(1, keepdim=True) + 1e-5).sqrt() + beta)
    assert torch.allclose(network.bridge[1](v), expected, atol=1e-4)  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("res4_1.0.conv1.weight", None, "res4_1.0.conv1.weight is missing"),
        ("pca_res4.p_f1.weight", None, "pca_res4.p_f1.weight is missing"),
        ("gated_res2.alpha", torch.rand(1, 4, 1, 1), r"gated_res2.alpha is \(4,\) and not \(128,\)"),
    ],
)
def test_another_file_is_refused(theirs: dict[str, Tensor], name: str, value: Tensor | None, says: str) -> None:
    changed = {key: x for key, x in theirs.items() if key != DATA + name}
    if value is not None:
        changed[DATA + name] = value
    with pytest.raises(InputError, match=says):
        translate(changed, SMALL)
    with pytest.raises(InputError, match=r"is missing; give the state dict of HCPN's encoder"):
        translate({"x": torch.ones(1)}, SMALL)


def test_the_release_is_a_resnet_101_with_three_cascades() -> None:
    assert isinstance(CONFIG, HCPNConfig)
    assert (CONFIG.trunk.kind, CONFIG.trunk.depth, CONFIG.trunk.stride) == ("resnet", 101, 32)
    assert (CONFIG.cascades, CONFIG.stacks, CONFIG.gac) == (3, 5, "released")

"""The authors' weights of HCPN's encoder, as far as they are those of a network of ours.

Their encoder consists of three ResNet-101, co-attention at the last three stages, and a gate at each of the four. What
is said here of the tensors' names and shapes are facts of the release NUST-Machine-Intelligence-Laboratory/HCPN.

The trunks, the gates and the channel attention compute the same. The co-attention computes something else with the same
kind of weights: theirs has tanh where Eq. 2 has softmax, and normalises its result. Of their fusion, which is applied
twice, the first pass is taken. Their decoder is another one than the paper's and is left out, so ours begins at random:
the result is a beginning for `mug finetune hcpn --start`, not for `mug segment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from downstream.systems.base import Released
from downstream.systems.hcpn.network import FORMAT, HCPN
from downstream.systems.hcpn.options import HCPNConfig
from mug.errors import InputError
from mug.options import TrunkConfig

STREAMS = {"1": "first", "2": "second", "3": "motion"}
GROUPS = {"conv1": "conv1", "bn1": "bn1", "res2": "layer1", "res3": "layer2", "res4": "layer3", "res5": "layer4"}
GATES = {"alpha": "alpha", "gamma": "gamma", "beta": "beta"}
PROJECTIONS = {"p_f1": "appearance", "p_f2": "motion"}
SCORES = {"c_f1": "see_appearance", "c_f2": "see_motion"}
BRANCHES = {"global_att": ("overall", 1), "local_att": ("local", 0)}
"""Their branches of GAF: our name, and the number of layers before the first convolution."""
NORM = ("weight", "bias", "running_mean", "running_var")
NORM_EPSILON = 1e-5
COUNT = "num_batches_tracked"
REMEDY = "give the state dict of HCPN's encoder, as its authors released it"

CONFIG = HCPNConfig(
    trunk=TrunkConfig(kind="resnet", depth=101, stride=32), cascades=3, stacks=5, reduction=16, gac="released"
)
"""The authors' release, as far as it is ours."""


def translate(tensors: Mapping[str, Tensor], config: HCPNConfig = CONFIG) -> Released:
    """The authors' encoder as a network of ours; see the module.

    Args:
        tensors: State dict of the encoder, with or without `module.` in front of its names.
        config: Our architecture; another depth is for tests.

    Raises:
        InputError: a tensor is missing or of another shape; the message names it.
    """
    theirs = {name.removeprefix("module."): name for name in tensors}
    torch.manual_seed(0)  # of the decoder, which they have no weights for
    network = HCPN(config)
    ours = network.state_dict()
    names: dict[str, str] = {}
    for name, parts, value in _translated(network, {short: tensors[name] for short, name in theirs.items()}):
        if value.shape != ours[name].shape:
            raise InputError(f"{parts[0]} is {tuple(value.shape)} and not {tuple(ours[name].shape)}; {REMEDY}")
        ours[name] = value.to(ours[name].dtype)
        names |= {theirs[part]: name for part in parts}
    network.load_state_dict(ours)
    return Released(FORMAT, network.eval(), names)


def _translated(network: HCPN, theirs: Mapping[str, Tensor]) -> Iterator[tuple[str, list[str], Tensor]]:
    """Our name of a tensor, their names of what it is made of, and its value."""

    def one(name: str) -> Tensor:
        if name not in theirs:
            raise InputError(f"{name} is missing; {REMEDY}")
        return theirs[name]

    for number, stream in STREAMS.items():
        trunk = f"trunks.{stream}.resnet."
        for name in [name for name in network.state_dict() if name.startswith(trunk)]:
            group, _, rest = name.removeprefix(trunk).partition(".")
            their_group = next(key for key, value in GROUPS.items() if value == group)
            their = f"{their_group}_{number}.{rest}"
            if their in theirs or not name.endswith(COUNT):  # older files have no counts
                yield name, [their], one(their)
    for stage in range(4):
        for their_gate, gate in GATES.items():
            their = f"gated_res{stage + 2}.{their_gate}"
            yield f"bridge.{stage}.{gate}", [their], one(their).flatten()
    for stage in range(1, 4):
        place, their_pcm, their_ccm = f"stages.{stage}", f"pca_res{stage + 2}", f"cca_res{stage + 2}"
        for key, name in PROJECTIONS.items():
            their = f"{their_pcm}.{key}"
            yield f"{place}.pcm.{name}.weight", [f"{their}.weight"], one(f"{their}.weight").flatten(1)
            yield f"{place}.pcm.{name}.bias", [f"{their}.bias"], one(f"{their}.bias")
        for key, name in SCORES.items():
            their = f"{their_pcm}.{key}.weight"
            yield f"{place}.pcm.{name}.score.weight", [their], one(their).flatten(1)
        for their_gate, gate in GATES.items():
            their = f"{their_ccm}.gct.{their_gate}"
            yield f"{place}.ccm.attention.{gate}", [their], one(their).flatten()
        for key, (branch, first) in BRANCHES.items():
            for at in (0, 3):  # convolution and norm, before and after the ReLU
                conv, norm = (f"{their_ccm}.faf.{key}.{first + at + k}." for k in (0, 1))
                kernel, shift = [conv + "weight"], [conv + "bias"]
                scale, bias, mean, variance = (one(norm + part) for part in NORM)
                factor = scale / torch.sqrt(variance + NORM_EPSILON)
                target = f"{place}.ccm.fuse.{branch}.{0 if at == 0 else 2}."
                yield target + "weight", [*kernel], one(kernel[0]) * factor.view(-1, 1, 1, 1)
                folded = (one(shift[0]) - mean) * factor + bias
                yield target + "bias", [*shift, *(norm + part for part in NORM)], folded

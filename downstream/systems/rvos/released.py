"""The weights of RVOS as its authors released them (imatge-upc/rvos), as weights of ours.

The release has a state dict of the encoder (`encoder.pt`: `base.*`, `sk2` to `sk5`, `bn2` to `bn5`) and one of the
decoder (`decoder.pt`: `clstm_list.*.Gates`, `conv_out`). Their names differ, so one file can hold both:

    torch.save(torch.load("encoder.pt") | torch.load("decoder.pt"), "rvos.pth")
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from downstream.systems.base import Released
from downstream.systems.rvos import RVOSConfig
from downstream.systems.rvos.network import FORMAT, RVOS
from mug.errors import InputError
from mug.options import TrunkConfig

LEVELS = 4
DEPTHS = {(6, False): 34, (6, True): 50, (23, True): 101}
"""Depth of the ResNet by the blocks of its third group, and whether these have three convolutions."""

_HEADS = ("base.fc.", "fc_")
"""Of ImageNet's classifier, and of RSIS's scores, which RVOS does not use."""


def from_authors(tensors: Mapping[str, Tensor]) -> Released:
    """Builds the network that the tensors are of: encoder, task and width follow from their names and shapes.

    Raises:
        InputError: they are not of RVOS with a ResNet, or not complete.
    """
    theirs = {name.removeprefix("module."): x for name, x in tensors.items()}
    spelt = {name.removeprefix("module."): name for name in tensors}
    config = _config(theirs)
    network = RVOS(config)
    state = network.state_dict()
    ours: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    for name, x in theirs.items():
        if name.startswith(_HEADS):
            continue
        made = _translated(name, x, config.hidden)
        strange = [new for new, y in made.items() if new not in state or state[new].shape != y.shape]
        if strange or not made:
            raise InputError(f"holds {spelt[name]} {tuple(x.shape)}, which is not of RVOS; give the release's weights")
        ours |= made
        names[spelt[name]] = " + ".join(made)
    missing = [name for name in state if name not in ours and not name.endswith("num_batches_tracked")]
    if missing:
        raise InputError(f"lacks what makes {missing[0]}; save encoder.pt and decoder.pt of the release as one file")
    network.load_state_dict(ours, strict=False)
    return Released(FORMAT, network.eval(), names)


def _config(theirs: Mapping[str, Tensor]) -> RVOSConfig:
    for name in ("base.layer3.0.conv1.weight", "sk5.weight", "clstm_list.0.Gates.weight", "conv_out.weight"):
        if name not in theirs:
            raise InputError(f"lacks {name}; save encoder.pt and decoder.pt of a ResNet of the release as one file")
    blocks = len({name.split(".")[2] for name in theirs if name.startswith("base.layer3.")})
    depth = DEPTHS.get((blocks, "base.layer3.0.conv3.weight" in theirs))
    if depth is None:
        raise InputError(f"has {blocks} blocks in base.layer3, as no ResNet of the release; give weights of RVOS")
    hidden = len(theirs["sk5.weight"])
    masks = theirs["clstm_list.0.Gates.weight"].shape[1] - 3 * hidden
    return RVOSConfig(
        trunk=TrunkConfig(kind="resnet", depth=depth, stride=32),
        task="one-shot" if masks else "zero-shot",
        hidden=hidden,
        levels=LEVELS,
        readout=theirs["conv_out.weight"].shape[-1],
        stop=False,
    )


def _translated(name: str, x: Tensor, hidden: int) -> dict[str, Tensor]:
    """What a tensor of theirs makes of ours, by our names; nothing if its name is not known."""
    part, _, rest = name.partition(".")
    if part == "base":
        return {f"trunk.resnet.{rest}": x}
    if part in ("sk5", "sk4", "sk3", "sk2"):
        return {f"skips.{5 - int(part[2])}.0.{rest}": x}
    if part in ("bn5", "bn4", "bn3", "bn2"):
        return {f"skips.{5 - int(part[2])}.1.{rest}": x}
    if part == "conv_out":
        return {f"mask.{rest}": x}
    number, _, gates = rest.partition(".")
    if part != "clstm_list" or not number.isdigit():
        return {}
    if gates == "Gates.bias":
        return {f"levels.{number}.frame.bias": x}
    if gates != "Gates.weight":
        return {}
    # their input is [h of the level before | frame | mask | spatial h | temporal h]; ours has the frame apart
    above = hidden >> (int(number) - 1) if number != "0" else 0
    end = above + (above or hidden)
    others = torch.cat([x[:, :above], x[:, end:]], 1)
    return {f"levels.{number}.frame.weight": x[:, above:end], f"levels.{number}.rest.weight": others}

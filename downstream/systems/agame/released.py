"""The authors' weights of A-GAME (`joakimjohnander/agame-vos`) as a network of ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from downstream.systems.agame import AGAMEConfig
from downstream.systems.agame.network import AGAME, FORMAT
from downstream.systems.base import Released
from mug.errors import InputError
from mug.options import TrunkConfig

PREFIX = "trackseg."
DEPTHS = {6: 50, 23: 101}
"""Layers of the ResNet by the blocks of its third group."""
SAME = {
    "appmod.conv_in": "appearance.project",
    "dynmod.layers.layer01.conv0": "propagation.pyramid.0",
    "dynmod.layers.layer01.conv1": "propagation.pyramid.1",
    "dynmod.layers.layer01.conv2": "propagation.pyramid.2",
    "dynmod.layers.layer02.conv": "propagation.output",
    "fusmod.layers.layer01.conv": "fusion.output",
    "segmod.project_s8.conv": "upsampling.lateral.0",
    "segmod.blend_s8.conv": "upsampling.blend.0",
    "segmod.project_s4.conv": "upsampling.lateral.1",
    "segmod.blend_s4.conv": "upsampling.blend.1",
}
"""Convolutions with the same tensors."""
PREDICTORS = {"fusmod.predictor.layer00.conv": "fusion.coarse", "segmod.predictor.conv": "upsampling.final"}
"""They predict scores of background and object, whose difference is our logit."""
SWAPPED = [0, 1, 3, 2]
"""The release's components in our order. Its third is fitted where max(0, p(z = 0 | x) - alpha_0), which equals the
alpha_3 of the paper, as the two posteriors and the two alphas sum to 1."""


def released(tensors: Mapping[str, Tensor]) -> Released:
    """Translates the state dict of the authors' `AGAME`.

    Raises:
        InputError: it is of another network.
    """
    theirs = {name.removeprefix(PREFIX): x for name, x in tensors.items() if name.startswith(PREFIX)}
    trunk = {name.removeprefix("backbone."): x for name, x in theirs.items() if name.startswith("backbone.")}
    blocks = {name.split(".")[1] for name in trunk if name.startswith("layer3.")}
    fused, floor = theirs.get("fusmod.layers.layer00.conv.weight"), theirs.get("appmod.cov_reg")
    last = theirs.get("fusmod.layers.layer01.conv.weight")
    if len(blocks) not in DEPTHS or fused is None or floor is None or last is None or len(floor) != 4:
        raise InputError("holds no A-GAME of its authors; give the file that their training wrote")
    config = AGAMEConfig(
        TrunkConfig("resnet", depth=DEPTHS[len(blocks)], stride=16), floor.shape[2], fused.shape[0], last.shape[0]
    )
    network = AGAME(config)
    found: dict[str, Tensor] = {}
    names: dict[str, str] = {}

    def take(source: str, *parts: tuple[str, Tensor]) -> None:
        found.update(parts)
        names[PREFIX + source] = ", ".join(name for name, _ in parts)

    for name, x in trunk.items():
        if not name.startswith("fc."):
            take(f"backbone.{name}", (f"trunk.resnet.{name}", x))
    try:
        for source, target in SAME.items():
            for part in ("weight", "bias"):
                take(f"{source}.{part}", (f"{target}.{part}", theirs[f"{source}.{part}"]))
        for source, target in PREDICTORS.items():
            for part in ("weight", "bias"):
                background, foreground = theirs[f"{source}.{part}"].split(1)
                take(f"{source}.{part}", (f"{target}.{part}", foreground - background))
        take("appmod.cov_reg", ("appearance.floor", floor.flatten(1)[SWAPPED]))
        scores = fused[:, :4][:, SWAPPED] * config.channels  # ours are fed divided by C
        moved = fused[:, 4:]
        take("fusmod.layers.layer00.conv.weight", ("fusion.scores.weight", scores), ("fusion.moved.weight", moved))
        take("fusmod.layers.layer00.conv.bias", ("fusion.scores.bias", theirs["fusmod.layers.layer00.conv.bias"]))
        _take_first_layer(theirs, take)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"holds another A-GAME than the authors': {error}; give their ResNet-101 at stride 16"
        ) from error
    expected = {name: x.shape for name, x in network.state_dict().items() if not name.endswith("num_batches_tracked")}
    shapes = {name: x.shape for name, x in found.items() if not name.endswith("num_batches_tracked")}
    if wrong := sorted(name for name in expected.keys() | shapes if expected.get(name) != shapes.get(name)):
        raise InputError(f"holds another A-GAME than the authors': {wrong[0]} does not fit; give theirs")
    network.load_state_dict(found, strict=False)
    return Released(FORMAT, network.eval(), names)


def _take_first_layer(theirs: Mapping[str, Tensor], take) -> None:  # type: ignore[no-untyped-def]
    """Their first layer of mask propagation is one convolution of two frames and two masks, and of their complements.

    Of a mask y and its complement, a (1 - y) + b y = a + (b - a) y: one channel, and a bias.
    """
    source = "dynmod.layers.layer00.conv"
    kernel, bias = theirs[f"{source}.weight"], theirs[f"{source}.bias"]
    deep = (kernel.shape[1] - 4) // 2
    frame, first, not_y, y, not_first_y, first_y = kernel.split([deep, deep, 1, 1, 1, 1], 1)
    take(
        f"{source}.weight",
        ("propagation.frame.weight", frame),
        ("propagation.mask.weight", y - not_y),
        ("propagation.first_frame.weight", first),
        ("propagation.first_mask.weight", first_y - not_first_y),
    )
    take(f"{source}.bias", ("propagation.frame.bias", bias + (not_y + not_first_y).flatten()))

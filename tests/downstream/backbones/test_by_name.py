"""`--backbone`: networks of torchvision and timm by name, a user's function, and the files weights come in."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.models import VisionTransformer

import downstream.calibrate
from downstream.backbones import by_name as backbones
from downstream.backbones.by_name import named_network, open_backbone
from downstream.backbones.layer import LayerFeatures
from mug.cli import main
from mug.errors import InputError
from mug.networks.named import IMAGENET_PACKAGE
from mug.networks.tensors import read_tensors
from mug.networks.weights import load_into

RESNET = "torchvision:resnet18:layer2"
NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def resnet_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return torchvision.models.resnet18().state_dict()


@pytest.fixture
def resnet_file(tmp_path: Path, resnet_state: dict[str, Tensor]) -> Path:
    torch.save(resnet_state, tmp_path / "resnet.pth")
    return tmp_path / "resnet.pth"


def resnet(state: dict[str, Tensor]) -> torchvision.models.ResNet:
    network = torchvision.models.resnet18()
    network.load_state_dict(state)
    return network.eval()


def frame(height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def tiny_vit() -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(image_size=64, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    nn.init.normal_(vit.encoder.pos_embedding)
    return vit.eval()


# --- networks --------------------------------------------------------------------------------------------------------


def test_a_layer_of_a_cnn(resnet_file: Path, resnet_state: dict[str, Tensor]) -> None:
    network = resnet(resnet_state)
    x = torchvision.transforms.functional.normalize(frame(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    with torch.no_grad():
        expected = network.layer2(network.layer1(x))
    assert torch.allclose(open_backbone(RESNET, resnet_file).extract(frame()), expected, atol=1e-5)


def test_a_stride_is_reached_without_dilation(resnet_file: Path, resnet_state: dict[str, Tensor]) -> None:
    features = open_backbone("torchvision:resnet18", resnet_file, stride=8).extract(frame(60, 90))
    assert features.shape == (1, 256, 8, 12)  # layer3, whose stride is 16 by itself
    network = resnet(resnet_state)
    for module in network.layer3.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
    x = torchvision.transforms.functional.normalize(frame(60, 90), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    x = network.maxpool(network.relu(network.bn1(network.conv1(x))))
    with torch.no_grad():
        expected = network.layer3(network.layer2(network.layer1(x)))
    assert torch.allclose(features, expected, atol=1e-5)


def test_a_stride_beyond_what_the_layer_has_is_left(resnet_file: Path) -> None:
    assert open_backbone("torchvision:resnet18:layer1", resnet_file, stride=8).extract(frame()).shape[2:] == (16, 24)


def test_nothing_behind_the_layer_is_kept_or_run() -> None:
    features = named_network(RESNET, None)
    assert not any(name.startswith(("layer3", "layer4", "fc")) for name in features.network.state_dict())
    assert {"layer3.0.conv1.weight", "fc.weight"} <= features.unused


def test_tokens_become_a_map() -> None:
    vit = tiny_vit()
    features = LayerFeatures("vit", tiny_vit(), "encoder.ln", NO_MEAN, NO_STD)(frame(64, 64))
    with torch.no_grad():
        tokens = vit.encoder(torch.cat([vit.class_token, vit._process_input(frame(64, 64))], 1))
    for y, x in [(0, 0), (0, 7), (5, 2)]:
        assert torch.allclose(features[0, :, y, x], tokens[0, 1 + 8 * y + x], atol=1e-5)


def test_a_block_of_a_transformer() -> None:
    features = LayerFeatures("vit", tiny_vit(), "encoder.layers.encoder_layer_0", NO_MEAN, NO_STD)
    assert features(frame(64, 64)).shape == (1, 16, 8, 8)
    assert not any("encoder_layer_1" in name for name in features.network.state_dict())


def test_frames_are_padded_to_whole_patches_by_their_edge() -> None:
    features = LayerFeatures("vit", tiny_vit(), "encoder.ln", NO_MEAN, NO_STD)
    padded = F.pad(frame(60, 91), (0, 5, 0, 4), mode="replicate")
    assert features(frame(60, 91)).shape == (1, 16, 8, 12)
    assert torch.equal(features(frame(60, 91)), features(padded))


def test_positions_of_another_size_are_interpolated() -> None:
    """With constant frames, and positions that depend on x alone, features depend on x alone, at any size."""
    vit = tiny_vit()
    with torch.no_grad():
        ramp = torch.linspace(-1, 1, 8).expand(8, 8).reshape(1, 64, 1)
        vit.encoder.pos_embedding[:, 1:] = ramp * torch.randn(16, generator=torch.Generator().manual_seed(0))
    features = LayerFeatures("vit", vit, "encoder.ln", NO_MEAN, NO_STD)(torch.full((1, 3, 80, 128), 0.5))
    assert features.shape[2:] == (10, 16)
    assert torch.allclose(features[:, :, 0], features[:, :, 9], atol=1e-4)
    assert not torch.allclose(features[:, :, :, 0], features[:, :, :, 15], atol=0.1)


class FakeTransformer(nn.Module):
    """The way timm builds one: `patch_embed` with its `patch_size`, prefix tokens first, a last `norm`."""

    def __init__(self, registers: int = 4) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 8, 8)
        self.patch_embed.patch_size = (8, 8)
        self.prefix = nn.Parameter(torch.full((1, 1 + registers, 8), 100.0))
        self.norm = nn.Identity()
        self.head = nn.Linear(8, 10)
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(torch.cat([self.prefix, tokens], 1))[:, 0])


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A module in the place of timm, and the arguments its model was made with."""
    made: dict[str, Any] = {}
    timm: Any = ModuleType("timm")

    def create_model(name: str, **arguments: Any) -> nn.Module:
        if "dynamic_img_size" in arguments and name == "convolution":
            raise TypeError("unexpected keyword argument")
        made.update(arguments, name=name)
        torch.manual_seed(0)
        return FakeTransformer()

    timm.create_model = create_model
    timm.list_models = lambda: ["transformer", "convolution"]
    timm.is_model = lambda name: name in timm.list_models()
    monkeypatch.setitem(sys.modules, "timm", timm)
    return made


def test_a_timm_transformer(fake_timm: dict[str, Any]) -> None:
    features = named_network("timm:transformer.dino", None)
    assert fake_timm == {"name": "transformer.dino", "pretrained": False, "dynamic_img_size": True}
    assert "head.weight" in features.unused
    out = features(frame(60, 91))
    assert out.shape == (1, 8, 8, 12)
    assert float(out.max()) < 50  # class and register tokens hold 100
    network = FakeTransformer()
    network.load_state_dict(
        features.network.state_dict() | {"head.weight": torch.ones(10, 8), "head.bias": torch.ones(10)}
    )
    patch = (frame(60, 91)[:, :, 8:16, 16:24] - 0.5) / 0.5  # timm's own mean and deviation
    assert torch.allclose(out[0, :, 1, 2], network.patch_embed(patch).flatten(), atol=1e-5)


def test_a_timm_network_that_knows_no_sizes(fake_timm: dict[str, Any]) -> None:
    named_network("timm:convolution", None)
    assert "dynamic_img_size" not in fake_timm


def test_timm_itself(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True).eval()
    torch.save({"teacher": {f"backbone.{k}": x for k, x in network.state_dict().items()}}, tmp_path / "vit.pth")
    features = open_backbone("timm:vit_tiny_patch16_224", tmp_path / "vit.pth").extract(frame(60, 90))
    assert features.shape == (1, 192, 4, 6)
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    padded = F.pad((frame(60, 90) - mean) / std, (0, 6, 0, 4), mode="replicate")
    with torch.no_grad():
        expected = network.forward_features(padded)[:, 1:].transpose(1, 2).reshape(1, 192, 4, 6)
    assert torch.allclose(features, expected, atol=1e-4)


def test_timm_that_is_not_there(monkeypatch: pytest.MonkeyPatch, resnet_file: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'mug-vos\[timm\]'"):
        open_backbone("timm:resnet18", resnet_file)


# --- files of weights ------------------------------------------------------------------------------------------------

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


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("hello")
    for name in ("text.pth", "absent.pth"):
        with pytest.raises(InputError, match=name):
            read_tensors(tmp_path / name)


# --- the command line ------------------------------------------------------------------------------------------------

OWN = """
import torch.nn.functional as F


def colours(weights=None):
    return lambda frame: F.avg_pool2d(frame, 8) - (0.5 if weights is None else 0.4)


def flat():
    return lambda frame: frame.mean((2, 3))


number = 3


def nothing():
    return None
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_features.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_features", raising=False)


def propagate(root: Path, out: Path, *arguments: object) -> int:
    size = [] if "--preset" in arguments else ["--size", "48"]
    return main(["propagate", str(root), "--out", str(out), "--device", "cpu", *size, *(str(a) for a in arguments)])


def test_ones_own_function(own_module: None, moving_squares: Callable[..., Path], tmp_path: Path) -> None:
    root = moving_squares(videos=1, frames=4)
    arguments = ("--backbone", "own_features:colours", "--temperature", "0.01")
    assert propagate(root, tmp_path / "out", *arguments) == 0
    assert len(list((tmp_path / "out" / "square0").iterdir())) == 4
    backbone = open_backbone("own_features:colours", Path("some.file"))
    assert torch.allclose(backbone.extract(torch.full((1, 3, 16, 16), 0.4)), torch.zeros(1, 3, 2, 2), atol=1e-5)


def test_a_named_network_follows_a_square(
    moving_squares: Callable[..., Path], tmp_path: Path, resnet_file: Path
) -> None:
    root = moving_squares(videos=1, frames=3)
    arguments = ("--backbone", RESNET, "--weights", resnet_file, "--temperature", "0.01")
    assert propagate(root, tmp_path / "out", *arguments, "--preset", "crw") == 0
    truth = np.asarray(Image.open(root / "Annotations" / "480p" / "square0" / "00002.png")) == 1
    result = np.asarray(Image.open(tmp_path / "out" / "square0" / "00002.png")) == 1
    assert (truth & result).sum() / (truth | result).sum() > 0.4


def test_temperature_of_another_backbone(
    resnet_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downstream.calibrate, "CLIP_SIZE", (48, 64))
    monkeypatch.setattr(downstream.calibrate, "CLIPS", 1)
    monkeypatch.setattr(downstream.calibrate, "CLIP_FRAMES", 3)
    before = resnet_file.read_bytes()
    arguments = ["--backbone", RESNET, "--preset", "dino", "--device", "cpu"]
    assert main(["calibrate", str(resnet_file), *arguments]) == 0
    assert "<- --temperature " in capsys.readouterr().out
    assert resnet_file.read_bytes() == before


BAD_NAMES = {
    "resnet18": "is not understood",
    "torchvision:resnet17": "did you mean resnet18",
    "torchvision:resnet18:layer9": "has no module layer9",
    "torchvision:squeezenet1_0": "torchvision:squeezenet1_0:LAYER; its modules are features, classifier",
    "torchvision:squeezenet1_0:features.12": "cannot be brought to 8 pixels",
    "torchvision:resnet18:fc": "no map",
    "torchvision:swin_t:features.1": "no map",
    "no_such_module_:f": "no module no_such_module_",
    "own_features:missing": "has no function missing",
    "own_features:number": "has no function number",
    "own_features:nothing": "gave NoneType",
    "own_features:flat": "(1, C, h, w)",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_are_one_line(
    own_module: None,
    moving_squares: Callable[..., Path],
    tmp_path: Path,
    resnet_file: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    root = moving_squares(videos=1, frames=2)
    weights = ["--weights", resnet_file] if name.startswith("torchvision") else []
    assert propagate(root, tmp_path / "out", "--backbone", name, *weights) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert BAD_NAMES[name] in lines[0]


def test_weights_are_never_random_by_mistake(
    moving_squares: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert propagate(moving_squares(videos=1, frames=2), tmp_path / "out", "--backbone", RESNET) == 2
    assert "--weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_default_layers_are_modules_of_their_networks() -> None:
    networks = [torchvision.models.resnet18(), tiny_vit(), FakeTransformer()]
    found = [next(d for d in backbones.DEFAULT_LAYERS if d in dict(n.named_modules())) for n in networks]
    assert found == ["layer3", "encoder.ln", "norm"]


@pytest.mark.skipif(
    find_spec(IMAGENET_PACKAGE) is None or find_spec("timm") is None, reason="needs the extra `imagenet`"
)
def test_imagenet_brings_its_weights(tmp_path: Path) -> None:
    extract = open_backbone("imagenet", None, stride=8).extract
    assert extract(frame(64, 96)).shape == (1, 112, 8, 12)
    with pytest.raises(InputError, match="brings its own weights"):
        open_backbone("imagenet", tmp_path / "any.pth")
    assert open_backbone("imagenet:blocks.2", None).extract(frame(64, 96)).shape[1] == 40

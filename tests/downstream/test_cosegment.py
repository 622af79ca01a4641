"""`mug cosegment`: the order in which images meet, and the command as a user types it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from downstream.cosegment import cosegment_group, embed_group, subsets, to_mask
from downstream.data.groups import find_groups
from mug.cli import main
from mug.media.masks import read_mask

CPU = torch.device("cpu")


class StandIn(nn.Module):
    """Stands for AGNN: cells of mean colour, whose state notes how near the nearest cell of another image is."""

    CELL = 2

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(0.3))
        self.embedded: list[tuple[int, ...]] = []

    def embed(self, frames_bchw: Tensor) -> Tensor:
        self.embedded.append(tuple(frames_bchw.shape))
        cells = F.avg_pool2d(frames_bchw, self.CELL)
        return torch.cat([cells, torch.zeros_like(cells[:, :1])], 1)  # last channel: distance, summed up

    def propagate(self, v_bnchw: Tensor, state_bnchw: Tensor | None = None) -> Tensor:
        state = v_bnchw if state_bnchw is None else state_bnchw
        flat = v_bnchw[:, :, :3].flatten(3).transpose(2, 3)
        grown = state.clone()
        for i in range(v_bnchw.shape[1]):
            for j in range(v_bnchw.shape[1]):
                if i != j:
                    near = torch.cdist(flat[:, i], flat[:, j]).amin(-1)
                    grown[:, i, 3] += near.unflatten(-1, v_bnchw.shape[-2:])
        return grown

    def read(self, h_bnchw: Tensor, v_bnchw: Tensor) -> Tensor:
        return self.threshold - h_bnchw[:, :, 3:4]


class Mixer(nn.Module):
    """Passes messages in which every operand counts, so that an order that is not the paper's shows."""

    def propagate(self, v_bnchw: Tensor, state_bnchw: Tensor | None = None) -> Tensor:
        state = v_bnchw if state_bnchw is None else state_bnchw
        return torch.tanh(0.7 * state + 0.3 * v_bnchw + state.flip(1).cumsum(1).flip(1) * 0.5)

    def read(self, h_bnchw: Tensor, v_bnchw: Tensor) -> Tensor:
        return (h_bnchw * (1 + v_bnchw)).sum(2, keepdim=True)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file for --weights, which loads as the stand-in."""
    module = ModuleType("agnn_head.checkpoint")
    module.load_weights = lambda path: (StandIn().eval(), {})  # type: ignore[attr-defined]
    if "agnn_head" not in sys.modules:
        monkeypatch.setitem(sys.modules, "agnn_head", ModuleType("agnn_head"))
    monkeypatch.setitem(sys.modules, "agnn_head.checkpoint", module)
    return tmp_path / "agnn.safetensors"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of four images of several sizes: a red or green square returns, a square of another colour never."""
    root = tmp_path / "images"
    rng = np.random.default_rng(0)
    backgrounds = [(20, 20, 40), (235, 235, 235), (120, 120, 30), (130, 200, 240)] * 2
    others = [(250, 130, 0), (0, 0, 255), (160, 0, 160), (0, 90, 90), (90, 50, 20), (0, 200, 250), (250, 250, 0)]
    for name, colour in (("red", (230, 20, 20)), ("green", (20, 220, 20))):
        for number in range(4):
            height, width = 64 + 16 * (number % 2), 64 + 16 * (number // 2)
            frame = np.empty((height, width, 3), np.uint8)
            frame[:] = backgrounds[number]
            mask = np.zeros((height, width), np.uint8)
            frame[8:28, 8:28] = others[number]
            y, x = rng.integers(32, 40, 2)
            frame[y : y + 20, x : x + 20], mask[y : y + 20, x : x + 20] = colour, 255
            path = root / name / "GroundTruth" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(root / name / f"{number}.png")
            Image.fromarray(mask).save(path)
    return root


def cosegment(*arguments: object) -> int:
    return main(["cosegment", *(str(a) for a in arguments), "--device", "cpu", "--size", "64"])


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 10])
@pytest.mark.parametrize("nodes", [2, 3, 5])
def test_every_other_image_is_met_once_in_even_subsets(count: int, nodes: int) -> None:
    for index in range(count):
        parts = subsets(index, count, nodes)
        assert sorted(other for part in parts for other in part) == [other for other in range(count) if other != index]
        assert len(parts) == max(int(np.ceil((count - 1) / (nodes - 1))), 1)
        lengths = [len(part) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert max(lengths) <= nodes - 1


def test_one_node_meets_no_other() -> None:
    assert subsets(2, 5, 1) == [[]]


def dense(v: Tensor, nodes: int) -> Tensor:
    """Sec. 4.2.1 image by image in float64: groups of N' - 1 others, the state of the image kept between them.

    An image without others passes messages to itself once.
    """
    model, logits = Mixer(), []
    for i in range(len(v)):
        others = [j for j in range(len(v)) if j != i]
        steps = 1 if nodes == 1 or not others else int(np.ceil(len(others) / (nodes - 1)))
        state = v[i]
        for t in range(steps):
            group = [] if nodes == 1 else [v[j] for place, j in enumerate(others) if place % steps == t]
            h = model.propagate(torch.stack([v[i], *group])[None], torch.stack([state, *group])[None])
            state = h[0, 0]
        logits.append(model.read(state[None, None], v[i][None, None])[0, 0, 0])
    return torch.stack(logits)


@pytest.mark.parametrize(
    ("count", "nodes", "batch"), [(7, 3, 1), (7, 3, 4), (6, 4, 2), (5, 9, 3), (4, 1, 3), (1, 3, 2)]
)
def test_state_is_carried_from_graph_to_graph(count: int, nodes: int, batch: int) -> None:
    v = torch.randn(count, 4, 3, 5, generator=torch.Generator().manual_seed(count)).half()
    found = torch.stack(list(cosegment_group(v, Mixer(), nodes, batch, CPU)))  # type: ignore[arg-type]
    torch.testing.assert_close(found.double(), dense(v.double(), nodes), atol=1e-5, rtol=1e-5)


def test_embeddings_are_computed_once_in_half_precision(images: Path) -> None:
    model = StandIn()
    group = find_groups(images)[0]
    v_nchw, sizes = embed_group(group, model, 32, CPU, 1.0)
    assert model.embedded == [(1, 3, 32, 32)] * 4
    assert (tuple(v_nchw.shape), v_nchw.dtype) == ((4, 4, 16, 16), torch.float16)
    assert sizes == [group.image(index).shape[:2] for index in range(4)]


def test_mask_is_of_the_image_again() -> None:
    mask = to_mask(torch.tensor([[-1.0, 3.0]]), (20, 40))
    assert (mask.shape, mask.dtype) == ((20, 40), np.uint8)
    assert not mask[:, :10].any() and mask[:, 20:].all()


def overlap(out: Path, images: Path) -> float:
    scores = []
    for path in sorted(images.rglob("GroundTruth/*.png")):
        truth, found = read_mask(path) > 0, read_mask(out / path.parent.parent.name / path.name) > 0
        scores.append((truth & found).sum() / (truth | found).sum())
    return float(np.mean(scores))


def test_the_common_object_is_found_in_company_only(images: Path, weights: Path) -> None:
    out = images.parent / "out"
    assert cosegment(images, "--weights", weights, "--out", out) == 0
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.png")) == [
        f"{name}/{number}.png" for name in ("green", "red") for number in range(4)
    ]
    image = Image.open(out / "red" / "3.png")
    assert (image.mode, image.size) == ("P", Image.open(images / "red" / "3.png").size)
    assert overlap(out, images) > 0.6
    assert cosegment(images, "--weights", weights, "--out", out, "--overwrite", "--nodes", "1") == 0
    assert overlap(out, images) < 0.2


def test_maps_that_are_probabilities_are_cut_where_they_say(
    images: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, loaded = images.parent / "out", (StandIn().eval(), {"calibrated": "true"})
    monkeypatch.setattr(sys.modules["agnn_head.checkpoint"], "load_weights", lambda path: loaded)
    loaded[0].threshold.data -= 2.3  # what was certain is one in ten: nothing exceeds a half
    assert cosegment(images, "--weights", weights, "--out", out) == 0
    assert overlap(out, images) > 0.6


def test_one_class_and_one_image(images: Path, weights: Path) -> None:
    out = images.parent / "out"
    for number in range(1, 4):
        (images / "red" / f"{number}.png").unlink()
        (images / "red" / "GroundTruth" / f"{number}.png").unlink()
    assert cosegment(images / "red", "--weights", weights, "--out", out) == 0
    assert [path.name for path in out.rglob("*.png")] == ["0.png"]


def test_results_are_replaced_only_on_request(images: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = images.parent / "out" / "red" / "0.png"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"dear to somebody")
    assert cosegment(images, "--weights", weights, "--out", images.parent / "out") == 2
    assert "--overwrite" in complaint(capsys)
    assert kept.read_bytes() == b"dear to somebody"
    assert not list(kept.parents[1].glob("green/*.png"))


def test_images_are_never_written_over(images: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (images / "red" / "0.png").read_bytes()
    assert cosegment(images, "--weights", weights, "--out", images, "--overwrite") == 2
    assert "choose another folder for --out" in complaint(capsys)
    assert (images / "red" / "0.png").read_bytes() == before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


BAD: dict[str, tuple[Callable[[Path], Any], list[str], str]] = {
    "missing folder": (lambda root: root.rename(root.parent / "elsewhere"), [], "no such folder"),
    "truncated image": (lambda root: truncate(root / "green" / "2.png"), [], "2.png"),
    "no node": (lambda root: None, ["--nodes", "0"], "--nodes"),
    "no graph": (lambda root: None, ["--batch", "0"], "--batch"),
    "split of plain folders": (lambda root: None, ["--split", "val"], "--split"),
    "too little memory": (lambda root: None, ["--memory", "1e-6"], "--memory"),
    "no memory": (lambda root: None, ["--memory", "0"], "--memory"),
    "no such device": (lambda root: None, ["--device", "abacus"], "--device"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(images: Path, weights: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    spoil, arguments, says = BAD[case]
    spoil(images)
    out = images.parent / "out"
    command = ["cosegment", images, "--weights", weights, "--out", out, "--device", "cpu", *arguments]
    assert main([str(word) for word in command]) == 2
    assert says in complaint(capsys)
    assert not list(out.rglob("*.png"))

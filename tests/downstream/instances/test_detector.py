"""Networks from files of torchvision's weights: Mask R-CNN for proposals, RAFT for the flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.optical_flow import raft_small

from downstream.instances import detector
from downstream.instances.detector import class_agnostic, load_detector, read_detector
from downstream.instances.flow import flow_method, load_raft
from mug.errors import InputError
from mug.priors.motion import optical_flow

CPU = torch.device("cpu")


def test_a_file_of_mask_rcnn_is_read_with_the_classes_it_has(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=3).eval()
    path = tmp_path / "maskrcnn.pth"
    # as published: frozen statistics, without counts of batches
    torch.save({n: x for n, x in network.state_dict().items() if not n.endswith("num_batches_tracked")}, path)
    read = read_detector(path)
    theirs = dict(network.named_parameters())
    assert all(torch.equal(x, theirs[name]) for name, x in read.named_parameters())
    assert {m.eps for m in read.modules() if isinstance(m, nn.BatchNorm2d)} == {0.0}
    tensors = torch.load(path, weights_only=True)
    del tensors["roi_heads.mask_predictor.mask_fcn_logits.bias"]
    torch.save(tensors, path)
    with pytest.raises(InputError, match=r"maskrcnn.pth: is of another architecture \(roi_heads.mask_predictor"):
        read_detector(path)


def test_detections_become_proposals_whatever_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.zeros(5, 1, 40, 60)
    masks[0, 0, 5:20, 5:20] = 0.9
    masks[1, 0, 5:20, 5:21] = 0.9  # the first again, as another class
    masks[2, 0, 25:38, 30:50] = 0.6
    masks[2, 0, 25:38, 50:55] = 0.4  # not mask
    masks[3, 0, 0:20, 40:60] = 0.9  # background by the object-level map
    masks[4, 0, 30:40, 0:20] = 0.9  # hardly detected
    found = {
        "scores": torch.tensor([0.9, 0.8, 0.5, 0.4, 0.05]),
        "masks": masks,
        "labels": torch.tensor([1, 2, 1, 7, 1]),
    }
    assert [p.score for p in class_agnostic(found)] == pytest.approx([0.9, 0.5, 0.4])

    class Fake(nn.Module):
        def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            assert images[0].shape == (3, 40, 60) and images[0].max() == 1.0
            return [found]

    monkeypatch.setattr(detector, "read_detector", lambda path: Fake())
    foreground = np.zeros((40, 60), np.float32)
    foreground[:, :25] = foreground[22:, :] = 1
    frame = np.full((40, 60, 3), 255, np.uint8)
    kept = load_detector(Path("any"), CPU)(frame, [], foreground, optical_flow)
    assert [p.score for p in kept] == pytest.approx([0.9, 0.5])
    assert kept[1].mask.sum() == 13 * 20


def test_raft_from_a_file_gives_the_networks_flow(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = raft_small(weights=None).eval()
    path = tmp_path / "raft.pth"
    torch.save(network.state_dict(), path)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 255, (2, 136, 160, 3), dtype=np.uint8)
    x, y = (torch.from_numpy(f).permute(2, 0, 1)[None].float() / 127.5 - 1 for f in (a, b))
    with torch.no_grad():
        expected = network(x, y)[-1][0].permute(1, 2, 0).numpy()
    flow = flow_method(path, CPU)
    assert np.allclose(flow(a, b), expected, atol=1e-4)
    small = flow(a[:50, :90], b[:50, :90])  # smaller than its pyramid, and no multiple of its stride
    assert small.shape == (50, 90, 2)
    assert np.isfinite(small).all()
    assert flow_method(None, CPU) is optical_flow


@pytest.mark.parametrize("load", [read_detector, lambda path: load_raft(path, CPU)])
def test_other_files_are_refused(tmp_path: Path, load: object) -> None:
    assert callable(load)
    other = tmp_path / "other.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, other)
    with pytest.raises(InputError, match=r"other.pth: holds no (Mask R-CNN|RAFT)"):
        load(other)
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"broken\.pth: is damaged"):
        load(broken)

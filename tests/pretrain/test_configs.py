"""The configurations of pretraining: they parse, and the paper's is the paper's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from mug.command.options import parse
from mug.model import MuG
from mug.options import PRESETS, ModelConfig
from pretrain.augment import draw_changes
from pretrain.options import PretrainOptions
from pretrain.preflight import check

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "pretrain").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_parses_and_its_model_builds(config: Path) -> None:
    spelt = ["--config", str(config), "--videos", "clips", "--out", "run"]
    options = parse("mug pretrain", PretrainOptions, (), spelt)
    check(options)
    assert options.engine.precision == ("32-true" if config.stem == "mug_resnet50_oxuva" else "auto")
    assert MuG(options.model).phi.stride == options.model.backbone.stride


def test_the_weak_configuration_differs_in_its_maps_alone() -> None:
    files = (CONFIGS[0].with_name(f"mug_resnet18_{name}.yaml") for name in ("cpu", "cpu_weak"))
    full, weak = (yaml.safe_load(file.read_text()) for file in files)
    assert weak["bootstrap"].pop("prior") == "motion-cam" and full["bootstrap"].pop("prior") == "motion"
    assert weak == full


def test_the_paper_is_there_number_by_number() -> None:
    options = parse(
        "mug pretrain", PretrainOptions, (), ["--config", str(CONFIGS[-1]), "--videos", "clips", "--out", "run"]
    )
    assert CONFIGS[-1].stem == "mug_resnet50_oxuva"
    assert (options.batch, options.sample.size, options.sample.abstract) == (16, 256, 8)
    weights = options.loss
    assert (weights.short, weights.long, weights.video, weights.warp) == (0.1, 0.02, 0.5, 0.0)
    assert (options.bootstrap.alpha, options.bootstrap.keep, options.rounds) == (0.05, "prediction", 2)
    assert (options.bootstrap.prior, options.bootstrap.refine) == ("manifold-ranking", "crf")
    assert options.bootstrap.binary and options.bootstrap.binary_prior
    assert options.optimiser.kind == "sgd"
    assert options.model == ModelConfig(PRESETS["paper"])
    frames = draw_changes((480, 854), options.sample, np.random.default_rng(0))
    shown = frames.theta[: -options.sample.abstract]  # 256 x 256 pixels show the whole frame, as it is
    np.testing.assert_allclose(shown, np.broadcast_to(np.eye(2, 3), shown.shape), atol=1e-12)
    np.testing.assert_allclose(frames.colour, np.broadcast_to(np.eye(3), frames.colour.shape), atol=1e-12)
    assert (frames.contrast == 1).all() and (frames.blur == 0).all()
    lines = CONFIGS[-1].read_text().splitlines()
    assert all("#" in line for line in lines if line.strip() and not line.rstrip().endswith(":"))

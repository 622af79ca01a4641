"""Opening trained weights, and what their metadata say."""

from __future__ import annotations

import json

import pytest
import torch

from downstream.systems.agnn import GraphConfig
from downstream.systems.base import SYSTEMS
from downstream.systems.cosnet import ReferenceConfig
from downstream.systems.trained import as_trained, opened, trained_shape, trained_side
from mug.errors import InputError
from mug.lazy import resolve

TRAINED = {"options": json.dumps({"sample": {"size": 80, "width": None}}), "calibrated": "true"}


@pytest.mark.parametrize("config", [GraphConfig(nodes=2), ReferenceConfig(count=2)])
def test_what_is_not_given_is_as_in_training(config: GraphConfig | ReferenceConfig) -> None:
    assert (as_trained(config, {}).side, as_trained(config, {}).cut) == (473, "half")
    assert (as_trained(config, TRAINED).side, as_trained(config, TRAINED).cut) == (80, "expected")
    config.side, config.cut = 64, "half"
    assert as_trained(config, TRAINED) == config


def test_the_size_is_that_of_training_or_else_the_papers() -> None:
    assert (trained_side({}), trained_side({}, 512), trained_side(TRAINED, 512)) == (473, 512, 80)
    assert trained_shape({}, (256, 448)) == (256, 448)
    assert trained_shape(TRAINED, (256, 448)) == (80, 80)
    assert trained_shape({"options": json.dumps({"sample": {"size": 80, "width": 96}})}, (256, 448)) == (80, 96)


@pytest.mark.parametrize("name", [name for name in SYSTEMS if name != "mug"])
def test_weights_have_to_be_given(name: str) -> None:
    kind = resolve(resolve(SYSTEMS[name]).format)
    with pytest.raises(InputError, match=f"--system {name}: .*`mug finetune {name}`"):
        opened(kind, None, torch.device("cpu"))

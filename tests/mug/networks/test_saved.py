"""Configurations come back from JSON as they were."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import pytest

from mug.networks.saved import rebuilt
from mug.options import BackboneConfig, EmbeddingConfig


@dataclass
class Outer:
    """One of each kind of field."""

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    backbone: BackboneConfig | None = None
    sizes: tuple[int, ...] = (3, 4)
    name: str | None = None
    on: bool = True


@pytest.mark.parametrize(
    "config",
    [Outer(), Outer(EmbeddingConfig(backbone=BackboneConfig(stages=2), rates=(1, 2, 3)), BackboneConfig(), (1,), "x")],
)
def test_what_json_stored_is_rebuilt(config: Outer) -> None:
    assert rebuilt(Outer, json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("values", [[], {"colour": 1}, {"embedding": 3}, {"embedding": {"backbone": {"colour": 1}}}])
def test_what_does_not_fit_is_refused(values: object) -> None:
    with pytest.raises(TypeError):
        rebuilt(Outer, values)  # type: ignore[arg-type]

"""AGNN weights on disk."""

from __future__ import annotations

from agnn_head.model import AGNN
from agnn_head.options import AGNNConfig
from mug.networks.saved import Format

FORMAT = Format("agnn", AGNNConfig, AGNN)
save_weights, load_weights = FORMAT.save, FORMAT.load

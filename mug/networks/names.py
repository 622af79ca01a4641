"""What networks are called on the command line."""

from __future__ import annotations

IMAGENET = "imagenet"
"""Short for the network that the extra of this name brings weights of: EfficientNet-Lite0, 4.7 million parameters."""

"""Names of networks on the command line."""

from __future__ import annotations

IMAGENET = "imagenet"
"""Name of the network whose weights the extra `imagenet` installs: EfficientNet-Lite0, 4.7 million parameters."""

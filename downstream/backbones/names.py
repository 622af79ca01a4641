"""What `--backbone` may name."""

from __future__ import annotations

OURS = "mug"

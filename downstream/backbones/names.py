"""Names for `--backbone`."""

from __future__ import annotations

OURS = "mug"

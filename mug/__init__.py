"""mug: video object segmentation learned from unlabeled video.

    import mug

    for mask in mug.segment("clip.mp4"):  # Z-VOS: HW uint8, no mask given
        ...

    propagator = mug.Propagator()  # O-VOS, frame by frame
    propagator.step(first_frame, first_mask)
    mask = propagator.step(next_frame)

The table below lists the public objects. Each is imported on first access: `import mug` itself loads no library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mug.lazy import resolve

if TYPE_CHECKING:
    from agnn_head.model import AGNN
    from downstream.api import load, score, segment
    from downstream.one_shot.grabcut import grabcut
    from downstream.one_shot.propagator import Propagator
    from mug.media.video import open_video
    from mug.model import MuG

__version__ = "0.2.0"

PUBLIC = {
    "AGNN": "agnn_head.model:AGNN",
    "MuG": "mug.model:MuG",
    "Propagator": "downstream.one_shot.propagator:Propagator",
    "grabcut": "downstream.one_shot.grabcut:grabcut",
    "load": "downstream.api:load",
    "open_video": "mug.media.video:open_video",
    "score": "downstream.api:score",
    "segment": "downstream.api:segment",
}
"""Public objects of all packages, and where each is defined."""

__all__ = ["AGNN", "PUBLIC", "MuG", "Propagator", "__version__", "grabcut", "load", "open_video", "score", "segment"]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module 'mug' has no attribute {name!r}")
    found = globals()[name] = resolve(PUBLIC[name])
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})

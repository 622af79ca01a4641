"""Masks of a clip's main object, without any label.

python examples/segment.py clip.mp4 OUT
"""

import sys
from pathlib import Path

import mug
from mug.media.masks import write_mask

video, out = mug.open_video(sys.argv[1]), Path(sys.argv[2])
for name, mask in zip(video.frame_names, mug.segment(video, refine="guided"), strict=True):
    write_mask(out / f"{name}.png", mask)  # indexed, in the palette of DAVIS
    print(f"{name}: {(mask > 0).mean():.1%} of the frame")

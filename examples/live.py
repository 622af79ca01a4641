"""A loop as over a webcam: the object of the first frame is followed, a frame at a time, from the past alone.

python examples/live.py clip.mp4 first_mask.png
"""

import sys

from PIL import Image

import mug
from mug.media.masks import read_mask

propagator = mug.Propagator()
mask = read_mask(sys.argv[2])
for index, frame in enumerate(mug.open_video(sys.argv[1])):  # any source of HWC uint8 RGB will do
    found = propagator.step(frame, mask if index == 0 else None)  # HW uint8 ids
    print(f"frame {index}: the objects cover {(found > 0).mean():.1%}")
Image.fromarray(found > 0).save("last.png")

"""Features of a frame: what phi compares, an L2-normalised vector for 8 x 8 pixels.

python examples/features.py clip.mp4
"""

import sys

import torch

import mug
from mug.frames import to_tensor

frame = mug.open_video(sys.argv[1])[0]  # HWC uint8 RGB
phi = mug.load().phi  # or mug.load("phi.safetensors")
with torch.inference_mode():
    features = phi(to_tensor(frame))
print("to compare frames by", tuple(features.match.shape))
print("similarity of the first two cells", float(features.match[0, :, 0, 0] @ features.match[0, :, 0, 1]))

"""AGNN fine-tuned on your own masks, YOURS/JPEGImages/480p/<video>/ and YOURS/Annotations/480p/<video>/, and used.

python examples/finetune.py YOURS OUT
"""

import sys
from pathlib import Path

import mug
from mug.cli import main

data, out = sys.argv[1], Path(sys.argv[2])
small = ["--config", "configs/finetune/agnn_cpu.yaml", "--steps", "4", "--sample.size", "64"]  # a real run: leave out
status = main(["finetune", "agnn", *small, "--data", data, "--out", str(out)])  # goes on where it was stopped
if status:
    sys.exit(status)
for video in sorted(Path(data, "JPEGImages/480p").iterdir()):
    masks = list(mug.segment(video, out / "agnn.safetensors", system="agnn"))
    print(f"{video.name}: {sum((mask > 0).mean() for mask in masks) / len(masks):.1%} of the frame on average")

"""mug: video object segmentation learned from unlabeled video."""

__version__ = "0.2.0"

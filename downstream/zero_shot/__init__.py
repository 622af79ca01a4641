"""Z-VOS: segments the main object of a video without a given mask."""

"""Synthetic videos and groups of images, with masks."""

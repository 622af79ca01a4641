"""Unlabeled video in, phi out."""

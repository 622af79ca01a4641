"""Scores result masks on disk and prints tables."""

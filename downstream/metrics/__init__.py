"""The DAVIS measures, one per file."""

"""phi in, masks and scores out: O-VOS, Z-VOS, scoring, report."""

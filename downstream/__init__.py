"""From phi to masks and scores: O-VOS, Z-VOS, scoring, report."""

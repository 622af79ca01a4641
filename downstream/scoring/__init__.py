"""Results on disk to tables of scores."""

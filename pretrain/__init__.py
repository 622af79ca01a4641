"""Pretraining of phi on unlabeled video."""

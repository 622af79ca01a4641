"""Training runs, independent of the model that is trained."""

"""Training data for heads, and pictures of training."""

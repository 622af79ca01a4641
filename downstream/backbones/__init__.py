"""Feature extractors: phi, networks of torchvision and timm, or a user's function."""

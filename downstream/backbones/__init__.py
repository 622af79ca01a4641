"""Any network as a feature extractor: ours, those of torchvision and timm, a function."""

"""Videos, masks and files on disk."""

"""Third-party networks: built by name, with their weights, as classifiers."""

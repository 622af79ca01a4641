"""Networks of other people: by name, with their weights, as classifiers."""

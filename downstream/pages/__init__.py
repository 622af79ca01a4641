"""HTML pages, one kind a file."""

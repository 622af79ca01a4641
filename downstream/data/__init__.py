"""Annotated datasets with one interface; each has its own layout and mask encoding."""

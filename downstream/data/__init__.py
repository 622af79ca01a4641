"""Annotated data sets behind one interface, each with its own layout and encoding."""

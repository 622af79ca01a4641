"""The methods of the papers, one a file."""

"""The measures of DAVIS, one a file."""

"""What phi learns from: one granularity a file, its head and its loss together (MuG Sec. 3.1)."""

"""Instance-level Z-VOS: object proposals and their linking into tracks."""

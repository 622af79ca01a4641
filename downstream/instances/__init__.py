"""Instance-level Z-VOS: proposals, their linking, and what they are made of."""

"""What every command has: options, checks before work begins."""

"""What all commands share: option parsing and checks before work starts."""

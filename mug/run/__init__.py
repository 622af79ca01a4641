"""A run of training; nothing here knows what is learned."""

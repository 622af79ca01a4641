"""What heads are trained on, and what training leaves to look at."""

"""The methods of the papers: `base` says what one is, the others are one each."""

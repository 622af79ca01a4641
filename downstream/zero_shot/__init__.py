"""Z-VOS: finding the main object of a video, nothing given."""

"""O-VOS: labels of a first frame carried through a video, by matching and by what else is known of the objects."""

"""O-VOS: propagates the labels of the first frame through a video, by matching, motion and appearance."""

"""How frames are compared: dense, within a window, at the positions of a warp, in chunks. No full matrix is stored."""

"""softmax(query . source) . value over the *source* axis: the one comparison behind MuG Eq. 6, 8, 9, 10 and 17.

Nothing here stores the full matrix of query by source positions.
"""

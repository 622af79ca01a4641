"""J and F of a folder of results, as DAVIS defines them.

python examples/score.py DAVIS RESULTS
"""

import sys

import mug

if __name__ == "__main__":  # several processes may score
    scores = mug.score(sys.argv[1], sys.argv[2], task="one-shot")
    print(", ".join(f"{name} {100 * value:.1f}" for name, value in scores.items()))

"""One of several processes that train systems together, one system after the other.

Its argument is JSON: command lines of `mug`, and the port on which the processes meet for each of them.
"""

import json
import os
import sys

import torch.distributed

from mug.cli import main

for words, port in zip(*json.loads(sys.argv[1]), strict=True):
    os.environ["MASTER_PORT"] = str(port)
    if main(words):
        sys.exit(1)
    torch.distributed.destroy_process_group()

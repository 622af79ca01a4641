"""`python -m mug` is the command `mug`."""

import sys

from mug.cli import main

sys.exit(main())

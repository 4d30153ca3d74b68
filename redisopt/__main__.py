"""`python -m redisopt`: the same as the command `redisopt`."""

import sys

from redisopt.cli import main

if __name__ == "__main__":
    sys.exit(main())

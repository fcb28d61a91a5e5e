"""`python -m pimc`."""

import sys

from pimc.cli import main

if __name__ == "__main__":
    sys.exit(main())

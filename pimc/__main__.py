"""The command `pimc`, also as `python -m pimc`."""

import sys


def run() -> int:
    """Run the command line of the process; interrupted while modules load, it ends as when interrupted later."""
    try:
        from pimc.cli import main

        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(run())

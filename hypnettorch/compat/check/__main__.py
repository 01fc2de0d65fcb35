"""See :mod:`hypnettorch.compat.check`."""

import sys

from hypnettorch.compat.check.command import main

if __name__ == "__main__":
    sys.exit(main())

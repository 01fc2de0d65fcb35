"""``python -m hypnettorch.data fetch <name> --data_dir <folder>``: download the files of a data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hypnettorch.data.fetching import FetchError, fetch
from hypnettorch.data.sources import SOURCES


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the data sets; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hypnettorch.data", description="Files of data sets.")
    commands = parser.add_subparsers(dest="command", required=True)
    fetcher = commands.add_parser("fetch", help="download a data set", description="Download a data set.")
    fetcher.add_argument("name", choices=list(SOURCES), metavar="name", help=", ".join(SOURCES))
    fetcher.add_argument(
        "--data_dir", type=Path, default=Path("datasets"), help="folder of all data sets, default %(default)s"
    )
    options = parser.parse_args(argv)
    try:
        paths = fetch(options.name, options.data_dir)
    except (FetchError, ImportError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

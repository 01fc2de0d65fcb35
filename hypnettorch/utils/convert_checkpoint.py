"""Convert a checkpoint of PyTorch that holds more than plain values, or has the format of before version 1.6.

``python -m hypnettorch.utils.convert_checkpoint OLD NEW`` reads ``OLD`` with Python's unpickler, which runs whatever
code the file asks for: **it trusts the file as it would trust a program**. Convert only files that you, or people whose
programs you would run, have made. ``NEW`` holds the same tensors and plain values; arrays and numbers of NumPy become
tensors and numbers. Anything else is refused, and nothing is written then.

Files that hypnettorch 0.0.4 wrote with PyTorch 1.6 or later need no conversion.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from hypnettorch.utils import safe_files


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(
        prog="python -m hypnettorch.utils.convert_checkpoint",
        description="Convert a checkpoint that is trusted: code in the file OLD is run.",
    )
    parser.add_argument("old", type=Path, metavar="OLD", help="a file of torch.save; code in it is run")
    parser.add_argument("new", type=Path, metavar="NEW", help="the file to write")
    arguments = parser.parse_args(argv)
    try:
        convert(arguments.old, arguments.new)
    except Exception as error:  # whatever reading any pickle ends in
        sys.exit(f"convert_checkpoint: {arguments.old}: {(str(error).splitlines() or [type(error).__name__])[0]}")
    print(arguments.new)


def convert(old: safe_files.FilePath, new: safe_files.FilePath) -> None:
    """Write the tensors and plain values of a file that is trusted to another file.

    Args:
        old: What ``torch.save`` wrote. Code in it is run.
        new: The file to write.

    Raises:
        TypeError: If there is something else in it.
        ValueError: If it holds no dictionary.
    """
    content = torch.load(old, map_location="cpu", weights_only=False)
    if not isinstance(content, dict):
        raise safe_files.FileError(f"expected a dictionary in it, got {type(content).__name__}")
    safe_files.save(new, content)


if __name__ == "__main__":
    main()

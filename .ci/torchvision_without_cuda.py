"""Make torchvision of the package index run beside the CPU build of torch.

The index has torchvision as a CUDA build only, whose compiled operators do not load beside the CPU build of torch.
Without them its import fails, and with it that of timm and of each model of transformers. It needs no more of the
operators than their names, which are declared here where the operators did not load. Nobody can call them.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

EXTENSION = Path(sysconfig.get_path("purelib")) / "torchvision" / "extension.py"

NAMES = """

if not _has_ops():  # written by .ci/torchvision_without_cuda.py
    for _name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def main() -> None:
    """Add the names once, where torchvision is installed."""
    if EXTENSION.exists() and NAMES not in (source := EXTENSION.read_text()):
        EXTENSION.write_text(source + NAMES)


if __name__ == "__main__":
    main()

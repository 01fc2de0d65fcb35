"""Five tasks of two handwritten digits each, learned one after another, with and without protection from forgetting.

``python -m hypnettorch.examples.hypercl.demo`` runs the experiment twice, with ``--method hnet`` and ``finetune``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypnettorch.examples.hypercl import plots, report
from hypnettorch.examples.hypercl.errors import shell
from hypnettorch.examples.hypercl.folder import claimed, claimed_new
from hypnettorch.examples.hypercl.run import execute

METHODS = ("hnet", "finetune")


def run(argv: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run both methods, show their figures side by side, and say where the plots are.

    Args:
        argv: Arguments; by default those of the program.

    Returns:
        The results of both.
    """
    parser = argparse.ArgumentParser(prog="python -m hypnettorch.examples.hypercl.demo", description=__doc__)
    parser.add_argument("--out_dir", type=Path, help="folder for results (default: ./out/demo_<date>_<time>)")
    parser.add_argument("--smoke", action="store_true", help="a run of seconds that learns little")
    arguments = parser.parse_args(argv)
    results = []
    with claimed_new("demo") if arguments.out_dir is None else claimed(arguments.out_dir) as path:
        for method in METHODS:
            print(f"{method}: five tasks of two digits each, one after another", flush=True)
            results.append(execute({"method": method, "out_dir": str(path / method), "smoke": arguments.smoke}))
    print("\naccuracy in percent: at the end, and just after each task was learned\n")
    print(report.averages_table(results))
    print("\nplots:")
    for method in METHODS:
        print(f"  {path / method / plots.ACCURACY}, {path / method / plots.FORGETTING}")
    return results


if __name__ == "__main__":
    with shell("demo"):
        run()

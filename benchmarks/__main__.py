"""Run all benchmarks, print a table of ratios and write it as JSON."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from datetime import date
from pathlib import Path

import torch

from benchmarks import building, data, modules, recurrent, regularizer, training_steps, weight_sets
from benchmarks.harness import run

MODULES = (training_steps, weight_sets, modules, recurrent, regularizer, building, data)
CASES = [case for module in MODULES for case in module.CASES]


def main() -> None:
    """Command line of the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="run the cases whose name contains this text")
    parser.add_argument("--rounds", type=int, default=9, help="blocks per contender")
    parser.add_argument("--threads", type=int, default=2, help="threads per process")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks.json"), help="where to write the results")
    options = parser.parse_args()
    print(f"{'ours / contender':<62} {'median':>7} {'quartiles':>15} {'memory':>7}")
    results = []
    for case in CASES:
        if options.only not in case.name:
            continue
        for result in run(case, options.rounds, threads=options.threads):
            low, high = result.quartiles
            title = f"{result.case} / {result.contender}"
            print(
                f"{title:<62} {result.median:7.3f} {low:7.3f}-{high:7.3f} {result.peak_memory_ratio:7.2f}", flush=True
            )
            results.append(asdict(result))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"machine": platform.machine(), "python": platform.python_version(), "torch": torch.__version__}
    document = {"date": date.today().isoformat(), **machine, "threads": options.threads, "results": results}
    options.out.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()

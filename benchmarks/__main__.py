"""Run benchmarks, print a table of ratios and write it as JSON.

Results of other cases that the file has from the same machine and versions stay there, so that a part can be measured
again.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks import (
    adapters,
    building,
    compiled,
    data,
    jax_steps,
    modules,
    programs,
    recurrent,
    regularizer,
    table,
    training_steps,
    weight_sets,
)
from benchmarks.harness import run

MODULES = (
    *(training_steps, weight_sets, modules, programs, adapters, recurrent, regularizer, building, compiled, data),
    jax_steps,
)
CASES = [case for module in MODULES for case in module.CASES]


def merged(path: Path, setting: dict[str, Any], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """New results and those of other cases in a file that was made in the same setting, in the order of the cases."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    old = found["results"] if setting.items() <= found.items() else []
    measured = {result["case"] for result in new}
    order = [case.name for case in CASES]
    kept = [result for result in old if result["case"] in order and result["case"] not in measured]
    return sorted([*kept, *new], key=lambda result: order.index(result["case"]))


def main() -> None:
    """Command line of the benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="run the cases whose name contains this text")
    parser.add_argument("--rounds", type=int, default=9, help="blocks per contender")
    parser.add_argument("--processes", type=int, default=3, help="processes per contender that share them")
    parser.add_argument("--threads", type=int, default=2, help="threads per process")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu or cuda")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks.json"), help="where to write the results")
    parser.add_argument("--docs", type=Path, help="where to write the table of the documentation")
    options = parser.parse_args()
    results = []
    print(table.HEADER)
    for case in CASES:
        if options.only in case.name:
            for result in run(case, options.rounds, options.processes, threads=options.threads, device=options.device):
                print(table.line(result), flush=True)
                results.append(result)
    setting = {
        "date": date.today().isoformat(),
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else "cpu",
        "threads": options.threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    document = {**setting, "results": merged(options.out, setting, [asdict(result) for result in results])}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1))
    if options.docs:
        options.docs.write_text(table.restructured_text(document))


if __name__ == "__main__":
    main()

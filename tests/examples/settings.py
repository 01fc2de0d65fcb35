"""A run of a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypnettorch.examples.hypercl.run import execute

TINY: dict[str, Any] = {
    "num_tasks": 3,
    "n_iter": 12,
    "batch_size": 8,
    "mlp_arch": "12",
    "hmlp_arch": "6",
    "cond_emb_size": 4,
    "chmlp_chunk_size": 200,
    "ckpt_iter": 5,
    "val_iter": 4,
    "val_set_size": 10,
    "lr": 0.005,
}


def tiny_run(path: Path, **options: Any) -> dict[str, Any]:
    return execute({**TINY, **options, "out_dir": str(path)})


def numbers(path: Path) -> dict[str, Any]:
    """What is in ``results.json``, but for the name of the folder."""
    results = json.loads((path / "results.json").read_text())
    del results["options"]["out_dir"]
    return results

"""Defaults that depend on the task sequence.

What is not listed has the default of :class:`~hypnettorch.examples.hypercl.options.Options`; the number of tasks and of
classes per task come with the task sequence itself.
"""

from __future__ import annotations

from typing import Any

# Digits are small: few steps at a high rate are enough, a second thread would only wait for the first one, and no
# sample is put aside for validation.
DIGITS: dict[str, Any] = {"hnet_type": "hmlp", "lr": 1e-3, "val_set_size": 0, "num_threads": 1}

PER_SEQUENCE: dict[str, dict[str, Any]] = {
    "splitdigits": {**DIGITS, "hmlp_arch": "25,25", "n_iter": 500, "beta": 0.01, "ewc_lambda": 1e4, "si_lambda": 10.0},
    "permdigits": {**DIGITS, "hmlp_arch": "50,50", "n_iter": 1000, "beta": 0.1, "ewc_lambda": 10.0, "si_lambda": 0.1},
}

# Of `--smoke`, where nothing else is asked for.
SMOKE: dict[str, Any] = {
    "n_iter": 20,
    "mlp_arch": "20",
    "hmlp_arch": "10",
    "resnet_block_depth": 1,
    "wrn_block_depth": 1,
    "wrn_widening_factor": 1,
    "val_iter": 10,
    "num_threads": 1,
    "ckpt_iter": 10,
}

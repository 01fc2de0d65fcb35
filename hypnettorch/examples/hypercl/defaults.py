"""Defaults that depend on the task sequence.

What is not listed has the default of :class:`~hypnettorch.examples.hypercl.options.Options`; the number of tasks and of
classes per task come with the task sequence itself.
"""

from __future__ import annotations

from typing import Any

# Digits are small: few steps at a high rate are enough, a second thread would only wait for the first one, and no
# sample is put aside for validation.
DIGITS: dict[str, Any] = {"hnet_type": "hmlp", "lr": 1e-3, "val_set_size": 0, "num_threads": 1}

# Ehret et al. 2021, https://arxiv.org/abs/2006.12109, with fewer tasks, units and steps. The step size goes with large
# weights: from a calibrated start 2000 steps end at 94 % instead of 99 %.
COPY: dict[str, Any] = {
    "net_type": "simple_rnn",
    "srnn_rec_layers": "64",
    "net_act": "tanh",
    "hmlp_arch": "50,50",
    "chmlp_chunk_size": 2500,
    "cond_emb_size": 32,
    "chunk_emb_size": 32,
    "std_normal_emb": 0.1,
    "calibrated": False,
    "beta": 10.0,
    "ewc_lambda": 3.0,
    "si_lambda": 0.01,
    "n_fisher": 500,
    "batch_size": 128,
    "n_iter": 2000,
    "lr": 1e-3,
    "clip_grad_norm": 1.0,
    "num_threads": 1,
}

PER_SEQUENCE: dict[str, dict[str, Any]] = {
    "splitdigits": {**DIGITS, "hmlp_arch": "25,25", "n_iter": 500, "beta": 0.01, "ewc_lambda": 1e4, "si_lambda": 10.0},
    "permdigits": {**DIGITS, "hmlp_arch": "50,50", "n_iter": 1000, "beta": 0.1, "ewc_lambda": 10.0, "si_lambda": 0.1},
    **dict.fromkeys(("permcopy", "paddedcopy", "xorcopy1", "xorcopy5"), COPY),
}

# Of `--smoke`, where nothing else is asked for.
SMOKE: dict[str, Any] = {
    "n_iter": 20,
    "mlp_arch": "20",
    "srnn_rec_layers": "10",
    "hmlp_arch": "10",
    "resnet_block_depth": 1,
    "wrn_block_depth": 1,
    "wrn_widening_factor": 1,
    "val_iter": 10,
    "num_threads": 1,
    "ckpt_iter": 10,
}

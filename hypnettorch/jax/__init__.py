"""Hypernetworks in JAX: the equations of :mod:`hypnettorch.hnets` as pure functions, with files that both halves read.

A *spec* says what a hypernetwork is (``HMLP``, ``ChunkedHMLP``, ``StructuredHMLP``, ``HLowRank``, ``HResidual``, with
the arguments of the classes of the same names), ``params`` holds its tensors by the names that they have in PyTorch,
and ``generate(spec, params, cond)`` produces weights. Nothing here imports PyTorch. Needs the extra ``jax``.

Example:
    >>> import jax
    >>> from hypnettorch.jax import HMLP, generate, init
    >>> spec = HMLP([[10, 5], [10]], cond_in_size=8, num_cond_embs=3)
    >>> params = init(spec, jax.random.key(0))
    >>> [weight.shape for weight in generate(spec, params, 0)]
    [(10, 5), (10,)]
"""

from hypnettorch.common.extras import require

require("jax", "hypnettorch.jax", "jax")

from hypnettorch.jax.files import load, save  # noqa: E402
from hypnettorch.jax.functional import factors, flatten, generate, init, look_up, split, unflatten  # noqa: E402
from hypnettorch.jax.hypernetworks import HMLP, ChunkedHMLP, Condition, HLowRank, HResidual, Spec, StructuredHMLP  # noqa: E402
from hypnettorch.jax.regularizer import calc_fix_target_reg, get_current_targets  # noqa: E402
from hypnettorch.jax.starts import apply_calibrated_init, apply_hyperfan_init  # noqa: E402

__all__ = [
    "HMLP",
    "ChunkedHMLP",
    "Condition",
    "HLowRank",
    "HResidual",
    "Spec",
    "StructuredHMLP",
    "apply_calibrated_init",
    "apply_hyperfan_init",
    "calc_fix_target_reg",
    "factors",
    "flatten",
    "generate",
    "get_current_targets",
    "init",
    "load",
    "look_up",
    "save",
    "split",
    "unflatten",
]

"""Hypernetworks of ``flax.linen``, by their places in ``hypernn.jax``. Needs the extra ``jax``."""

from hypnettorch.common.extras import require

require("flax", "hypnettorch.compat.hypernn.jax", "jax")

from hypnettorch.compat.hypernn.jax.dynamic_hypernet import (  # noqa: E402
    JaxDynamicEmbeddingModule,
    JaxDynamicHyperNetwork,
)
from hypnettorch.compat.hypernn.jax.hypernet import JaxHyperNetwork  # noqa: E402
from hypnettorch.compat.hypernn.jax.linear_hypernet import JaxLinearHyperNetwork  # noqa: E402

__all__ = ["JaxDynamicEmbeddingModule", "JaxDynamicHyperNetwork", "JaxHyperNetwork", "JaxLinearHyperNetwork"]

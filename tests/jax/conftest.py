"""Small functions are compiled often and run once, so compilation may be quick and careless."""

import jax

jax.config.update("jax_disable_most_optimizations", True)

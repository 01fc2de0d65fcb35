"""One hypernetwork in both halves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn

import hypnettorch.jax as hj
from hypnettorch.hnets import HMLP, ChunkedHMLP, HLowRank, HResidual
from tests.conformance.registry import HYPERNETWORKS, TARGETS, Entry

KINDS = ("HMLP", "ChunkedHMLP", "StructuredHMLP", "HLowRank", "HResidual")

ABSENT = ("external", "norm", "everything", "prelu", "norms", "unknown-class", "recomputed")
"""Words in the names of networks with options that the JAX half does not have."""


def _settled(build: Any, **values: Any) -> Any:
    def made() -> Any:
        hnet = build()
        hnet.apply_hyperfan_init()
        with torch.no_grad():
            for parameter in hnet.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        return hnet

    return made


OWN = [
    Entry(
        "HResidual-calibrated",
        _settled(lambda: HResidual(ChunkedHMLP(TARGETS, 7, num_cond_embs=3, verbose=False), verbose=False)),
    ),
    Entry("HResidual-constants", lambda: HResidual(HMLP(TARGETS, verbose=False), trainable=False, verbose=False)),
    Entry(
        "HResidual-given",
        lambda: HResidual(
            ChunkedHMLP(TARGETS, 7, num_cond_embs=3, verbose=False),
            [torch.randn(shape) for shape in TARGETS],
            verbose=False,
        ),
    ),
    Entry(
        "HResidual-HLowRank",
        _settled(
            lambda: HResidual(
                HLowRank(lambda s: HMLP(s, num_cond_embs=3, verbose=False), TARGETS, [1, 2, 1, 2], 3.0, False),
                verbose=False,
            )
        ),
    ),
    Entry(
        "HLowRank-ChunkedHMLP",
        _settled(lambda: HLowRank(lambda s: ChunkedHMLP(s, 5, num_cond_embs=3, verbose=False), TARGETS, 2)),
    ),
    *(
        Entry(f"HMLP-{type(function).__name__}", lambda f=function: HMLP(TARGETS, activation_fn=f, verbose=False))
        for function in (
            nn.Sigmoid(),
            nn.SiLU(),
            nn.Identity(),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.ELU(0.5),
            nn.LeakyReLU(0.2),
            nn.Softplus(2.0, 0.5),
        )
    ),
]


def is_shared(entry: Entry) -> bool:
    """Whether both halves have the network of an entry."""
    words = set(entry.name.replace("spectral-norm", "spectral").split("-"))
    return entry.name.startswith(KINDS) and not words & {*ABSENT, "table-cond", "HContainer", "HDeconv"}


SHARED = [entry for entry in [*HYPERNETWORKS, *OWN] if is_shared(entry)]


@contextmanager
def precision(double: bool) -> Iterator[None]:
    """Inside, JAX computes in double precision, or not."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", double)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def both(hnet: Any, folder: Path) -> tuple[Any, dict[str, Any]]:
    """The hypernetwork in JAX, through a folder."""
    hnet.save_pretrained(folder)
    return hj.load(folder)


def as_array(tensor: Tensor) -> jax.Array:
    """A tensor in JAX."""
    return jnp.asarray(tensor.detach().numpy())


def inputs(hnet: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of both halves that mean the same, for three conditions."""
    dtype = next(hnet.parameters()).dtype
    theirs: dict[str, Any] = {}
    if hnet._uncond_in_size:
        theirs["uncond_input"] = torch.randn(3, hnet._uncond_in_size, dtype=dtype)
    if hnet.num_known_conds:
        theirs["cond_id"] = torch.tensor([i % hnet.num_known_conds for i in (2, 0, 1)])
    elif hnet._cond_in_size:
        theirs["cond_input"] = torch.randn(3, hnet._cond_in_size, dtype=dtype)
    names = {"uncond_input": "uncond", "cond_id": "cond", "cond_input": "cond"}
    return theirs, {names[name]: value for name, value in theirs.items()}


def close(ours: Any, theirs: Tensor, double: bool) -> None:
    """Raise unless numbers of both halves agree, relative to the largest."""
    expected = theirs.detach().numpy()
    assert ours.dtype == expected.dtype
    tolerance = (1e-10 if double else 1e-5) * max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(np.asarray(ours), expected, rtol=0, atol=tolerance)

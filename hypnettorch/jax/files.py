"""Hypernetworks in folders: what ``hnet.save_pretrained`` of the PyTorch half writes, and ``from_pretrained`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import deserialize
from safetensors import numpy as safetensors

from hypnettorch.common import checks, descriptions
from hypnettorch.common.files import FileError, FilePath
from hypnettorch.jax.functional import check_params
from hypnettorch.jax.hypernetworks import OFFSET, SCALE, Spec, describe, spec_of
from hypnettorch.jax.tensors import Params


def load(folder: FilePath, given: Mapping[str, Any] | None = None, dtype: Any = None) -> tuple[Any, dict[str, Any]]:
    """Read a hypernetwork; nothing in the folder is executed.

    Args:
        folder: Where from.
        given: Functions of arrays that a file cannot hold, by the name of the argument: ``{'assembly_fct': f}``, inside
            of another hypernetwork ``{'hnet.activation_fn': f}``.
        dtype: The type to which all tensors are converted (default: they stay as they are).

    Returns:
        The spec, and the tensors by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds a hypernetwork of a kind or with an option that this half does not have, or
            double precision while JAX has it switched off.

    Example:
        >>> import tempfile
        >>> from hypnettorch.jax import HMLP, generate, init
        >>> spec = HMLP([[4, 3], [4]], num_cond_embs=2)
        >>> folder = tempfile.mkdtemp()
        >>> save(folder, spec, init(spec, jax.random.key(0)))
        >>> load(folder)[0] == spec
        True
    """
    description, blob = descriptions.read(folder)
    spec = spec_of(description, given)
    try:
        entries = dict(deserialize(blob))
        tensors = {name: _tensor(**entry) for name, entry in entries.items()}
    except Exception as error:  # whatever a damaged file makes of the reader
        raise FileError(f"{folder}: it is damaged ({error})") from error
    constants = sorted(name for name in tensors.keys() - spec.declare() if name.rpartition(".")[2] in (SCALE, OFFSET))
    spec = replace(spec, constants=tuple(constants))
    check_params(spec, tensors)
    return spec, {name: _array(name, tensor, dtype) for name, tensor in tensors.items()}


def save(folder: FilePath, spec: Spec, params: Params) -> None:
    """Write a hypernetwork, for :func:`load` and for ``from_pretrained`` of the PyTorch half.

    Args:
        folder: Where to; it is made if there is none. What it holds is replaced in one step.
        spec: What the hypernetwork is.
        params: Its tensors by name.

    Raises:
        ValueError: If the tensors are not those of the spec.
        OSError: If a file cannot be written.
    """
    check_params(spec, params)
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in params.items()}
    description = {**describe(spec), "version": descriptions.VERSION}
    descriptions.write(folder, description, lambda metadata: safetensors.save(tensors, metadata))


def _tensor(dtype: str, shape: list[int], data: bytes) -> Any:
    """An array of NumPy, also in the type ``bfloat16``, which NumPy does not have."""
    types = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": jnp.bfloat16}
    return np.frombuffer(data, types[dtype]).reshape(shape)


def _array(name: str, tensor: Any, dtype: Any) -> jax.Array:
    wanted = tensor.dtype if dtype is None else np.dtype(dtype)
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        checks.fail("dtype", f"a type that JAX has switched on (jax_enable_x64), for '{name}'", wanted)
    return jnp.asarray(tensor, wanted)

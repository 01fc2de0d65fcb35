"""Common manipulations of hypernetworks, whatever their kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.hnets.hypernetwork import HyperNetwork, check_hypernetwork


def init_conditional_embeddings(
    hnet: HyperNetwork,
    normal_mean: float = 0.0,
    normal_std: float = 1.0,
    init_fct: Callable[[Tensor, int], Any] | None = None,
) -> None:
    """Initialise the input embeddings of all conditions that a hypernetwork keeps.

    Chunk embeddings stay as they are (see :func:`init_chunk_embeddings`), and hypernetworks without internal embeddings
    are not changed; a warning says so.

    Args:
        hnet: The hypernetwork.
        normal_mean: Mean of the normal distribution from which embeddings are drawn.
        normal_std: Its standard deviation.
        init_fct: Called as ``init_fct(cond_emb, cond_id)`` instead; changes the embedding in place.

    Raises:
        NotImplementedError: If the hypernetwork does not say which of its tensors are embeddings.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> hnet = HMLP([[4, 3]], cond_in_size=2, num_cond_embs=2, verbose=False)
        >>> init_conditional_embeddings(hnet, init_fct=lambda emb, cond_id: torch.nn.init.constant_(emb, cond_id))
        >>> hnet.conditional_params[1].tolist()
        [1.0, 1.0]
    """
    check_hypernetwork("hnet", hnet)
    checks.number("normal_std", normal_std, 0)
    checks.function("init_fct", init_fct)
    if not hnet.conditional_params:
        warnings.warn("the hypernetwork keeps no conditional parameters, so no embedding is initialised", stacklevel=2)
        return
    with torch.no_grad():
        for cond_id, embedding in hnet.condition_embeddings():
            if init_fct is None:
                embedding.normal_(normal_mean, normal_std)
            else:
                init_fct(embedding, cond_id)


def init_chunk_embeddings(
    hnet: HyperNetwork, normal_mean: float = 0.0, normal_std: float = 1.0, init_fct: Callable[..., Any] | None = None
) -> None:
    """Initialise the chunk embeddings that a hypernetwork keeps; others are not changed.

    Args:
        hnet: The hypernetwork.
        normal_mean: Mean of the normal distribution from which embeddings are drawn.
        normal_std: Its standard deviation.
        init_fct: Called as ``init_fct(chunk_emb, chunk_id, cond_id=None)`` instead; changes the tensor in place.
            ``cond_id`` is the condition that the embedding belongs to, if any.
    """
    check_hypernetwork("hnet", hnet)
    checks.number("normal_std", normal_std, 0)
    checks.function("init_fct", init_fct)
    with torch.no_grad():
        for embedding, chunk_id, cond_id in hnet.chunk_embeddings():
            if init_fct is None:
                embedding.normal_(normal_mean, normal_std)
            else:
                init_fct(embedding, chunk_id, cond_id=cond_id)


def get_conditional_parameters(hnet: HyperNetwork, cond_id: int) -> list[Tensor]:
    """The parameters that belong to one condition.

    Args:
        hnet: The hypernetwork.
        cond_id: The condition.

    Returns:
        A part of ``hnet.conditional_params``: the input embedding, then what else the condition has, as chunk
        embeddings. Empty, with a warning, if conditional parameters are not internal.

    Raises:
        ValueError: If there is no such condition.
        NotImplementedError: If the hypernetwork does not say which parameters belong to which condition.
    """
    check_hypernetwork("hnet", hnet)
    if not hnet.conditional_params:
        warnings.warn("the hypernetwork keeps no conditional parameters", stacklevel=2)
        return []
    return list(hnet.parameters_of_condition(checks.integer("cond_id", cond_id, 0, hnet.num_known_conds - 1)))

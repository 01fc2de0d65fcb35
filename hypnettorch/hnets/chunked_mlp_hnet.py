"""The chunked hypernetwork: one small network, called once per chunk, produces all weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from hypnettorch.hnets import initialization
from hypnettorch.hnets.chunked_hypernetwork import ChunkedHyperNetwork
from hypnettorch.hnets.mlp_hnet import HMLP


class ChunkedHMLP(ChunkedHyperNetwork):
    """Chunk ``j`` of the flat weights is ``h([u, c_j, e])`` with one :class:`HMLP` ``h`` for all chunks.

    ``u`` is the unconditional input, ``c_j`` the embedding of the chunk and ``e`` the conditional input. All chunks of
    all conditions are one batch of ``h``; what the last chunk has too much is cut off. Parameters are published in the
    order of ``h``, then the chunk embeddings ``[num_chunks, chunk_emb_size]``: one matrix, or one per condition.

    Args:
        target_shapes: Shapes of the tensors to produce.
        chunk_size: Number of weights that one chunk holds.
        chunk_emb_size: Size of a chunk embedding; they are drawn from N(0, 1).
        cond_chunk_embs: Whether each condition has its own chunk embeddings; then both inputs may have size 0.
        uncond_in_size: See :class:`HMLP`, as all that follows.
        cond_in_size: Size of the conditional input.
        layers: Sizes of the hidden layers.
        verbose: Whether to print a line about the network.
        activation_fn: Nonlinearity of the hidden layers.
        use_bias: Whether the layers have bias vectors.
        no_uncond_weights: Whether the parameters that all conditions share are external.
        no_cond_weights: Whether the parameters of single conditions are external.
        num_cond_embs: Number of conditions.
        dropout_rate: Probability of dropping a hidden unit; -1 for no dropout.
        use_spectral_norm: Divide each weight matrix by its largest singular value.
        use_batch_norm: Whether hidden layers are batch-normalised, over chunks and conditions together.
        embedding_table: Whether the embeddings of all conditions are one parameter, see :class:`HMLP`; so are chunk
            embeddings that belong to conditions.

    Raises:
        ValueError: If a size or rate is out of range, or there is no input that tells conditions apart.
        TypeError: If an argument has the wrong type.

    Example:
        >>> hnet = ChunkedHMLP([[10, 5], [10]], chunk_size=16, num_cond_embs=3, verbose=False)
        >>> hnet.num_chunks, [tuple(w.shape) for w in hnet(cond_id=0)]
        (4, [(10, 5), (10,)])
    """

    hnet: HMLP

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        chunk_size: int,
        chunk_emb_size: int = 8,
        cond_chunk_embs: bool = False,
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        layers: Sequence[int] = (100, 100),
        verbose: bool = True,
        activation_fn: Callable[[Tensor], Tensor] | None = nn.ReLU(),
        use_bias: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        dropout_rate: float = -1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        embedding_table: bool = False,
    ) -> None:
        inner = partial(
            HMLP,
            layers=layers,
            activation_fn=activation_fn,
            use_bias=use_bias,
            dropout_rate=dropout_rate,
            use_spectral_norm=use_spectral_norm,
            use_batch_norm=use_batch_norm,
        )
        super().__init__(
            target_shapes,
            inner,
            chunk_size,
            chunk_emb_size,
            cond_chunk_embs,
            uncond_in_size,
            cond_in_size,
            verbose,
            no_uncond_weights,
            no_cond_weights,
            num_cond_embs,
            embedding_table,
        )

    def apply_chunked_hyperfan_init(
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float | None = 1.0,
        eps: float = 1e-5,
        cemb_normal_init: bool = False,
        mnet: Any = None,
        target_vars: Any = None,
        cond_input: Tensor | None = None,
        uncond_input: Tensor | None = None,
    ) -> None:
        """Initialise such that each chunk has, on average, the variance of an ordinary initialisation.

        The output layer is shared by all chunks, so the variance of the chunk embeddings is what tells them apart. With
        a :class:`~hypnettorch.mnets.module_net.ModuleNet` as ``mnet``, constants give each single tensor its variance,
        and normalisation scales the value 1. The mathematics stand in
        :func:`hypnettorch.hnets.initialization.apply_chunked_hyperfan_init`.

        Args:
            method: ``'in'``, ``'out'`` or ``'harmonic'``, see :meth:`HMLP.apply_hyperfan_init`.
            use_xavier: Xavier instead of Kaiming initialisation.
            uncond_var: Mean square of an entry of the unconditional input: its variance, if its mean is 0.
            cond_var: Mean square of an entry of the conditional input. ``None`` takes half of the largest variance for
                which no chunk needs a negative one (with a ``ModuleNet`` 1), and rescales the internal embeddings to
                it.
            eps: Smallest variance of a chunk embedding (without effect with a ``ModuleNet``).
            cemb_normal_init: Draw chunk embeddings from a normal instead of a uniform distribution.
            mnet: The main network, see :meth:`HMLP.apply_hyperfan_init`.
            target_vars: Variances of the targets: a list (``None`` for the default) or a dictionary by ``name`` of
                ``param_shapes_meta``.
            cond_input: Samples of the conditional input, whose mean square replaces ``cond_var``.
            uncond_input: Samples of the unconditional input, whose mean square replaces ``uncond_var``.

        Raises:
            ValueError: If an argument is wrong or parameters are external.
            RuntimeError: If the network uses batch norm (the class is a ``ValueError`` as well).
        """
        if uncond_input is not None:
            uncond_var = float(uncond_input.detach().square().mean())
        if cond_input is not None:
            cond_var = float(cond_input.detach().square().mean())
        plan = initialization.checked_plan(method, use_xavier, uncond_var, 0.0 if cond_var is None else cond_var)
        initialization.apply_chunked_hyperfan_init(self, plan, cond_var, eps, cemb_normal_init, mnet, target_vars)

"""The chunked hypernetwork: one small network, called once per chunk, produces all weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.hnets import chunked_hyperfan
from hypnettorch.hnets.hypernetwork import EMBEDDING, HyperNetwork, Inputs
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.stages import Run

CHUNKS = "chunk_embs"
"""The kind of conditional tensor that holds chunk embeddings, and its key in ``weights``."""


class ChunkedHMLP(HyperNetwork):
    """Chunk ``j`` of the flat weights is ``h([u, c_j, e])`` with one :class:`HMLP` ``h`` for all chunks.

    ``u`` is the unconditional input, ``c_j`` the embedding of the chunk and ``e`` the conditional input. All chunks of all
    conditions are one batch of ``h``; what the last chunk has too much is cut off. Parameters are published in the order
    of ``h``, then the chunk embeddings ``[num_chunks, chunk_emb_size]``: one matrix, or one per condition.

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

    Raises:
        ValueError: If a size or rate is out of range, or there is no input that tells conditions apart.
        TypeError: If an argument has the wrong type.

    Example:
        >>> hnet = ChunkedHMLP([[10, 5], [10]], chunk_size=16, num_cond_embs=3, verbose=False)
        >>> hnet.num_chunks, [tuple(w.shape) for w in hnet(cond_id=0)]
        (4, [(10, 5), (10,)])
    """

    _cond_keys = (CHUNKS,)

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
    ) -> None:
        super().__init__(target_shapes, uncond_in_size, cond_in_size)
        self._chunk_size = checks.integer("chunk_size", chunk_size, 1)
        self._chunk_emb_size = checks.integer("chunk_emb_size", chunk_emb_size, 1)
        self._cond_chunk_embs = cond_chunk_embs
        self._no_cond_weights = no_cond_weights
        num_cond_embs = checks.integer("num_cond_embs", num_cond_embs, 0)
        if cond_chunk_embs and num_cond_embs == 0:
            checks.fail("num_cond_embs", "at least one condition, since cond_chunk_embs is set", 0)
        if not cond_chunk_embs and self._uncond_in_size + self._cond_in_size == 0:
            checks.fail("cond_in_size", "an input, or cond_chunk_embs=True", "no input at all")
        self._hnet = HMLP(
            [[self._chunk_size]],
            uncond_in_size=self._uncond_in_size + self._chunk_emb_size,
            cond_in_size=self._cond_in_size,
            layers=layers,
            verbose=False,
            activation_fn=activation_fn,
            use_bias=use_bias,
            no_uncond_weights=no_uncond_weights,
            no_cond_weights=no_cond_weights,
            num_cond_embs=num_cond_embs if self._cond_in_size > 0 else 0,
            dropout_rate=dropout_rate,
            use_spectral_norm=use_spectral_norm,
            use_batch_norm=use_batch_norm,
        )
        self._batchnorm_layers = self._hnet.batchnorm_layers
        self._has_bias, self._mask_fc_out = self._hnet.has_bias, False
        self._has_fc_out = self._has_linear_out = True

        self._inner = self._include(self._hnet)
        if not cond_chunk_embs:
            self._chunk_slot = self._table.add(
                [self.num_chunks, self._chunk_emb_size],
                "embedding",
                0,
                init=nn.init.normal_,
                external=no_uncond_weights,
                block=1,
                extra={"info": "chunk embeddings"},
            )
        for condition in range(num_cond_embs):
            self._declare_condition(condition)
        self._num_known_conds = num_cond_embs if cond_chunk_embs else self._hnet.num_known_conds
        self._publish()
        if verbose:
            print(self)

    def _declare_condition(self, condition: int) -> None:
        if self._cond_chunk_embs:
            self._add_conditional(
                CHUNKS,
                [self.num_chunks, self._chunk_emb_size],
                condition,
                self._no_cond_weights,
                block=1,
                info="chunk embeddings",
            )

    def _generate(self, given: Inputs, run: Run) -> Tensor:
        chunks = given.cond.get(CHUNKS, None if self._cond_chunk_embs else run.values[self._chunk_slot])
        rows = self._join_chunks(given.uncond, chunks, given.cond.get(EMBEDDING))
        flat = self._hnet._map(rows.flatten(-3, -2), run.part(self._inner))
        return flat.reshape(*rows.shape[:-2], -1)[..., : self.num_outputs]

    def _join_chunks(self, uncond: Tensor | None, chunks: Tensor, cond: Tensor | None) -> Tensor:
        """The inputs ``[..., N, num_chunks, in]`` of all chunks: ``[u, c_j, e]``."""
        inputs = [part for part in (uncond, cond) if part is not None]
        if not self._cond_chunk_embs:
            if chunks.dim() > 2:  # [B, num_chunks, e] of many parameter sets
                chunks = chunks.unsqueeze(-3)
            chunks = chunks.expand(*inputs[0].shape[:-1], *chunks.shape[-2:])
        lead = chunks.shape[:-1]
        parts = [
            part if part is chunks else part.unsqueeze(-2).expand(*lead, part.shape[-1])
            for part in (uncond, chunks, cond)
            if part is not None
        ]
        return torch.cat(parts, dim=-1)

    def _check_inputs(self, given: Inputs) -> None:
        super()._check_inputs(given)
        chunks = given.cond.get(CHUNKS)
        if not self._cond_chunk_embs:
            if chunks is not None:
                checks.fail("weights['chunk_embs']", "no such key, since chunk embeddings are unconditional", "a tensor")
        elif chunks is None:
            checks.fail(
                "weights", "the key 'chunk_embs' with tensors [N, num_chunks, chunk_emb_size], or cond_id", "neither"
            )
        elif tuple(chunks.shape[-2:]) != (self.num_chunks, self._chunk_emb_size):
            expected = f"shape (N, {self.num_chunks}, {self._chunk_emb_size})"
            checks.fail("weights['chunk_embs']", expected, tuple(chunks.shape))

    @property
    def num_chunks(self) -> int:
        """Number of chunks that make up the output, and of chunk embeddings."""
        return math.ceil(self.num_outputs / self._chunk_size)

    @property
    def chunk_emb_size(self) -> int:
        """Size of a chunk embedding."""
        return self._chunk_emb_size

    @property
    def cond_chunk_embs(self) -> bool:
        """Whether each condition has its own chunk embeddings."""
        return self._cond_chunk_embs

    def distillation_targets(self) -> list[Tensor] | None:
        """What the internal :class:`HMLP` has to distil: ``None``."""
        return self._hnet.distillation_targets()

    def get_cond_in_emb(self, cond_id: int) -> nn.Parameter:
        """The input embedding of a condition, see :meth:`HMLP.get_cond_in_emb`."""
        return self._hnet.get_cond_in_emb(cond_id)

    def get_chunk_emb(self, chunk_id: int | None = None, cond_id: int | None = None) -> Tensor:
        """Chunk embeddings.

        Args:
            chunk_id: Which chunk; all of them by default.
            cond_id: Which condition; required if and only if each condition has its own.

        Returns:
            The parameter ``[num_chunks, chunk_emb_size]``, or a view ``[chunk_emb_size]`` of one row.

        Raises:
            RuntimeError: If ``cond_id`` is missing or superfluous, or the embeddings are not internal (the class is a
                ``ValueError`` as well).
            ValueError: If there is no such chunk.
        """
        if self._cond_chunk_embs != (cond_id is not None):
            wanted = "a condition" if self._cond_chunk_embs else "None, since chunk embeddings are unconditional"
            raise checks.StateError(f"cond_id: expected {wanted}, got {cond_id}")
        if self._cond_chunk_embs:
            embeddings = self._conditional_param(CHUNKS, cond_id)
        else:
            found = self._values_by_slot().get(self._chunk_slot)
            if found is None:
                raise checks.StateError("get_chunk_emb: expected internal chunk embeddings, got external ones")
            embeddings = found
        if chunk_id is None:
            return embeddings
        return embeddings[checks.integer("chunk_id", chunk_id, 0, self.num_chunks - 1)]

    def chunk_embeddings(self) -> Iterator[tuple[Tensor, int, int | None]]:
        """Internal chunk embeddings, row by row, with the ids of chunk and condition."""
        values = self._values_by_slot()
        slots = enumerate(self._conditional[CHUNKS]) if self._cond_chunk_embs else [(None, self._chunk_slot)]
        for condition, slot in slots:
            for chunk, row in enumerate(values.get(slot, ())):
                yield row, chunk, condition

    def apply_chunked_hyperfan_init(
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float | None = 1.0,
        eps: float = 1e-5,
        cemb_normal_init: bool = False,
        mnet: MainNetInterface | None = None,
        target_vars: Any = None,
    ) -> None:
        """Initialise such that each chunk has, on average, the variance of an ordinary initialisation.

        The output layer is shared by all chunks, so the variance of the chunk embeddings is what tells them apart; the
        mathematics stand in :mod:`hypnettorch.hnets.chunked_hyperfan`.

        Args:
            method: ``'in'``, ``'out'`` or ``'harmonic'``, see :meth:`HMLP.apply_hyperfan_init`.
            use_xavier: Xavier instead of Kaiming initialisation.
            uncond_var: Variance of the unconditional input.
            cond_var: Variance of the conditional input. ``None`` takes half of the largest variance for which no chunk
                needs a negative one, and rescales the internal embeddings to it.
            eps: Smallest variance of a chunk embedding.
            cemb_normal_init: Draw chunk embeddings from a normal instead of a uniform distribution.
            mnet: The main network, see :meth:`HMLP.apply_hyperfan_init`.
            target_vars: Variances of the targets: a list (``None`` for the default) or a dictionary by ``name`` of
                ``param_shapes_meta``.

        Raises:
            ValueError: If an argument is wrong or parameters are external.
            RuntimeError: If the network uses batch norm (the class is a ``ValueError`` as well).
        """
        chunked_hyperfan.initialize(
            self, method, use_xavier, uncond_var, cond_var, eps, cemb_normal_init, mnet, target_vars
        )

"""What chunked hypernetworks share: an inner hypernetwork that is called once per chunk of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.core import checks
from hypnettorch.hnets import hyperfan, inputs
from hypnettorch.hnets.calibrated_output import CalibratedOutput
from hypnettorch.hnets.conditional_network import EMBEDDING
from hypnettorch.hnets.full_hypernetwork import FullHyperNetwork
from hypnettorch.hnets.old_hypernetwork import Inputs
from hypnettorch.hnets.targets import Plan
from hypnettorch.mnets.old_stages import Run

CHUNKS = "chunk_embs"
"""The kind of conditional tensor that holds chunk embeddings, and its key in ``weights``."""

RECOMPUTED_BLOCK = 2**21
"""Number of weights that are computed again at once: 8 MiB in single precision."""


class ChunkedHyperNetwork(CalibratedOutput):
    """Chunk ``j`` of the flat weights is ``h([u, c_j, e])`` with one inner hypernetwork ``h`` for all chunks.

    ``u`` is the unconditional input, ``c_j`` the embedding of the chunk and ``e`` the conditional input. All chunks of
    all conditions are one batch of ``h``; what the last chunk has too much is cut off. Parameters are published in the
    order of ``h``, then the chunk embeddings ``[num_chunks, chunk_emb_size]``: one matrix, or one per condition.

    Args:
        target_shapes: Shapes of the tensors to produce.
        make_inner: Makes ``h`` from target shapes and the keywords that all full hypernetworks understand.
        chunk_size: Number of weights that one chunk holds.
        chunk_emb_size: Size of a chunk embedding; they are drawn from N(0, 1).
        cond_chunk_embs: Whether each condition has its own chunk embeddings; then both inputs may have size 0.
        uncond_in_size: Size of the unconditional input.
        cond_in_size: Size of the conditional input.
        verbose: Whether to print a line about the network.
        no_uncond_weights: Whether the parameters that all conditions share are external.
        no_cond_weights: Whether the parameters of single conditions are external.
        num_cond_embs: Number of conditions.
    """

    _cond_keys = (CHUNKS,)

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        make_inner: Callable[..., FullHyperNetwork],
        chunk_size: int,
        chunk_emb_size: int,
        cond_chunk_embs: bool,
        uncond_in_size: int,
        cond_in_size: int,
        verbose: bool,
        no_uncond_weights: bool,
        no_cond_weights: bool,
        num_cond_embs: int,
    ) -> None:
        super().__init__(target_shapes, uncond_in_size, cond_in_size)
        self._chunk_size = checks.integer("chunk_size", chunk_size, 1)
        self._chunk_emb_size = checks.integer("chunk_emb_size", chunk_emb_size, 1)
        self._cond_chunk_embs = cond_chunk_embs
        self._recompute_chunks = False
        self._no_cond_weights = no_cond_weights
        self._num_chunks = math.ceil(self.num_outputs / self._chunk_size)
        num_cond_embs = checks.integer("num_cond_embs", num_cond_embs, 0)
        if cond_chunk_embs and num_cond_embs == 0:
            checks.fail("num_cond_embs", "at least one condition, since cond_chunk_embs is set", 0)
        if not cond_chunk_embs and self._uncond_in_size + self._cond_in_size == 0:
            checks.fail("cond_in_size", "an input, or cond_chunk_embs=True", "no input at all")
        self._hnet = make_inner(
            [[self._chunk_size]],
            uncond_in_size=self._uncond_in_size + self._chunk_emb_size,
            cond_in_size=self._cond_in_size,
            verbose=False,
            no_uncond_weights=no_uncond_weights,
            no_cond_weights=no_cond_weights,
            num_cond_embs=num_cond_embs if self._cond_in_size > 0 else 0,
        )
        self._has_bias, self._mask_fc_out = self._hnet.has_bias, False
        self._has_fc_out, self._has_linear_out = self._hnet.has_fc_out, self._hnet.has_linear_out

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
        rows, inner = self._chunk_inputs(given, run), self._inner.part(run)
        if self._recompute_chunks:
            return self._calibrate(self._generate_in_blocks(rows, inner))
        return self._calibrate(self._generate_chunks(rows, self.num_chunks, inner))

    def _generate_chunks(self, rows: Tensor, count: int, inner: Run) -> Tensor:
        """Flat weights ``[..., N, count · chunk_size]`` of ``count`` chunks from inputs ``[..., N · count, size]``."""
        chunks: Tensor = self._inner.network._generate(Inputs(rows), inner)
        return chunks.reshape(*rows.shape[:-2], -1, count * self._chunk_size)

    def _generate_in_blocks(self, rows: Tensor, inner: Run) -> Tensor:
        """The same for all chunks, of which the backward pass computes a block at a time again."""
        size = max(1, RECOMPUTED_BLOCK // self._chunk_size)
        blocks, left = [], self.num_outputs
        for block in rows.unflatten(-2, (-1, self.num_chunks)).split(size, dim=-2):
            generate = partial(self._generate_chunks, count=block.shape[-2], inner=inner)
            flat = checkpoint(generate, block.flatten(-3, -2), use_reentrant=False)
            blocks.append(flat[..., :left])
            left -= flat.shape[-1]
        return torch.cat(blocks, dim=-1)

    def _chunk_inputs(self, given: Inputs, run: Run) -> Tensor:
        """The inputs ``[..., N · num_chunks, size]`` of the inner hypernetwork for all chunks of all conditions."""
        chunks = given.cond.get(CHUNKS, None if self._cond_chunk_embs else run.values[self._chunk_slot])
        return inputs.chunk_rows(given.uncond, chunks, given.cond.get(EMBEDDING), not self._cond_chunk_embs)

    def _inputs(self, plan: Plan) -> hyperfan.Inputs:
        """The inputs of the inner network, with chunk embeddings of variance 1."""
        own = hyperfan.Inputs(self._uncond_in_size, plan.uncond_var, self._chunk_emb_size, 1.0)
        size = self._uncond_in_size + self._chunk_emb_size
        return hyperfan.Inputs(size, own.variance, self._cond_in_size, plan.cond_var)

    def _draw_chunk_embeddings(self, normal: bool = True) -> None:
        """Draw internal chunk embeddings from N(0, 1), or from the uniform distribution of this variance."""
        values = self._values_by_slot()
        for slot in self._conditional[CHUNKS] if self._cond_chunk_embs else [self._chunk_slot]:
            if slot in values:
                nn.init.normal_(values[slot]) if normal else hyperfan.fill_uniform(values[slot], 0.0, 1.0)

    def _check_inputs(self, given: Inputs) -> None:
        super()._check_inputs(given)
        chunks = given.cond.get(CHUNKS)
        if not self._cond_chunk_embs:
            if chunks is not None:
                checks.fail(
                    "weights['chunk_embs']", "no such key, since chunk embeddings are unconditional", "a tensor"
                )
        elif chunks is None:
            checks.fail(
                "weights", "the key 'chunk_embs' with tensors [N, num_chunks, chunk_emb_size], or cond_id", "neither"
            )
        elif tuple(chunks.shape[-2:]) != (self.num_chunks, self._chunk_emb_size):
            expected = f"shape (N, {self.num_chunks}, {self._chunk_emb_size})"
            checks.fail("weights['chunk_embs']", expected, tuple(chunks.shape))

    @property
    def recompute_chunks(self) -> bool:
        """Whether the backward pass computes hidden activations again instead of keeping them, a block at a time.

        With small chunks the activations of all chunks take more memory than the weights that they produce. Setting
        this trades it for a second forward pass of the generator; results and gradients are the same. It cannot be
        combined with batch norm, which would see parts of its batch, nor with the transforms of ``torch.func``.
        """
        return self._recompute_chunks

    @recompute_chunks.setter
    def recompute_chunks(self, value: bool) -> None:
        checks.flag("recompute_chunks", value)
        if value and self.batchnorm_layers:
            raise checks.StateError("recompute_chunks: expected a network without batch norm, got one with it")
        self._recompute_chunks = value

    @property
    def num_chunks(self) -> int:
        """Number of chunks that make up the output, and of chunk embeddings."""
        return self._num_chunks

    @property
    def chunk_emb_size(self) -> int:
        """Size of a chunk embedding."""
        return self._chunk_emb_size

    @property
    def cond_chunk_embs(self) -> bool:
        """Whether each condition has its own chunk embeddings."""
        return self._cond_chunk_embs

    def distillation_targets(self) -> list[Tensor] | None:
        """What the inner hypernetwork has to distil: ``None``."""
        return self._hnet.distillation_targets()

    def get_cond_in_emb(self, cond_id: int) -> nn.Parameter:
        """The input embedding of a condition, see :meth:`FullHyperNetwork.get_cond_in_emb`."""
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

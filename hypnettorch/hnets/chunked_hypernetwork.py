"""What chunked hypernetworks share: an inner hypernetwork that is called once per chunk of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.hnets import initialization, inputs, output_constants
from hypnettorch.hnets.hypernetwork import HyperNetwork, Produced, Request
from hypnettorch.hnets.initialization import Destinations, Plan

CHUNKS = "chunk_embs"
"""The kind of conditional tensor that holds chunk embeddings, and its key in ``weights``."""

SHARED = f"{CHUNKS}.weight"
"""The name of chunk embeddings that all conditions share."""

RECOMPUTED_BLOCK = 2**21
"""Number of weights that are computed again at once: 8 MiB in single precision."""


class ChunkedHyperNetwork(HyperNetwork):
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
        embedding_table: Whether the embeddings of all conditions are one parameter, see :class:`HMLP
            <hypnettorch.hnets.mlp_hnet.HMLP>`; so are chunk embeddings that belong to conditions.

    Attributes:
        hnet: ``h``.
    """

    hnet: Any

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        make_inner: Callable[..., HyperNetwork],
        chunk_size: int,
        chunk_emb_size: int,
        cond_chunk_embs: bool,
        uncond_in_size: int,
        cond_in_size: int,
        verbose: bool,
        no_uncond_weights: bool,
        no_cond_weights: bool,
        num_cond_embs: int,
        embedding_table: bool,
    ) -> None:
        super().__init__(target_shapes, uncond_in_size, cond_in_size)
        self._chunk_size = checks.integer("chunk_size", chunk_size, 1)
        self._chunk_emb_size = checks.integer("chunk_emb_size", chunk_emb_size, 1)
        self._cond_chunk_embs = cond_chunk_embs
        self._recompute_chunks = False
        self._no_uncond_weights, self._no_cond_weights = no_uncond_weights, no_cond_weights
        self._num_chunks = math.ceil(self.num_outputs / self._chunk_size)
        num_cond_embs = checks.integer("num_cond_embs", num_cond_embs, 0)
        checks.flag("embedding_table", embedding_table)
        if cond_chunk_embs and num_cond_embs == 0:
            checks.fail("num_cond_embs", "at least one condition, since cond_chunk_embs is set", 0)
        if not cond_chunk_embs and self._uncond_in_size + self._cond_in_size == 0:
            checks.fail("cond_in_size", "an input, or cond_chunk_embs=True", "no input at all")
        inner = make_inner(
            [[self._chunk_size]],
            uncond_in_size=self._uncond_in_size + self._chunk_emb_size,
            cond_in_size=self._cond_in_size,
            verbose=False,
            no_uncond_weights=no_uncond_weights,
            no_cond_weights=no_cond_weights,
            num_cond_embs=num_cond_embs if self._cond_in_size > 0 else 0,
            embedding_table=embedding_table,
        )
        self._has_bias, self._mask_fc_out = inner.has_bias, False
        self._has_fc_out, self._has_linear_out = inner.has_fc_out, inner.has_linear_out
        self.include("hnet", inner)
        shape, info = [self._num_chunks, self._chunk_emb_size], "chunk embeddings"
        if cond_chunk_embs:
            options: dict[str, Any] = {"external": no_cond_weights, "table": embedding_table}
            self.per_condition(CHUNKS, shape, num_cond_embs, block=1, info=info, **options)
        else:
            init = nn.init.normal_
            self.declare(SHARED, shape, "embedding", 0, init=init, external=no_uncond_weights, block=1, info=info)
            self._num_known_conds = inner.num_known_conds
        if verbose:
            print(self)

    def generate(self, request: Request, values: Values) -> Tensor:
        """The equation."""
        rows, inner = self.chunk_inputs(request, values), values.part("hnet")
        if self._recompute_chunks:
            return self._generate_in_blocks(rows, inner)
        return self._generate_chunks(rows, self._num_chunks, inner)

    def chunk_inputs(self, request: Request, values: Values) -> Tensor:
        """The inputs ``[..., N · num_chunks, size]`` of the inner network for all chunks of all conditions."""
        chunks = request.given[CHUNKS] if self._cond_chunk_embs else values[SHARED]
        return inputs.chunk_rows(request.uncond, chunks, request.cond, not self._cond_chunk_embs)

    def _generate_chunks(self, rows: Tensor, count: int, inner: Values) -> Tensor:
        """Flat weights ``[..., N, count · chunk_size]`` of ``count`` chunks from inputs ``[..., N · count, size]``."""
        chunks = generate_from_rows(self.hnet, rows, inner).flat
        return chunks.reshape(*rows.shape[:-2], rows.shape[-2] // count, count * self._chunk_size)

    def _generate_in_blocks(self, rows: Tensor, inner: Values) -> Tensor:
        """The same for all chunks, of which the backward pass computes a block at a time again."""
        size = max(1, RECOMPUTED_BLOCK // self._chunk_size)
        blocks, left = [], self.num_outputs
        for block in rows.unflatten(-2, (-1, self._num_chunks)).split(size, dim=-2):
            generate = partial(self._generate_chunks, count=block.shape[-2], inner=inner)
            flat = checkpoint(generate, block.flatten(-3, -2), use_reentrant=False)
            blocks.append(flat[..., :left])
            left -= flat.shape[-1]
        return torch.cat(blocks, dim=-1)

    def conditions(self, ids: inputs.Ids, values: Values) -> dict[str, Any]:
        """The embeddings of the inner network, and chunk embeddings if they belong to conditions."""
        return {**self.hnet.conditions(ids, values.part("hnet")), **super().conditions(ids, values)}

    def check_given(self, given: Mapping[str, Any]) -> None:
        """Chunk embeddings can be given if they belong to conditions."""
        if not self._cond_chunk_embs:
            refuse_chunks(given)
        super().check_given(given)

    def check_inputs(self, request: Request) -> None:
        """Check the width of each input, and the shape of chunk embeddings that are given."""
        super().check_inputs(request)
        if not self._cond_chunk_embs:
            return
        chunks = request.given.get(CHUNKS)
        if chunks is None:
            checks.fail(
                "weights", "the key 'chunk_embs' with tensors [N, num_chunks, chunk_emb_size], or cond_id", "neither"
            )
        if tuple(chunks.shape[-2:]) != (self._num_chunks, self._chunk_emb_size):
            expected = f"shape (N, {self._num_chunks}, {self._chunk_emb_size})"
            checks.fail("weights['chunk_embs']", expected, tuple(chunks.shape))

    def start_at(self, destinations: Destinations, plan: Plan) -> None:
        """Initialise for the targets: constants give each its variance."""
        self.start_chunks(destinations, plan)

    def start_chunks(self, destinations: Destinations, plan: Plan, normal: bool = True) -> None:
        """The same with a choice of the distribution of chunk embeddings, which a calibrated start leaves as they are.

        Args:
            destinations: Where each target ends up.
            plan: Which start is wanted.
            normal: Whether to draw chunk embeddings from N(0, 1), otherwise from the uniform distribution of
                variance 1.
        """
        initialization.check_internal(self.hnet)
        if not plan.calibrated:
            self.draw_chunk_embeddings(normal)
        plan = plan.looked_up(self)
        moments = self.hnet.draw(self._plan_of_chunks(plan))
        if len(moments) > 1:
            moments = moments.repeat(self.num_chunks)[: self.num_outputs]
        initialization.settle(self, destinations, plan, moments)

    def scale_output(self, factor: float) -> None:
        """Multiply what the inner network produces."""
        self.hnet.scale_output(factor)

    def _plan_of_chunks(self, plan: Plan) -> Plan:
        """The plan for the inner network, of which chunk embeddings of variance 1 are inputs, too."""
        if plan.samples is None:
            size = self._uncond_in_size + self._chunk_emb_size
            return replace(plan, uncond_var=(self._uncond_in_size * plan.uncond_var + self._chunk_emb_size) / size)
        request, values = plan.samples
        rows = Request(self.chunk_inputs(request, values))
        return plan.within(initialization.rows_of(rows, initialization.ROWS), values.part("hnet"))

    def draw_chunk_embeddings(self, normal: bool = True, variances: Tensor | None = None) -> None:
        """Draw internal chunk embeddings.

        Args:
            normal: Whether from N(0, variance), otherwise from the uniform distribution of this variance.
            variances: The variance of each chunk ``[num_chunks]`` (default: 1).
        """
        for _, embeddings in self._held_chunks():
            nn.init.normal_(embeddings) if normal else initialization.fill_uniform(embeddings, 0.0, 1.0)
            if variances is not None:
                with torch.no_grad():
                    embeddings.mul_(variances.sqrt().unsqueeze(1).to(embeddings))

    def _held_chunks(self) -> Iterator[tuple[int | None, Tensor]]:
        """Internal chunk embeddings ``[num_chunks, chunk_emb_size]``, with the condition that they belong to."""
        if self._cond_chunk_embs:
            yield from ((condition, embeddings) for condition, embeddings, _ in self._held(CHUNKS))
        elif not self._no_uncond_weights:
            yield None, self.table.by_name[SHARED].value()

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
        targets: list[Tensor] | None = self.hnet.distillation_targets()
        return targets

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
            embeddings = self.conditional_tensors(CHUNKS, cond_id)[0]
        elif self._no_uncond_weights:
            raise checks.StateError("get_chunk_emb: expected internal chunk embeddings, got external ones")
        else:
            embeddings = self.table.by_name[SHARED].value()
        if chunk_id is None:
            return embeddings
        return embeddings[checks.integer("chunk_id", chunk_id, 0, self.num_chunks - 1)]

    def chunk_embeddings(self) -> Iterator[tuple[Tensor, int, int | None]]:
        """Internal chunk embeddings, row by row, with the ids of chunk and condition."""
        for condition, embeddings in self._held_chunks():
            yield from ((row, chunk, condition) for chunk, row in enumerate(embeddings))


def generate_from_rows(network: HyperNetwork, rows: Tensor, values: Values) -> Produced:
    """What a network produces from inputs that are concatenated already.

    Args:
        network: A network that computes with ``[u, e]``.
        rows: ``[..., N, sum of the sizes of its inputs]``.
        values: The evaluation as this network sees it.
    """
    produced = network.generate(Request(rows), values)
    return Produced(output_constants.apply(network, produced), network.target_shapes)


def refuse_chunks(given: Mapping[str, Any]) -> None:
    """Raise if chunk embeddings are given to a network in which all conditions share them."""
    if CHUNKS in given:
        checks.fail("weights['chunk_embs']", "no such key, since chunk embeddings are unconditional", "tensors")

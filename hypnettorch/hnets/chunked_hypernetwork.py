"""What chunked hypernetworks share: an inner hypernetwork that is called once per chunk of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.core import checks
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import initialization, inputs, output_constants
from hypnettorch.hnets.hypernetwork import HyperNetwork, Request
from hypnettorch.hnets.initialization import Plan

CHUNKS = "chunk_embs"
"""The kind of conditional tensor that holds chunk embeddings, and its key in ``weights``."""

SHARED = f"{CHUNKS}.weight"
"""The name of chunk embeddings that all conditions share."""

SHARED_OPTIONS = ("no_uncond_weights", "no_cond_weights", "num_cond_embs", "embedding_table")

RECOMPUTED_BLOCK = 2**21
"""Number of weights that are computed again at once: 8 MiB in single precision."""


class ChunkedHyperNetwork(HyperNetwork):
    """Chunk ``j`` of the flat weights is ``h([u, c_j, e])`` with one inner hypernetwork ``h`` for all chunks.

    ``u`` is the unconditional input, ``c_j`` the embedding of the chunk and ``e`` the conditional input. All chunks of
    all conditions are one batch of ``h``; what the last chunk has too much is cut off. Parameters are published in the
    order of ``h``, then the chunk embeddings ``[num_chunks, chunk_emb_size]``: one matrix, or one per condition.

    Args:
        target_shapes: Shapes of the tensors to produce.
        inner: The class of ``h``.
        chunk_size: Number of weights that one chunk holds.
        chunk_emb_size: Size of a chunk embedding; they are drawn from N(0, 1).
        cond_chunk_embs: Whether each condition has its own chunk embeddings; then both inputs may have size 0.
        options: The options of ``h``, of which those that hypernetworks share are those of this network.

    Attributes:
        hnet: ``h``.
    """

    hnet: Any

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        inner: Callable[..., HyperNetwork],
        chunk_size: int,
        chunk_emb_size: int,
        cond_chunk_embs: bool,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(target_shapes, options["uncond_in_size"], options["cond_in_size"])
        self.set_options(*(options[name] for name in SHARED_OPTIONS))
        self._chunk_size = checks.integer("chunk_size", chunk_size, 1)
        self._chunk_emb_size = checks.integer("chunk_emb_size", chunk_emb_size, 1)
        self._cond_chunk_embs = cond_chunk_embs
        self._recompute_chunks = False
        self._num_chunks = math.ceil(self.num_outputs / self._chunk_size)
        if cond_chunk_embs and self._num_first_conds == 0:
            checks.fail("num_cond_embs", "at least one condition, since cond_chunk_embs is set", 0)
        if not cond_chunk_embs and self._uncond_in_size + self._cond_in_size == 0:
            checks.fail("cond_in_size", "an input, or cond_chunk_embs=True", "no input at all")
        hnet = inner([[self._chunk_size]], **{**options, **options_of_part(self, self._chunk_emb_size, True)})
        self._has_bias, self._mask_fc_out, self._output_layers = hnet.has_bias, False, hnet._output_layers
        self._has_fc_out, self._has_linear_out = hnet.has_fc_out, hnet.has_linear_out
        self.include("hnet", hnet)
        look_up_in(self, "hnet")
        shape, info = [self._num_chunks, self._chunk_emb_size], "chunk embeddings"
        if cond_chunk_embs:
            own: dict[str, Any] = {"external": self._no_cond_weights, "table": self._embedding_table}
            self.per_condition(CHUNKS, shape, self._num_first_conds, block=1, info=info, **own)
        else:
            own = {"init": nn.init.normal_, "external": self._no_uncond_weights}
            self.declare(SHARED, shape, "embedding", 0, block=1, info=info, **own)
            self._num_known_conds = hnet.num_known_conds
        if options["verbose"]:
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
        hnet = self.hnet
        chunks: Any = output_constants.apply(hnet, hnet.generate(Request(rows), inner))
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

    def start_at(self, wanted: Sequence[Start], plan: Plan, normal: bool = True) -> None:
        """Initialise for the targets: constants give each its variance.

        Args:
            wanted: The start of each target.
            plan: How. A calibrated start leaves chunk embeddings as they are.
            normal: Whether to draw chunk embeddings from N(0, 1), otherwise from the uniform distribution of
                variance 1.
        """
        initialization.check_internal(self)
        if not plan.calibrated:
            self.draw_chunk_embeddings(normal)
        plan = plan.at(self)
        request, values = plan.samples
        rows = Request(self.chunk_inputs(request, values))
        moments = self.hnet.draw(plan.within(rows, values.part("hnet"), initialization.ROWS))
        if len(moments) > 1:
            moments = moments.repeat(self.num_chunks)[: self.num_outputs]
        initialization.settle(self, wanted, plan, moments)

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
        (embeddings,) = held_chunks(self, [SHARED], cond_id)
        if chunk_id is None:
            return embeddings
        return embeddings[checks.integer("chunk_id", chunk_id, 0, self.num_chunks - 1)]

    def chunk_embeddings(self) -> Iterator[tuple[Tensor, int, int | None]]:
        """Internal chunk embeddings, row by row, with the ids of chunk and condition."""
        for condition, embeddings in self._held_chunks():
            yield from ((row, chunk, condition) for chunk, row in enumerate(embeddings))


def options_of_part(network: HyperNetwork, chunk_emb_size: int, keeps_embeddings: bool) -> dict[str, Any]:
    """The options that an inner network shares with a chunked one.

    Args:
        network: The chunked network.
        chunk_emb_size: Size of the chunk embeddings, which are an unconditional input.
        keeps_embeddings: Whether the inner network is the one that keeps the embeddings of conditions.
    """
    keeps_embeddings = keeps_embeddings and network._cond_in_size > 0
    return {
        "uncond_in_size": network._uncond_in_size + chunk_emb_size,
        "cond_in_size": network._cond_in_size,
        "no_uncond_weights": network._no_uncond_weights,
        "no_cond_weights": network._no_cond_weights or not keeps_embeddings,
        "num_cond_embs": network._num_first_conds if keeps_embeddings else 0,
        "embedding_table": network._embedding_table,
        "verbose": False,
    }


def look_up_in(network: HyperNetwork, name: str) -> None:
    """Let a network look up conditions in one of its parts, too."""
    part: Any = network.get_submodule(name)
    for family, templates in part._lookups:
        network._lookups.append((family, [f"{name}.{template}" for template in templates]))


def held_chunks(network: Any, shared: Sequence[str], cond_id: int | None) -> list[Tensor]:
    """Internal chunk embeddings.

    Args:
        network: The chunked network.
        shared: Names of the tensors, if all conditions share them.
        cond_id: The condition, if they belong to conditions.

    Raises:
        RuntimeError: If the condition is missing or superfluous, or the embeddings are not internal (the class is a
            ``ValueError`` as well).
    """
    if network.cond_chunk_embs != (cond_id is not None):
        wanted = "a condition" if network.cond_chunk_embs else "None, since chunk embeddings are unconditional"
        raise checks.StateError(f"cond_id: expected {wanted}, got {cond_id}")
    if network.cond_chunk_embs:
        return network.conditional_tensors(CHUNKS, cond_id)
    if shared and network._no_uncond_weights:
        raise checks.StateError("get_chunk_emb: expected internal chunk embeddings, got external ones")
    return [network.table.by_name[name].value() for name in shared]

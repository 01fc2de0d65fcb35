"""The structured chunked hypernetwork: chunks that follow the layers of the main network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, formats
from hypnettorch.core.values import Values
from hypnettorch.hnets import assembly, initialization, inputs, output_constants
from hypnettorch.hnets.chunked_hypernetwork import CHUNKS, generate_from_rows, refuse_chunks
from hypnettorch.hnets.hypernetwork import HyperNetwork, Request, common_bias
from hypnettorch.hnets.initialization import Destinations, Plan, Start
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.hnets.output_constants import DOUBLE, NEUTRAL_VARIANCE
from hypnettorch.mnets.network import Shapes

RESERVED = (
    "target_shapes",
    "uncond_in_size",
    "cond_in_size",
    "no_uncond_weights",
    "no_cond_weights",
    "num_cond_embs",
    "embedding_table",
)
"""Arguments of the inner networks that cannot be chosen by ``hmlp_kwargs``."""


class StructuredHMLP(HyperNetwork):
    """Chunk ``j`` of kind ``i`` is ``h_i([u, c_ij, e])``; a function of the user puts the chunks together.

    A chunk is a list of tensors, for instance the kernel and the bias of a layer. There is one :class:`HMLP` ``h_i``
    per kind of chunk, which is evaluated once for all its chunks and all conditions. ``u`` is the unconditional input,
    ``c_ij`` the embedding of the chunk and ``e`` the conditional input. Parameters are published in the order ``h_0``,
    ``h_1``, …, then the chunk embeddings ``[num_per_chunk[i], chunk_emb_sizes[i]]`` of each kind, and all of these once
    per condition if they are conditional. The embeddings ``e`` belong to ``h_0``; rows of ``param_shapes_meta`` say by
    ``hnet_ind`` to which network they belong, and only those of ``h_0`` have a ``layer``.

    Args:
        target_shapes: Shapes of the tensors to produce.
        chunk_shapes: Per kind of chunk the shapes of its tensors.
        num_per_chunk: Per kind how many chunks there are.
        chunk_emb_sizes: Size of the chunk embeddings, which are drawn from N(0, 1): one for all kinds, or one per
            kind. A kind with a single chunk may have size 0, no embedding, if there is another input.
        hmlp_kwargs: Arguments of the :class:`HMLP`: a dictionary for all kinds, or one per kind. Inputs, conditions and
            what is external are not among them; the following arguments determine these.
        assembly_fct: Called with the chunks of one sample: a list of lists of tensors, ordered by kind, then by chunk.
            Returns the target tensors. It is mapped over the samples (:mod:`hypnettorch.hnets.assembly`), and should
            only arrange what it is given.
        cond_chunk_embs: Whether each condition has its own chunk embeddings; then both inputs may have size 0.
        uncond_in_size: See :class:`HMLP`, as all that follows.
        cond_in_size: Size of the conditional input.
        verbose: Whether to print a line about the network.
        no_uncond_weights: Whether the parameters that all conditions share are external.
        no_cond_weights: Whether the parameters of single conditions are external.
        num_cond_embs: Number of conditions. With 0, conditional tensors must be passed: ``cond_input``, and chunk
            embeddings as ``weights={'chunk_embs': [...]}``.
        embedding_table: Whether the embeddings of all conditions are one parameter, see :class:`HMLP`; so are chunk
            embeddings that belong to conditions, one parameter per kind.

    Raises:
        ValueError: If a size or shape is out of range, lists differ in length, or there is no input that tells
            conditions apart.
        TypeError: If an argument has the wrong type.

    Example:
        Two vectors are chunks of one kind; a large layer is glued from two chunks of the size of the small one.

        >>> from hypnettorch.hnets.assembly import GluedChunks, Piece
        >>> glue = GluedChunks((
        ...     Piece((0,), 0), Piece((1,), 0), Piece((2,), 0), Piece((2,), 1), Piece((3, 4), 0), Piece((3, 4), 1)))
        >>> hnet = StructuredHMLP(
        ...     [[3], [3], [10, 5], [10], [20, 5], [20]], [[[3]], [[10, 5], [10]]], [2, 3], 8, {'layers': [10]}, glue,
        ...     cond_chunk_embs=True, cond_in_size=0, num_cond_embs=2, verbose=False)
        >>> hnet.num_chunks, [tuple(w.shape) for w in hnet(cond_id=1)]
        (5, [(3,), (3,), (10, 5), (10,), (20, 5), (20,)])

    References:
        Savarese & Maire, "Learning Implicitly Recurrent CNNs Through Parameter Sharing", ICLR 2019,
        https://arxiv.org/abs/1902.09701: layers as linear combinations of templates are chunks of a linear ``h``
        without bias, with their embeddings as coefficients.
    """

    hnets: nn.ModuleList

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        chunk_shapes: Sequence[Sequence[Sequence[int]]],
        num_per_chunk: Sequence[int],
        chunk_emb_sizes: int | Sequence[int],
        hmlp_kwargs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        assembly_fct: Callable[[list[list[Tensor]]], Sequence[Tensor]],
        cond_chunk_embs: bool = False,
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        verbose: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        embedding_table: bool = False,
    ) -> None:
        super().__init__(target_shapes, uncond_in_size, cond_in_size)
        checks.instance("assembly_fct", assembly_fct, Callable, "a function")  # type: ignore[arg-type]
        self._assembly_fct = assembly_fct
        self._cond_chunk_embs = cond_chunk_embs
        self._no_uncond_weights, self._no_cond_weights = no_uncond_weights, no_cond_weights
        num_cond_embs = checks.integer("num_cond_embs", num_cond_embs, 0)
        checks.flag("embedding_table", embedding_table)
        self._num_per_chunk = checks.integers("num_per_chunk", num_per_chunk, 1)
        checks.length("chunk_shapes", chunk_shapes, len(self._num_per_chunk))
        self._chunk_emb_sizes = self._check_sizes(chunk_emb_sizes)
        options = self._check_options(hmlp_kwargs)
        for i, shapes in enumerate(chunk_shapes):
            owns_embeddings = i == 0 and self._cond_in_size > 0
            net = HMLP(
                checks.shapes(f"chunk_shapes[{i}]", shapes),
                uncond_in_size=self._uncond_in_size + self._chunk_emb_sizes[i],
                cond_in_size=self._cond_in_size,
                no_uncond_weights=no_uncond_weights,
                no_cond_weights=no_cond_weights or not owns_embeddings,
                num_cond_embs=num_cond_embs if owns_embeddings else 0,
                embedding_table=embedding_table,
                **options[i],
            )
            self.include(f"hnets.{i}", net, block=i, numbered=i == 0, hnet_ind=i)
        self._has_bias = common_bias(self.internal_hnets)
        self._mask_fc_out, self._has_fc_out, self._has_linear_out = False, True, True
        self._declare_chunk_embs(num_cond_embs, embedding_table)
        self._num_known_conds = num_cond_embs if cond_chunk_embs else self.internal_hnets[0].num_known_conds
        if verbose:
            print(self)

    def _declare_chunk_embs(self, num_cond_embs: int, table: bool) -> None:
        """Chunk embeddings, which all conditions share or each condition has for itself."""
        info, block, shapes = "chunk embeddings", len(self._num_per_chunk), self.chunk_emb_shapes
        if self._cond_chunk_embs and shapes:
            self.per_condition(
                CHUNKS,
                shapes,
                num_cond_embs,
                external=self._no_cond_weights,
                block=block,
                table=table,
                condition_key="cond_id",
                metas=[{"hnet_ind": i} for i in self._embedded()],
                info=info,
            )
        elif not self._cond_chunk_embs:
            external, init = self._no_uncond_weights, nn.init.normal_
            for k, (i, shape) in enumerate(zip(self._embedded(), shapes, strict=True)):
                meta: dict[str, Any] = {"info": info, "hnet_ind": i, "cond_id": -1}
                self.declare(f"{CHUNKS}.{k}", shape, "embedding", 0, init=init, external=external, block=block, **meta)

    def _check_sizes(self, chunk_emb_sizes: int | Sequence[int]) -> list[int]:
        """The size of the chunk embeddings of each kind."""
        counts = self._num_per_chunk
        single = not isinstance(chunk_emb_sizes, Sequence)
        sizes = checks.integers("chunk_emb_sizes", [chunk_emb_sizes] * len(counts) if single else chunk_emb_sizes, 0)
        checks.length("chunk_emb_sizes", sizes, len(counts))
        has_input = self._uncond_in_size + self._cond_in_size > 0
        if not has_input and not self._cond_chunk_embs:
            checks.fail("cond_in_size", "an input, or cond_chunk_embs=True", "no input at all")
        for i, (size, count) in enumerate(zip(sizes, counts, strict=True)):
            if size == 0 and (count > 1 or not has_input):
                expected = "a size above 0 (0 is for a kind with one chunk, in a network with another input)"
                checks.fail(("chunk_emb_sizes", i), expected, f"0 for {count} chunks")
        return sizes

    def _check_options(self, hmlp_kwargs: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The further arguments of each inner network."""
        number = len(self._num_per_chunk)
        options = [hmlp_kwargs] * number if isinstance(hmlp_kwargs, Mapping) else hmlp_kwargs
        checks.instance("hmlp_kwargs", options, (list, tuple), "a dictionary, or a list of dictionaries")
        checks.length("hmlp_kwargs", options, number)
        for i, entry in enumerate(options):
            checks.instance(("hmlp_kwargs", i), entry, Mapping, "a dictionary")
            reserved = [key for key in entry if key in RESERVED]
            if reserved:
                checks.fail(("hmlp_kwargs", i), f"none of the keys {list(RESERVED)}", reserved)
        return [{"verbose": False, **entry} for entry in options]

    @property
    def internal_hnets(self) -> list[HMLP]:
        """The inner networks, one per kind of chunk."""
        return list(self.hnets)  # type: ignore[arg-type]

    @property
    def num_chunks(self) -> int:
        """Number of chunks of all kinds together."""
        return sum(self._num_per_chunk)

    @property
    def chunk_emb_shapes(self) -> Shapes:
        """Shapes ``[num_per_chunk[i], chunk_emb_sizes[i]]`` of the chunk embeddings, for kinds that have some."""
        return [[self._num_per_chunk[i], self._chunk_emb_sizes[i]] for i in self._embedded()]

    @property
    def cond_chunk_embs(self) -> bool:
        """Whether each condition has its own chunk embeddings."""
        return self._cond_chunk_embs

    def get_chunk_embs(self, cond_id: int | None = None) -> list[Tensor]:
        """Chunk embeddings.

        Args:
            cond_id: Which condition; required if and only if each condition has its own.

        Returns:
            The parameters themselves, with shapes :attr:`chunk_emb_shapes`.

        Raises:
            RuntimeError: If ``cond_id`` is missing, superfluous or unknown, or the embeddings are not internal (the
                class is a ``ValueError`` as well).
        """
        if self._cond_chunk_embs != (cond_id is not None):
            wanted = "a condition" if self._cond_chunk_embs else "None, since chunk embeddings are unconditional"
            raise checks.StateError(f"cond_id: expected {wanted}, got {cond_id}")
        if self._cond_chunk_embs:
            return self.conditional_tensors(CHUNKS, cond_id) if self.chunk_emb_shapes else []
        if self._no_uncond_weights and self.chunk_emb_shapes:
            raise checks.StateError("get_chunk_embs: expected internal chunk embeddings, got external ones")
        return [self.table.by_name[f"{CHUNKS}.{k}"].value() for k in range(len(self.chunk_emb_shapes))]

    def chunk_embeddings(self) -> Iterator[tuple[Tensor, int, int | None]]:
        """Internal chunk embeddings, all of one kind as one matrix, with the position in :attr:`chunk_emb_shapes`."""
        positions = {i: k for k, i in enumerate(self._embedded())}
        if self._cond_chunk_embs:
            held = [(value, positions[row.meta["hnet_ind"]], condition) for condition, value, row in self._held(CHUNKS)]
            yield from sorted(held, key=lambda entry: entry[1])
        elif not self._no_uncond_weights:
            yield from ((value, k, None) for k, value in enumerate(self.get_chunk_embs()))

    def _embedded(self) -> list[int]:
        """The kinds that have chunk embeddings."""
        return [i for i, size in enumerate(self._chunk_emb_sizes) if size > 0]

    def condition_owners(self) -> list[str]:
        """The inner network that owns the embeddings: the first."""
        return super().condition_owners()[:1]

    def conditions(self, ids: inputs.Ids, values: Values) -> dict[str, Any]:
        """The embeddings of the first inner network, and chunk embeddings if they belong to conditions."""
        first = self.internal_hnets[0].conditions(ids, values.part("hnets.0")) if self._cond_in_size > 0 else {}
        return {**first, **super().conditions(ids, values)}

    def check_given(self, given: Mapping[str, Any]) -> None:
        """Chunk embeddings can be given if they belong to conditions."""
        if not self._cond_chunk_embs:
            refuse_chunks(given)
        super().check_given(given)

    def check_inputs(self, request: Request) -> None:
        """Check the width of each input, and the shapes of chunk embeddings that are given."""
        super().check_inputs(request)
        if not self._cond_chunk_embs:
            return
        passed = [tensor for tensor in request.given.get(CHUNKS, ()) if tensor is not None]
        if self.chunk_emb_shapes and not passed:
            checks.fail(
                "weights",
                f"the key 'chunk_embs' with tensors [N, *shape] for shapes {self.chunk_emb_shapes}, or cond_id",
                "neither",
            )
        checks.length("weights['chunk_embs']", passed, len(self.chunk_emb_shapes))
        for k, (tensor, shape) in enumerate(zip(passed, self.chunk_emb_shapes, strict=True)):
            if list(tensor.shape[-2:]) != shape:
                checks.fail(("weights['chunk_embs']", k), f"shape (N, {shape[0]}, {shape[1]})", tuple(tensor.shape))

    def generate(self, request: Request, values: Values) -> list[Tensor]:
        """The equation."""
        chunks: list[list[Tensor]] = []
        lead: list[int] = []
        for i, (net, count) in enumerate(zip(self.internal_hnets, self._num_per_chunk, strict=True)):
            rows = self._rows_of_kind(i, request, values)
            produced = generate_from_rows(net, rows, values.part(f"hnets.{i}")).tensors
            lead = [*rows.shape[:-2], rows.shape[-2] // count]
            tensors = [
                tensor.reshape(*lead, count, *shape) for tensor, shape in zip(produced, net.target_shapes, strict=True)
            ]
            chunks += [list(chunk) for chunk in zip(*[tensor.unbind(len(lead)) for tensor in tensors], strict=True)]
        return assembly.assemble(self._assembly_fct, (chunks,), lead, self.target_shapes)

    def _rows_of_kind(self, kind: int, request: Request, values: Values) -> Tensor:
        """The inputs of an inner network, for all its chunks of all conditions."""
        embeddings = self._embeddings_of(kind, request, values)
        return inputs.chunk_rows(request.uncond, embeddings, request.cond, not self._cond_chunk_embs)

    def _embeddings_of(self, kind: int, request: Request, values: Values) -> Tensor | None:
        """The chunk embeddings of one kind in this evaluation."""
        if self._chunk_emb_sizes[kind] == 0:
            return None
        k = self._embedded().index(kind)
        return request.given[CHUNKS][k] if self._cond_chunk_embs else values[f"{CHUNKS}.{k}"]

    def start_at(self, destinations: Destinations, plan: Plan) -> None:
        """Initialise each inner network for the targets in which its chunks end up.

        In a calibrated start constants give each target its variance, as all chunks of a kind share an output layer.
        """
        plan = plan.looked_up(self)
        plans = [self._plan_of_kind(i, plan) for i in range(len(self._num_per_chunk))]
        if plan.calibrated:
            for net, inner in zip(self.internal_hnets, plans, strict=True):
                net.draw(inner)
            initialization.settle(self, destinations, plan, torch.ones(1, **DOUBLE))
            return
        shapes = [[tuple(shape) for shape in net.target_shapes] for net in self.internal_hnets]
        counts = self._num_per_chunk
        structure = [kind for kind, count in zip(shapes, counts, strict=True) for _ in range(count)]
        found = assembly.trace(self._assembly_fct, (structure,), self.target_shapes)
        traced = iter(initialization.trace_back(found, destinations))
        produced: list[list[Start]] = []
        for net, count, inner in zip(self.internal_hnets, counts, plans, strict=True):
            chunks = [[next(traced) for _ in net.target_shapes] for _ in range(count)]
            of_tensor = [[d for tensor in chunk for d in tensor] for chunk in zip(*chunks, strict=True)]
            net.start_at(of_tensor, inner)
            produced += [initialization.average_starts(of_tensor, plan)] * count
        output_constants.keep(self, None, None)
        if initialization.want_exactness(destinations):
            self._correct(produced, structure, initialization.average_starts(destinations, plan))

    def scale_output(self, factor: float) -> None:
        """Multiply what the inner networks produce."""
        for net in self.internal_hnets:
            net.scale_output(factor)

    def _plan_of_kind(self, kind: int, plan: Plan) -> Plan:
        """The plan for an inner network, of which chunk embeddings are inputs, too."""
        if plan.samples is None:
            return replace(plan, uncond_var=self._variance_beside_condition(kind, plan))
        request, values = plan.samples
        size = self._uncond_in_size + self._chunk_emb_sizes[kind]
        rows = self._rows_of_kind(kind, request, values)
        uncond, cond = (part if part.shape[-1] else None for part in (rows[:, :size], rows[:, size:]))
        inner = initialization.rows_of(Request(uncond, cond), initialization.ROWS)
        return plan.within(inner, values.part(f"hnets.{kind}"))

    def _correct(
        self, produced: Sequence[Sequence[Start]], structure: Sequence[Sequence[Sequence[int]]], wanted: Sequence[Start]
    ) -> None:
        """Let targets start as wanted that share a kind of chunk with others.

        Args:
            produced: How the tensors of each chunk start.
            structure: Their shapes.
            wanted: How each target should start.
        """

        def arranged(value: Callable[[Start], float]) -> list[Tensor]:
            chunks = [
                [torch.full(shape, value(start), **DOUBLE) for start, shape in zip(starts, shapes, strict=True)]
                for starts, shapes in zip(produced, structure, strict=True)
            ]
            return assembly.assemble(self._assembly_fct, (chunks,), [], self.target_shapes)

        means, variances = arranged(lambda start: start.mean), arranged(lambda start: start.variance)
        scales = [
            torch.where(own > 0, ((start.variance or NEUTRAL_VARIANCE) / own).sqrt(), 1.0)
            for own, start in zip(variances, wanted, strict=True)
        ]
        offsets = [start.mean - scale * mean for start, scale, mean in zip(wanted, scales, means, strict=True)]
        output_constants.keep(self, *(formats.flatten(values, self.target_shapes) for values in (scales, offsets)))

    def _variance_beside_condition(self, kind: int, plan: Plan) -> float:
        """The average variance of ``[u, c]``; chunk embeddings that are not internal count as drawn from N(0, 1)."""
        size = self._chunk_emb_sizes[kind]
        total = self._uncond_in_size + size
        if size == 0 or total == 0:
            return plan.uncond_var
        k = self._embedded().index(kind)
        own = [embedding for embedding, number, _ in self.chunk_embeddings() if number == k]
        variance = torch.stack(own).detach().square().mean().item() if own else 1.0
        return (self._uncond_in_size * plan.uncond_var + size * variance) / total

"""The structured chunked hypernetwork: chunks that follow the layers of the main network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.starts import Start, average
from hypnettorch.core.values import Values
from hypnettorch.hnets import assembly, initialization, inputs, output_constants
from hypnettorch.hnets.chunked_hypernetwork import CHUNKS, held_chunks, look_up_in, options_of_part
from hypnettorch.hnets.hypernetwork import HyperNetwork, Produced, Request, common_bias
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.mnets.network import Shapes


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
        self.set_options(no_uncond_weights, no_cond_weights, num_cond_embs, embedding_table)
        checks.instance("assembly_fct", assembly_fct, Callable, "a function")  # type: ignore[arg-type]
        self._assembly_fct = assembly_fct
        self._cond_chunk_embs = cond_chunk_embs
        self._num_per_chunk = checks.integers("num_per_chunk", num_per_chunk, 1)
        checks.length("chunk_shapes", chunk_shapes, len(self._num_per_chunk))
        self._chunk_emb_sizes = self._check_sizes(chunk_emb_sizes)
        for i, (shapes, own) in enumerate(zip(chunk_shapes, self._check_options(hmlp_kwargs), strict=True)):
            shared = options_of_part(self, self._chunk_emb_sizes[i], i == 0)
            reserved = [key for key in own if key in shared and key != "verbose"]
            if reserved:
                checks.fail(("hmlp_kwargs", i), "none of the arguments that all kinds share", reserved)
            net = HMLP(checks.shapes(f"chunk_shapes[{i}]", shapes), **{**shared, **own})
            self.include(f"hnets.{i}", net, block=i, numbered=i == 0, hnet_ind=i)
        nets = self.internal_hnets
        look_up_in(self, "hnets.0")
        self._has_bias = common_bias(nets)
        self._mask_fc_out, self._has_fc_out, self._has_linear_out = False, True, True
        self._output_layers = [layer for net in nets for layer in net._output_layers]
        self._declare_chunk_embs()
        self._num_known_conds = self._num_first_conds if cond_chunk_embs else nets[0].num_known_conds
        if verbose:
            print(self)

    def _declare_chunk_embs(self) -> None:
        """Chunk embeddings, which all conditions share or each condition has for itself."""
        info, block, shapes = "chunk embeddings", len(self._num_per_chunk), self.chunk_emb_shapes
        metas: list[dict[str, Any]] = [{"info": info, "hnet_ind": i} for i in self._embedded()]
        if not self._cond_chunk_embs:
            options: dict[str, Any] = {"init": nn.init.normal_, "external": self._no_uncond_weights, "block": block}
            for name, shape, meta in zip(self._shared_names(), shapes, metas, strict=True):
                self.declare(name, shape, "embedding", 0, cond_id=-1, **options, **meta)
        elif shapes:
            options = {"external": self._no_cond_weights, "table": self._embedding_table, "block": block}
            self.per_condition(CHUNKS, shapes, self._num_first_conds, condition_key="cond_id", metas=metas, **options)

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

    def _check_options(self, hmlp_kwargs: Any) -> Sequence[Mapping[str, Any]]:
        """The further arguments of each inner network."""
        number = len(self._num_per_chunk)
        options = [hmlp_kwargs] * number if isinstance(hmlp_kwargs, Mapping) else hmlp_kwargs
        checks.instance("hmlp_kwargs", options, (list, tuple), "a dictionary, or a list of dictionaries")
        checks.length("hmlp_kwargs", options, number)
        for i, entry in enumerate(options):
            checks.instance(("hmlp_kwargs", i), entry, Mapping, "a dictionary")
        return options

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
        return held_chunks(self, self._shared_names(), cond_id) if self.chunk_emb_shapes else []

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

    def _shared_names(self) -> list[str]:
        """The names of chunk embeddings that all conditions share."""
        return [f"{CHUNKS}.{k}" for k in range(len(self._embedded()))]

    def condition_owners(self) -> list[str]:
        """The inner network that owns the embeddings: the first."""
        return super().condition_owners()[:1]

    def generate(self, request: Request, values: Values) -> list[Tensor]:
        """The equation."""
        chunks: list[list[Tensor]] = []
        lead: list[int] = []
        for i, (net, count) in enumerate(zip(self.internal_hnets, self._num_per_chunk, strict=True)):
            rows = self._rows_of_kind(i, request, values)
            flat = output_constants.apply(net, net.generate(Request(rows), values.part(f"hnets.{i}")))
            produced = Produced(flat, net.target_shapes).tensors
            lead = [*rows.shape[:-2], rows.shape[-2] // count]
            tensors = [
                tensor.reshape(*lead, count, *shape) for tensor, shape in zip(produced, net.target_shapes, strict=True)
            ]
            chunks += [list(chunk) for chunk in zip(*[tensor.unbind(len(lead)) for tensor in tensors], strict=True)]
        return assembly.assemble(self._assembly_fct, (chunks,), lead, self.target_shapes)

    def _rows_of_kind(self, kind: int, request: Request, values: Values) -> Tensor:
        """The inputs of an inner network, for all its chunks of all conditions."""
        embeddings = None
        if self._chunk_emb_sizes[kind]:
            k = self._embedded().index(kind)
            embeddings = request.given[CHUNKS][k] if self._cond_chunk_embs else values[f"{CHUNKS}.{k}"]
        return inputs.chunk_rows(request.uncond, embeddings, request.cond, not self._cond_chunk_embs)

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise each inner network for the targets in which its chunks end up.

        Where targets are to start exactly, constants give each its variance, as all chunks of a kind share an output
        layer.
        """
        plan = plan.at(self)
        plans = [self._plan_of_kind(i, plan) for i in range(len(self._num_per_chunk))]
        if plan.exact:
            for net, inner in zip(self.internal_hnets, plans, strict=True):
                net.draw(inner)
            initialization.settle(self, wanted, plan)
            return
        shapes = [[tuple(shape) for shape in net.target_shapes] for net in self.internal_hnets]
        counts = self._num_per_chunk
        structure = [kind for kind, count in zip(shapes, counts, strict=True) for _ in range(count)]
        found = iter(assembly.trace(self._assembly_fct, (structure,), self.target_shapes))
        for net, count, inner in zip(self.internal_hnets, counts, plans, strict=True):
            chunks = [[next(found) for _ in net.target_shapes] for _ in range(count)]
            net.start_at([average(wanted, sum(own, Counter())) for own in zip(*chunks, strict=True)], inner)
        output_constants.keep(self, None, None)

    def _plan_of_kind(self, kind: int, plan: Plan) -> Plan:
        """The plan for an inner network, of which chunk embeddings are inputs, too."""
        request, values = plan.samples
        size = self._uncond_in_size + self._chunk_emb_sizes[kind]
        rows = self._rows_of_kind(kind, request, values)
        uncond, cond = (part if part.shape[-1] else None for part in (rows[:, :size], rows[:, size:]))
        return plan.within(Request(uncond, cond), values.part(f"hnets.{kind}"), initialization.ROWS)

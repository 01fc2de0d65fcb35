"""The kinds of hypernetworks, each given by its declaration and its equation.

A spec is a frozen dataclass, so it can be a static argument of ``jax.jit``. Its fields are arguments of the class of
the same name in :mod:`hypnettorch.hnets`, whose page says what they mean. An equation takes inputs with any leading
dimensions: without any it gives one weight set, with ``[N]`` it gives ``N``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hypnettorch.common import checks, descriptions
from hypnettorch.common.gluing import Gluing
from hypnettorch.jax.activations import Activation, activation
from hypnettorch.jax.tensors import (
    Declared,
    Draw,
    Params,
    Shapes,
    flatten,
    inside,
    joined,
    part,
    unflatten,
    uniform,
    zeros,
)

RELU = Activation("ReLU")

EMBEDDINGS, CHUNKS = "embeddings", "chunk_embs"
SCALE, OFFSET, BASE = "output_scale", "output_offset", "base_values"

Produced = jax.Array | list[jax.Array]
"""Flat weights ``[..., n]`` with or without a surplus at the end, or a tensor ``[..., *shape]`` per target."""


class Condition(NamedTuple):
    """What belongs to a condition, or is given instead of one; ``...`` are any leading dimensions.

    Attributes:
        embedding: Conditional input ``[..., cond_in_size]``.
        chunk_embs: Where each condition has its own chunk embeddings: ``[..., num_chunks, chunk_emb_size]``, or a tuple
            with those of each kind.
    """

    embedding: Any = None
    chunk_embs: Any = None


class Inputs(NamedTuple):
    """With what an equation computes: a condition, the unconditional input ``[..., size]``, a key for dropout."""

    cond: Condition = Condition()
    uncond: Any = None
    key: Any = None


@dataclass(frozen=True)
class Spec:
    """What a hypernetwork is.

    Attributes:
        constants: Names of the constants that it has besides what it declares: the ``output_scale`` and
            ``output_offset``, its own or those of its parts, that an initialisation has set.
    """

    _: KW_ONLY
    constants: tuple[str, ...] = ()

    @property
    def shapes(self) -> Shapes:
        """Shapes of the tensors to produce."""
        raise NotImplementedError

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the unconditional and of the conditional input."""
        raise NotImplementedError

    @property
    def num_conditions(self) -> int:
        """How many conditions are known by id."""
        raise NotImplementedError

    def declare(self) -> dict[str, Declared]:
        """The tensors by name."""
        raise NotImplementedError

    def look_up(self, params: Params, ids: Any) -> Condition:
        """What belongs to a condition (an int), or to many (an array of ids ``[...]``)."""
        raise NotImplementedError

    def produce(self, params: Params, inputs: Inputs) -> Produced:
        """The equation."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """Arguments of the class in PyTorch."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "constants"}

    def _settle(self, **values: Any) -> None:
        """Replace fields by what they mean; fields are constants afterwards."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def evaluate(self, params: Params, inputs: Inputs) -> Produced:
        """What the hypernetwork produces: its equation, scaled and shifted by its constants."""
        produced = self.produce(params, inputs)
        for name, apply in ((SCALE, jnp.multiply), (OFFSET, jnp.add)):
            if name in params:
                constant = jax.lax.stop_gradient(params[name])
                if constant.shape[0] == len(self.shapes) != self.num_outputs:
                    tensors = self.as_tensors(produced)
                    produced = [apply(tensor, own) for tensor, own in zip(tensors, constant, strict=True)]
                else:
                    produced = apply(self.as_flat(produced), constant)
        return produced

    @property
    def num_outputs(self) -> int:
        """Number of weights that are produced."""
        return sum(math.prod(shape) for shape in self.shapes)

    def as_tensors(self, produced: Produced) -> list[jax.Array]:
        """What was produced, as a tensor ``[..., *shape]`` per target."""
        return produced if isinstance(produced, list) else unflatten(produced, self.shapes)

    def as_flat(self, produced: Produced) -> jax.Array:
        """What was produced, as ``[..., n]``."""
        return flatten(produced, self.shapes) if isinstance(produced, list) else produced[..., : self.num_outputs]


@dataclass(frozen=True)
class HMLP(Spec):
    """``h(u, e) = W_L σ(… σ(W_1 [u, e] + b_1) …) + b_L`` (:class:`hypnettorch.hnets.mlp_hnet.HMLP`).

    Example:
        >>> spec = HMLP([[10, 5], [10]], cond_in_size=8, layers=(16,), num_cond_embs=2)
        >>> {name: tensor.shape for name, tensor in spec.declare().items() if "layers" in name}
        {'layers.0.weight': (16, 8), 'layers.0.bias': (16,)}
    """

    target_shapes: Any
    uncond_in_size: int = 0
    cond_in_size: int = 8
    layers: Any = (100, 100)
    activation_fn: Any = RELU
    use_bias: bool = True
    num_cond_embs: int = 1
    dropout_rate: float = -1
    use_spectral_norm: bool = False
    split_head: bool = False
    embedding_table: bool = False

    def __post_init__(self) -> None:
        self._settle(
            target_shapes=_shapes("target_shapes", self.target_shapes),
            layers=tuple(checks.integers("layers", self.layers, 1)),
            activation_fn=activation(self.activation_fn),
            dropout_rate=checks.dropout_rate("dropout_rate", self.dropout_rate),
        )
        _check_sizes(self)
        if self.uncond_in_size + self.cond_in_size == 0:
            checks.fail("uncond_in_size", "an input: uncond_in_size or cond_in_size above 0", "0 and 0")
        if self.split_head and self.use_spectral_norm:
            checks.fail("split_head", "False, since spectral norm divides the output layer as a whole", True)

    @property
    def shapes(self) -> Shapes:
        """Shapes of the tensors to produce."""
        return self.target_shapes

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the unconditional and of the conditional input."""
        return self.uncond_in_size, self.cond_in_size

    @property
    def num_conditions(self) -> int:
        """How many conditions are known by id."""
        return self.num_cond_embs if self.cond_in_size else 0

    def declare(self) -> dict[str, Declared]:
        """Embeddings, hidden layers, output layer."""
        declared: dict[str, Declared] = {}
        if self.num_conditions:
            declared |= _per_condition(EMBEDDINGS, (self.cond_in_size,), self.num_conditions, self.embedding_table)
        widths = [sum(self.sizes), *self.layers]
        for i, (fan_in, size) in enumerate(pairwise(widths)):
            declared |= self._affine(f"layers.{i}", fan_in, size)
        for name, size in self.heads():
            declared |= self._affine(name, widths[-1], size)
        return declared

    def heads(self) -> list[tuple[str, int]]:
        """Name and size of the output layer, or of each of its pieces."""
        if not self.split_head:
            return [("head", self.num_outputs)]
        return [(f"head.{i}", math.prod(shape)) for i, shape in enumerate(self.shapes)]

    def _affine(self, name: str, fan_in: int, size: int) -> dict[str, Declared]:
        draw = uniform(1 / math.sqrt(fan_in))
        weight = {f"{name}.weight": Declared((size, fan_in), draw)}
        return weight | ({f"{name}.bias": Declared((size,), draw)} if self.use_bias else {})

    def look_up(self, params: Params, ids: Any) -> Condition:
        """Embeddings."""
        return Condition(_rows(params, EMBEDDINGS, self.num_conditions, ids) if self.cond_in_size else None)

    def hidden(self, params: Params, inputs: Inputs) -> jax.Array:
        """The last hidden activations ``[..., k]``."""
        x = joined([inputs.uncond, inputs.cond.embedding])
        for i in range(len(self.layers)):
            x = self.apply_layer(params, f"layers.{i}", x)
            if inputs.key is not None and self.dropout_rate > 0:
                kept = jax.random.bernoulli(jax.random.fold_in(inputs.key, i), 1 - self.dropout_rate, x.shape)
                x = jnp.where(kept, x / (1 - self.dropout_rate), 0)
            if self.activation_fn is not None:
                x = self.activation_fn(x)
        return x

    def produce(self, params: Params, inputs: Inputs) -> Produced:
        """The equation."""
        x = self.hidden(params, inputs)
        rows = [self.apply_layer(params, name, x) for name, _ in self.heads()]
        if not self.split_head:
            return rows[0]
        return [row.reshape(*x.shape[:-1], *shape) for row, shape in zip(rows, self.shapes, strict=True)]

    def apply_layer(self, params: Params, name: str, x: jax.Array) -> jax.Array:
        """``W x + b`` of the layer of a name, ``x [..., in]``."""
        weight = params[f"{name}.weight"]
        if self.use_spectral_norm:
            weight = weight / jnp.linalg.norm(weight, 2)
        y = weight @ x if x.ndim == 1 else x @ weight.T  # XLA multiplies the large matrix faster from the left
        return y + params[f"{name}.bias"] if self.use_bias else y


@dataclass(frozen=True)
class ChunkedHMLP(Spec):
    """Chunk ``j`` of the flat weights is ``h([u, c_j, e])`` (:class:`hypnettorch.hnets.chunked_mlp_hnet.ChunkedHMLP`).

    Example:
        >>> ChunkedHMLP([[10, 5], [10]], chunk_size=16, layers=(), num_cond_embs=1).inner.shapes
        ((16,),)
    """

    target_shapes: Any
    chunk_size: int
    chunk_emb_size: int = 8
    cond_chunk_embs: bool = False
    uncond_in_size: int = 0
    cond_in_size: int = 8
    layers: Any = (100, 100)
    activation_fn: Any = RELU
    use_bias: bool = True
    num_cond_embs: int = 1
    dropout_rate: float = -1
    use_spectral_norm: bool = False
    embedding_table: bool = False

    def __post_init__(self) -> None:
        self._settle(
            target_shapes=_shapes("target_shapes", self.target_shapes),
            layers=tuple(checks.integers("layers", self.layers, 1)),
            activation_fn=activation(self.activation_fn),
        )
        checks.integer("chunk_size", self.chunk_size, 1)
        checks.integer("chunk_emb_size", self.chunk_emb_size, 1)
        _check_sizes(self)
        _check_chunks(self)

    @property
    def inner(self) -> HMLP:
        """``h``."""
        shared = ("layers", "activation_fn", "use_bias", "dropout_rate", "use_spectral_norm", "embedding_table")
        return HMLP(
            [[self.chunk_size]],
            uncond_in_size=self.uncond_in_size + self.chunk_emb_size,
            cond_in_size=self.cond_in_size,
            num_cond_embs=self.num_cond_embs,
            **{name: getattr(self, name) for name in shared},
        )

    @property
    def num_chunks(self) -> int:
        """Number of chunks that make up the weights."""
        return -(-self.num_outputs // self.chunk_size)

    @property
    def shapes(self) -> Shapes:
        """Shapes of the tensors to produce."""
        return self.target_shapes

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the unconditional and of the conditional input."""
        return self.uncond_in_size, self.cond_in_size

    @property
    def num_conditions(self) -> int:
        """How many conditions are known by id."""
        return self.num_cond_embs if self.cond_in_size or self.cond_chunk_embs else 0

    def declare(self) -> dict[str, Declared]:
        """The tensors of ``h``, then chunk embeddings."""
        declared, [shape] = inside("hnet", self.inner.declare()), self.chunk_emb_shapes
        if self.cond_chunk_embs:
            return declared | _per_condition(CHUNKS, shape, self.num_cond_embs, self.embedding_table)
        return declared | {f"{CHUNKS}.weight": Declared(shape, jax.random.normal)}

    def look_up(self, params: Params, ids: Any) -> Condition:
        """Embeddings, and chunk embeddings that belong to conditions."""
        found = self.inner.look_up(part(params, "hnet"), ids)
        chunks = _rows(params, CHUNKS, self.num_cond_embs, ids) if self.cond_chunk_embs else None
        return Condition(found.embedding, chunks)

    @property
    def chunk_emb_shapes(self) -> list[tuple[int, int]]:
        """The shape of the chunk embeddings."""
        return [(self.num_chunks, self.chunk_emb_size)]

    def chunk_inputs(self, params: Params, inputs: Inputs) -> Inputs:
        """What ``h`` is asked for: all chunks, ``[..., num_chunks, size]``."""
        chunks = inputs.cond.chunk_embs if self.cond_chunk_embs else params[f"{CHUNKS}.weight"]
        return Inputs(Condition(_chunk_rows(inputs, chunks)), None, inputs.key)

    def produce(self, params: Params, inputs: Inputs) -> Produced:
        """The equation."""
        inner = self.inner
        produced = inner.evaluate(part(params, "hnet"), self.chunk_inputs(params, inputs))
        chunks = inner.as_flat(produced)
        return chunks.reshape(*chunks.shape[:-2], -1)


@dataclass(frozen=True)
class StructuredHMLP(Spec):
    """Chunk ``j`` of kind ``i`` is ``h_i([u, c_ij, e])``; a function puts the chunks together.

    See :class:`hypnettorch.hnets.structured_mlp_hnet.StructuredHMLP`. ``assembly_fct`` is a
    :class:`~hypnettorch.common.gluing.Gluing`, or a function of arrays: called with the chunks of one weight set, a
    list of lists, it returns the target arrays.

    Example:
        >>> from hypnettorch.common.gluing import Gluing, Piece
        >>> glue = Gluing((Piece((0,), 0), Piece((1, 2), 0)))
        >>> spec = StructuredHMLP([[3], [8, 2]], [[[3]], [[4, 2]]], [1, 2], 2, {"layers": (5,)}, glue)
        >>> [inner.shapes for inner in spec.inner]
        [((3,),), ((4, 2),)]
    """

    target_shapes: Any
    chunk_shapes: Any
    num_per_chunk: Any
    chunk_emb_sizes: Any
    hmlp_kwargs: Any
    assembly_fct: Any
    cond_chunk_embs: bool = False
    uncond_in_size: int = 0
    cond_in_size: int = 8
    num_cond_embs: int = 1
    embedding_table: bool = False

    def __post_init__(self) -> None:
        counts = tuple(checks.integers("num_per_chunk", self.num_per_chunk, 1))
        sizes, options = self.chunk_emb_sizes, self.hmlp_kwargs
        sizes = list(sizes) if isinstance(sizes, Sequence) else [sizes] * len(counts)
        options = [options] * len(counts) if isinstance(options, Mapping) else list(options)
        for name, values in (("chunk_shapes", self.chunk_shapes), ("chunk_emb_sizes", sizes), ("hmlp_kwargs", options)):
            checks.length(name, values, len(counts))
        self._settle(
            target_shapes=_shapes("target_shapes", self.target_shapes),
            chunk_shapes=tuple(_shapes("chunk_shapes", shapes) for shapes in self.chunk_shapes),
            num_per_chunk=counts,
            chunk_emb_sizes=tuple(checks.integers("chunk_emb_sizes", sizes, 0)),
            hmlp_kwargs=tuple(_options(entry) for entry in options),
        )
        checks.instance("assembly_fct", self.assembly_fct, (Gluing, Callable), "a Gluing, or a function")  # type: ignore[arg-type]
        _check_sizes(self)
        _check_chunks(self)

    @property
    def inner(self) -> list[HMLP]:
        """``h_i`` of each kind; the embeddings of conditions belong to the first."""
        return [
            HMLP(
                shapes,
                uncond_in_size=self.uncond_in_size + size,
                cond_in_size=self.cond_in_size,
                num_cond_embs=self.num_cond_embs if i == 0 else 0,
                embedding_table=self.embedding_table,
                **dict(options),
            )
            for i, (shapes, size, options) in enumerate(
                zip(self.chunk_shapes, self.chunk_emb_sizes, self.hmlp_kwargs, strict=True)
            )
        ]

    def arguments(self) -> dict[str, Any]:
        """Arguments of the class in PyTorch."""
        return {**super().arguments(), "hmlp_kwargs": [dict(options) for options in self.hmlp_kwargs]}

    @property
    def shapes(self) -> Shapes:
        """Shapes of the tensors to produce."""
        return self.target_shapes

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the unconditional and of the conditional input."""
        return self.uncond_in_size, self.cond_in_size

    @property
    def num_conditions(self) -> int:
        """How many conditions are known by id."""
        return self.num_cond_embs if self.cond_in_size or self.cond_chunk_embs else 0

    @property
    def chunk_emb_shapes(self) -> list[tuple[int, int]]:
        """Shapes of the chunk embeddings of each kind that has some."""
        return [(self.num_per_chunk[i], self.chunk_emb_sizes[i]) for i in self._embedded]

    @property
    def _embedded(self) -> list[int]:
        """The kinds that have chunk embeddings."""
        return [i for i, size in enumerate(self.chunk_emb_sizes) if size > 0]

    def declare(self) -> dict[str, Declared]:
        """The tensors of each ``h_i``, then chunk embeddings."""
        declared: dict[str, Declared] = {}
        for i, inner in enumerate(self.inner):
            declared |= inside(f"hnets.{i}", inner.declare())
        shapes = self.chunk_emb_shapes
        if self.cond_chunk_embs:
            return declared | _per_condition(CHUNKS, shapes, self.num_cond_embs, self.embedding_table)
        return declared | {f"{CHUNKS}.{k}": Declared(shape, jax.random.normal) for k, shape in enumerate(shapes)}

    def look_up(self, params: Params, ids: Any) -> Condition:
        """Embeddings, and chunk embeddings that belong to conditions."""
        found = self.inner[0].look_up(part(params, "hnets.0"), ids)
        if not self.cond_chunk_embs:
            return found
        kinds = range(len(self._embedded))
        return Condition(found.embedding, tuple(_rows(params, CHUNKS, self.num_cond_embs, ids, k) for k in kinds))

    def kind_inputs(self, kind: int, params: Params, inputs: Inputs) -> Inputs:
        """What ``h_i`` is asked for: all chunks of its kind, ``[..., number, size]``."""
        chunks = None
        if self.chunk_emb_sizes[kind]:
            k = self._embedded.index(kind)
            chunks = inputs.cond.chunk_embs[k] if self.cond_chunk_embs else params[f"{CHUNKS}.{k}"]
        key = None if inputs.key is None else jax.random.fold_in(inputs.key, kind)
        return Inputs(Condition(_chunk_rows(inputs, chunks)), None, key)

    def produce(self, params: Params, inputs: Inputs) -> Produced:
        """The equation."""
        chunks: list[list[jax.Array]] = []
        lead: tuple[int, ...] = ()
        for i, (inner, count) in enumerate(zip(self.inner, self.num_per_chunk, strict=True)):
            asked = self.kind_inputs(i, params, inputs)
            lead = asked.cond.embedding.shape[:-2]
            tensors = inner.as_tensors(inner.evaluate(part(params, f"hnets.{i}"), asked))
            chunks += [[jnp.take(tensor, j, len(lead)) for tensor in tensors] for j in range(count)]
        return self.assemble(chunks, len(lead))

    def assemble(self, chunks: list[list[jax.Array]], lead: int) -> list[jax.Array]:
        """The targets, from chunks with a number of leading dimensions."""
        function = self.assembly_fct
        if isinstance(function, Gluing):
            function = lambda parts: self.assembly_fct.arrange(parts, jnp.concatenate)  # noqa: E731
        for _ in range(lead):
            function = jax.vmap(function)
        made = list(function(chunks))
        found = tuple(tensor.shape[lead:] for tensor in made)
        if found != self.shapes:
            checks.fail("assembly_fct(...)", f"arrays of shapes {self.shapes}", found)
        return made


class Targets(tuple[tuple[Any, tuple[int, ...]], ...]):
    """Key and shape of each target."""


@dataclass(frozen=True)
class HLowRank(Spec):
    """``ΔW_i = (α_i / r_i) g_i B_i A_i`` with factors that a hypernetwork produces.

    See :class:`hypnettorch.hnets.low_rank_hnet.HLowRank`. ``hnet`` is the spec of the hypernetwork of the factors, or a
    function that makes it from their shapes. ``target`` is a list of shapes or a dictionary by key; ``rank`` and
    ``alpha`` are numbers, or lists with one per target; gates start at ``gate``.

    Example:
        >>> spec = HLowRank(lambda shapes: HMLP(shapes, layers=()), {"w": [4, 3]}, rank=2)
        >>> spec.hnet.shapes, spec.keys
        (((2, 3), (4, 2)), ('w',))
    """

    hnet: Any
    target: Any
    rank: Any = 8
    alpha: Any = None
    gate: float = 0.0

    def __post_init__(self) -> None:
        target = self.target
        if not isinstance(target, Targets):
            keys = tuple(target) if isinstance(target, Mapping) else range(len(target))
            shapes = _shapes("target", target.values() if isinstance(target, Mapping) else target)
            target = Targets(zip(keys, shapes, strict=True))
        shapes = tuple(shape for _, shape in target)
        ranks = [checks.integer("rank", rank, 1) for rank in _per_target("rank", self.rank, len(shapes))]
        alphas = ranks if self.alpha is None else _per_target("alpha", self.alpha, len(shapes))
        factors = [
            shape
            for dims, rank in zip(shapes, ranks, strict=True)
            for shape in ((rank, math.prod(dims[1:])), (math.prod(dims[:1]), rank))
        ]
        hnet = self.hnet if isinstance(self.hnet, Spec) else self.hnet(factors)
        checks.instance("hnet", hnet, Spec)
        if hnet.shapes != tuple(factors):
            checks.fail("hnet", f"target shapes {factors}, A and B of each target", hnet.shapes)
        alphas = [checks.number("alpha", alpha) for alpha in alphas]
        gate = checks.number("gate", self.gate)
        self._settle(hnet=hnet, target=target, rank=tuple(ranks), alpha=tuple(alphas), gate=gate)

    def arguments(self) -> dict[str, Any]:
        """Arguments of the class in PyTorch."""
        named = self.keys != tuple(range(len(self.keys)))
        return {**super().arguments(), "target": dict(self.target) if named else list(self.shapes)}

    @property
    def keys(self) -> tuple[Any, ...]:
        """What the targets are called: names or positions."""
        return tuple(key for key, _ in self.target)

    @property
    def shapes(self) -> Shapes:
        """Shapes of the tensors to produce."""
        return tuple(shape for _, shape in self.target)

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the unconditional and of the conditional input."""
        return self.hnet.sizes

    @property
    def num_conditions(self) -> int:
        """How many conditions are known by id."""
        return self.hnet.num_conditions

    def declare(self) -> dict[str, Declared]:
        """The tensors of the hypernetwork inside, then the gates."""
        gates = Declared((len(self.shapes),), uniform(0.0, self.gate))
        return inside("hnet", self.hnet.declare()) | {"gate.weight": gates}

    def look_up(self, params: Params, ids: Any) -> Condition:
        """What belongs to conditions of the hypernetwork inside."""
        return self.hnet.look_up(part(params, "hnet"), ids)

    def pairs(self, params: Params, inputs: Inputs) -> list[tuple[jax.Array, jax.Array]]:
        """``A [..., r, n]`` and ``B [..., out, r]`` of each target, scale and gate inside of ``B``."""
        factors = self.hnet.as_tensors(self.hnet.evaluate(part(params, "hnet"), inputs))
        gates = params["gate.weight"]
        scales = [alpha / rank * gates[i] for i, (alpha, rank) in enumerate(zip(self.alpha, self.rank, strict=True))]
        return [(A, scale * B) for A, B, scale in zip(factors[::2], factors[1::2], scales, strict=True)]

    def produce(self, params: Params, inputs: Inputs) -> Produced:
        """The updates, multiplied out."""
        pairs = self.pairs(params, inputs)
        return [(B @ A).reshape(*A.shape[:-2], *shape) for (A, B), shape in zip(pairs, self.shapes, strict=True)]


@dataclass(frozen=True)
class HResidual(Spec):
    """``ω = ω₀ + h(·)`` (:class:`hypnettorch.hnets.residual_hnet.HResidual`).

    ``base`` is ``'init'`` for weights ``ω₀`` that are drawn, ``'given'`` for those that a user puts into ``params``: as
    ``base.0``, ``base.1``, … or, unless ``trainable``, flat as ``base_values``.

    Example:
        >>> spec = HResidual(HMLP([[3, 2], [3]], layers=()))
        >>> [name for name in spec.declare() if name.startswith("base")]
        ['base.0', 'base.1']
    """

    hnet: Any
    base: str = "init"
    trainable: bool = True

    def __post_init__(self) -> None:
        checks.instance("hnet", self.hnet, Spec)
        checks.one_of("base", self.base, ("init", "given"))
        checks.flag("trainable", self.trainable)

    def arguments(self) -> dict[str, Any]:
        """Arguments of the class in PyTorch."""
        tensors = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in self.shapes]
        return {**super().arguments(), "base": self.base if self.base == "init" else tensors}

    @property
    def shapes(self) -> Shapes:
        """Shapes of the tensors to produce."""
        return self.hnet.shapes

    @property
    def sizes(self) -> tuple[int, int]:
        """Sizes of the unconditional and of the conditional input."""
        return self.hnet.sizes

    @property
    def num_conditions(self) -> int:
        """How many conditions are known by id."""
        return self.hnet.num_conditions

    def declare(self) -> dict[str, Declared]:
        """The tensors of ``h``, then ``ω₀``."""
        declared = inside("hnet", self.hnet.declare())
        if self.trainable:
            draws = [_kaiming(shape) for shape in self.shapes]
            return declared | {
                f"base.{i}": Declared(shape, draw)
                for i, (shape, draw) in enumerate(zip(self.shapes, draws, strict=True))
            }
        return declared | {BASE: Declared((self.num_outputs,), self._draw_flat, trainable=False)}

    def _draw_flat(self, key: Any, shape: Any, dtype: Any) -> jax.Array:
        keys = jax.random.split(key, len(self.shapes))
        return flatten([_kaiming(own)(k, own, dtype) for k, own in zip(keys, self.shapes, strict=True)], self.shapes)

    def look_up(self, params: Params, ids: Any) -> Condition:
        """What belongs to conditions of ``h``."""
        return self.hnet.look_up(part(params, "hnet"), ids)

    def produce(self, params: Params, inputs: Inputs) -> Produced:
        """The sum."""
        produced = self.hnet.evaluate(part(params, "hnet"), inputs)
        if self.trainable:
            base = [params[f"base.{i}"] for i in range(len(self.shapes))]
            return [weight + own for weight, own in zip(self.hnet.as_tensors(produced), base, strict=True)]
        return self.hnet.as_flat(produced) + jax.lax.stop_gradient(params[BASE])


KINDS: Mapping[str, type[Spec]] = {
    kind.__name__: kind for kind in (HMLP, ChunkedHMLP, StructuredHMLP, HLowRank, HResidual)
}

ABSENT: Mapping[str, Any] = {
    "no_uncond_weights": False,
    "no_cond_weights": False,
    "use_batch_norm": False,
    "mnet": None,
    "dropout": 0.0,
    "verbose": False,
}
"""Arguments of the classes of PyTorch that a spec does not have, each with the value that it has to have."""


def spec_of(description: descriptions.Description, given: Mapping[str, Any] | None = None) -> Any:
    """The spec that a description stands for (:mod:`hypnettorch.common.descriptions`).

    Args:
        description: The description.
        given: Functions that it leaves open, by the name of the argument.

    Raises:
        ValueError: If the kind or an option is not among those that this half has, or ``given`` does not fit.
    """
    given = {} if given is None else given
    descriptions.check_given(description, given)

    def make(kind: str, described: Mapping[str, Any], place: str) -> Any:
        if kind == "given":
            return given[place]
        if kind == "activation":
            checks.one_of("activation", described["name"], descriptions.ACTIVATIONS)
            return Activation(described["name"], tuple(described["options"].items()))
        if kind == descriptions.GLUED:
            return Gluing.of(described["pieces"])
        if kind == "tensor":
            return tuple(described["shape"])
        checks.one_of("kind", kind, KINDS)
        arguments = descriptions.restore(described["arguments"], make, place)
        if kind == HResidual.__name__ and arguments["base"] != "init":
            arguments["base"] = "given"
        return KINDS[kind](**_present(arguments))

    return descriptions.restore(description, make)


def describe(spec: Spec) -> dict[str, Any]:
    """The description of a spec."""
    arguments = {
        name: describe(value) if isinstance(value, Spec) else descriptions.describe(_as_lists(value))
        for name, value in spec.arguments().items()
    }
    return {"kind": type(spec).__name__, "arguments": arguments}


def _as_lists(value: Any) -> Any:
    """A value with lists in place of tuples, as files have them."""
    if isinstance(value, Mapping):
        return {key: _as_lists(entry) for key, entry in value.items()}
    return [_as_lists(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _present(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without those that a spec does not have."""
    for name, value in ABSENT.items():
        if name == "no_cond_weights" and arguments.get("num_cond_embs") == 0:
            continue  # there are none that could be external
        if arguments.get(name, value) != value:
            checks.fail(name, f"{value}, which is all that the JAX half has", arguments[name])
    return {name: value for name, value in arguments.items() if name not in ABSENT}


def _options(entry: Any) -> tuple[tuple[str, Any], ...]:
    """Arguments of an inner network as a tuple of pairs, so that a spec can be hashed."""
    checks.instance("hmlp_kwargs", entry, (Mapping, tuple), "a dictionary")
    settled = _present(dict(entry))
    if "activation_fn" in settled:
        settled["activation_fn"] = activation(settled["activation_fn"])
    if "layers" in settled:
        settled["layers"] = tuple(settled["layers"])
    return tuple(settled.items())


def _shapes(name: str, values: Any) -> Shapes:
    shapes = tuple(tuple(shape) for shape in checks.shapes(name, values))
    if not shapes:
        checks.fail(name, "at least one shape", "none")
    return shapes


def _check_sizes(spec: Any) -> None:
    for name in ("uncond_in_size", "cond_in_size", "num_cond_embs"):
        checks.integer(name, getattr(spec, name), 0)


def _check_chunks(spec: Any) -> None:
    if spec.cond_chunk_embs and spec.num_cond_embs == 0:
        checks.fail("num_cond_embs", "at least one condition, since cond_chunk_embs is set", 0)
    if not spec.cond_chunk_embs and spec.uncond_in_size + spec.cond_in_size == 0:
        checks.fail("cond_in_size", "an input, or cond_chunk_embs=True", "no input at all")


def _per_target(name: str, value: Any, number: int) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        return [value] * number
    checks.length(name, value, number)
    return list(value)


def _kaiming(shape: tuple[int, ...]) -> Draw:
    """Weights of variance ``2 / fan_in``, vectors 0."""
    return uniform(math.sqrt(6 / math.prod(shape[1:]))) if len(shape) > 1 else zeros


def _per_condition(kind: str, shape: Any, count: int, table: bool) -> dict[str, Declared]:
    """Tensors of one kind, one or (with a list of shapes) several of each condition, drawn from N(0, 1)."""
    shapes = {f".{i}": own for i, own in enumerate(shape)} if isinstance(shape, list) else {"": shape}
    if table:
        names = {f"{kind}{i}.weight": (count, *own) for i, own in shapes.items()}
    else:
        names = {f"{kind}.{c}{i}": own for c in range(count) for i, own in shapes.items()}
    return {name: Declared(own, jax.random.normal) for name, own in names.items()}


def _rows(params: Params, kind: str, count: int, ids: Any, i: int | None = None) -> jax.Array:
    """The tensors of some conditions; with a table, or ids that are traced, by index."""
    suffix = "" if i is None else f".{i}"
    name = f"{kind}{suffix}.weight"
    if name in params:
        table = params[name]
    elif isinstance(ids, int):
        return params[f"{kind}.{ids}{suffix}"]
    else:
        table = jnp.stack([params[f"{kind}.{c}{suffix}"] for c in range(count)])
    return table[ids] if isinstance(ids, int) else table.at[ids].get(mode="fill", fill_value=jnp.nan)


def _chunk_rows(inputs: Inputs, chunks: Any) -> jax.Array:
    """The inputs ``[u, c_j, e]`` of all chunks ``j``, ``[..., num_chunks, size]``; ``chunks`` is ``None`` for one."""
    before, after = (None if x is None else x[..., None, :] for x in (inputs.uncond, inputs.cond.embedding))
    return joined([before, chunks, after])

"""The base of all hypernetworks: what belongs to a condition, inputs, return formats, and how one uses another.

A hypernetwork ``h(e; θ)`` is a network whose output is the weights of another network, the main (or target) network
(Ha et al., "HyperNetworks", 2016, https://arxiv.org/abs/1609.09106). Its tensors are *unconditional* (θ, shared by all
conditions) or *conditional* (they belong to one condition, as an embedding ``e`` does).
"""

from __future__ import annotations

import itertools
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product, takewhile
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch import pretrained
from hypnettorch.core import checks, formats, trees
from hypnettorch.core.low_rank import Key, LowRank
from hypnettorch.core.starts import Start
from hypnettorch.core.table import ALL, Row, values_of
from hypnettorch.core.values import NOTHING, Values, check_dtypes, resolve
from hypnettorch.hnets import initialization, inputs, output_constants
from hypnettorch.hnets.assembly import GluedChunks
from hypnettorch.layers.stages import Linear
from hypnettorch.mnets.batched import map_sets, set_conditions
from hypnettorch.mnets.network import Fill, Network, Shapes, computes, is_network

EMBEDDINGS = "embeddings"
"""The kind of conditional tensor that is an input: what ``cond_input`` replaces."""

PARTS = ("uncond_weights", "cond_weights")

Pairs = list[LowRank]
"""The update of each target, ``A [N, r, n]`` and ``B [N, out, r]``."""


@dataclass(eq=False, slots=True)
class Request:
    """What a hypernetwork is asked for; with many parameter sets tensors are ``[B, N, ...]``.

    Attributes:
        uncond: Unconditional input ``[N, uncond_in_size]``.
        cond: Conditional input ``[N, cond_in_size]``.
        ids: Which conditions are meant, as far as they are not looked up.
        given: Other conditional tensors ``[N, *shape]`` by kind (a list where a kind has several), and what else
            ``weights`` holds besides tensors with a name.
    """

    uncond: Tensor | None = None
    cond: Tensor | None = None
    ids: inputs.Ids | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """The tensors of one kind that each condition has (see :meth:`HyperNetwork.per_condition`)."""

    kind: str
    shapes: Sequence[tuple[int, ...]]
    single: bool
    external: bool
    init: Fill
    roles: Sequence[str | None]
    layer: int
    block: int
    table: bool
    metas: Sequence[Mapping[str, Any]]
    condition_key: str | None

    def template(self, i: int, table: bool) -> str:
        """The name of a tensor, with ``{}`` for the condition: ``'embeddings.{}'``, ``'chunk_embs.{}.0'`` of several.

        Args:
            i: Which of the tensors.
            table: Whether it is that of all conditions: ``'embeddings.weight'``.
        """
        own = "" if self.single else f".{i}"
        return f"{self.kind}{own}.weight" if table else f"{self.kind}.{{}}{own}"

    def check(self, given: Any) -> None:
        """Raise unless tensors ``[..., N, *shape]`` were given for all conditions that are asked for."""
        name = f"weights['{self.kind}']"
        if given is None:
            shapes = self.shapes[0] if self.single else [list(shape) for shape in self.shapes]
            expected = f"the key '{self.kind}' with tensors [N, *shape] for {shapes}, or cond_id"
            checks.fail("weights", expected, "neither")
        tensors = [given] if self.single else [tensor for tensor in given if tensor is not None]
        checks.length(name, tensors, len(self.shapes))
        for i, (tensor, shape) in enumerate(zip(tensors, self.shapes, strict=True)):
            if tuple(tensor.shape[tensor.dim() - len(shape) :]) != shape:
                label = name if self.single else (name, i)
                checks.fail(label, f"shape (N, {', '.join(map(str, shape))})", tuple(tensor.shape))


class Produced:
    """Weights that a hypernetwork produced.

    Args:
        value: Flat weights ``[N, n]``, or a tensor ``[N, *shape]`` per target (of many parameter sets ``[B, N, ...]``).
        shapes: The target shapes.
    """

    def __init__(self, value: Tensor | Sequence[Tensor], shapes: Shapes) -> None:
        self.value = value
        self.shapes = shapes

    @property
    def flat(self) -> Tensor:
        """``[N, num_outputs]``."""
        return self.formatted("flattened")

    @property
    def tensors(self) -> list[Tensor]:
        """One tensor ``[N, *shape]`` per target."""
        return self.formatted("stacked")

    def formatted(self, ret_format: str) -> Any:
        """The weights in a format (:mod:`hypnettorch.core.formats`)."""
        if isinstance(self.value, Tensor):
            return formats.from_padded(self.value, self.shapes, ret_format)
        return formats.from_stacked(self.value, self.shapes, ret_format)


class HyperNetwork(Network):
    """A hypernetwork, given by its declaration and its equation.

    A subclass declares tensors as every network does, says with :meth:`per_condition` what belongs to each condition,
    and implements :meth:`generate`, the equation. It uses other hypernetworks by :meth:`include` and :meth:`ask`.

    Args:
        target_shapes: Shapes of the tensors to produce.
        uncond_in_size: Size of the unconditional input.
        cond_in_size: Size of the conditional input.

    Raises:
        ValueError: If there is no target shape, or a size is negative.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        pretrained.record_arguments(cls)

    def __init__(self, target_shapes: Any, uncond_in_size: int = 0, cond_in_size: int = 0) -> None:
        super().__init__()
        self._target_shapes = checks.shapes("target_shapes", target_shapes)
        if not self._target_shapes:
            checks.fail("target_shapes", "at least one shape", "none")
        self._uncond_in_size = checks.integer("uncond_in_size", uncond_in_size, 0)
        self._cond_in_size = checks.integer("cond_in_size", cond_in_size, 0)
        self._num_known_conds = 0
        self._families: list[Family] = []
        self._lookups: list[tuple[Family, list[str]]] = []
        self._learned_is_list = True
        self._output_layers: Sequence[Any] = ()
        output_constants.prepare(self)
        self.register_load_state_dict_pre_hook(_unwrap)
        self.register_load_state_dict_pre_hook(_fit_tables)

    def set_options(
        self, no_uncond_weights: bool, no_cond_weights: bool, num_cond_embs: int, embedding_table: bool
    ) -> None:
        """Keep the options that the hypernetworks of this package share.

        Args:
            no_uncond_weights: Whether the parameters that all conditions share are external.
            no_cond_weights: Whether the parameters of single conditions are external.
            num_cond_embs: Number of conditions.
            embedding_table: Whether the embeddings of all conditions are one parameter.

        Raises:
            ValueError: If the number is negative.
            TypeError: If an argument has the wrong type.
        """
        self._no_uncond_weights, self._no_cond_weights = no_uncond_weights, no_cond_weights
        self._num_first_conds = checks.integer("num_cond_embs", num_cond_embs, 0)
        checks.flag("embedding_table", embedding_table)
        self._embedding_table = embedding_table

    def set_layer_options(
        self, activation_fn: Any, use_bias: bool, use_spectral_norm: bool, use_batch_norm: bool
    ) -> None:
        """Keep the options of hypernetworks of layers, and declare an embedding of each condition.

        Args:
            activation_fn: Nonlinearity of the hidden layers; ``None`` for none.
            use_bias: Whether the layers have bias vectors.
            use_spectral_norm: Whether weights are divided by their largest singular value.
            use_batch_norm: Whether hidden layers are batch-normalised.

        Raises:
            ValueError: If there is no input.
            TypeError: If an argument has the wrong type.
        """
        if self._uncond_in_size + self._cond_in_size == 0:
            checks.fail("uncond_in_size", "an input: uncond_in_size or cond_in_size above 0", "0 and 0")
        checks.flag("use_bias", use_bias)
        checks.function("activation_fn", activation_fn)
        self._act_fn, self._has_bias = activation_fn, use_bias
        self._use_batch_norm, self._use_spectral_norm = use_batch_norm, use_spectral_norm
        self.embed(self._num_first_conds, self._no_cond_weights, self._embedding_table)

    # ------------------------------------------------------------------------------------------- declaration

    def full_layer(self, name: str, fan_in: int, fan_out: int, **options: Any) -> Linear:
        """Declare a linear map with the options of the network."""
        options |= {"external": self._no_uncond_weights, "spectral_norm": self._use_spectral_norm}
        return self.linear(name, fan_in, fan_out, bool(self._has_bias), **options)

    def per_condition(
        self,
        kind: str,
        shape: Sequence[int] | Sequence[Sequence[int]],
        count: int,
        *,
        external: bool = False,
        init: Fill = nn.init.normal_,
        role: str | Sequence[str | None] | None = "embedding",
        layer: int = 0,
        block: int = 0,
        table: bool = False,
        condition_key: str | None = None,
        metas: Sequence[Mapping[str, Any]] | None = None,
        **meta: Any,
    ) -> None:
        """Declare what belongs to each condition; further conditions (:meth:`add_conditions`) get the same.

        Args:
            kind: What the tensors are, such as ``'embeddings'``; their names begin with it.
            shape: Shape of the tensor, or a list of shapes of several.
            count: Number of conditions.
            external: Whether the tensors must be passed to ``forward``.
            init: Fills a new tensor in place.
            role: ``name`` in ``param_shapes_meta``, or one for each tensor.
            layer: ``layer`` in ``param_shapes_meta``.
            block: Where the tensors stand, condition by condition.
            table: Whether those of all conditions are one parameter ``[count, *shape]``, from which rows are read;
                without conditions there is none.
            condition_key: Key in ``param_shapes_meta`` under which the condition stands.
            metas: Further entries in ``param_shapes_meta`` for each of several tensors.
            **meta: Further entries for all.
        """
        single = not shape or not isinstance(shape[0], Sequence)
        shapes: list[Any] = [tuple(shape)] if single else [tuple(one) for one in shape]  # type: ignore[arg-type]
        roles = [role] * len(shapes) if role is None or isinstance(role, str) else list(role)
        own = [dict(meta, **entry) for entry in metas or [{}] * len(shapes)]
        family = Family(kind, shapes, single, external, init, roles, layer, block, table, own, condition_key)
        self._families.append(family)
        self._lookups.append((family, [family.template(i, table) for i in range(len(shapes))]))
        self._num_known_conds = count
        self._declare_conditions(family, 0, count)

    def embed(self, num_cond_embs: int, external: bool = False, table: bool = False) -> None:
        """Declare an input embedding ``[cond_in_size]`` for each condition, drawn from N(0, 1).

        Args:
            num_cond_embs: Number of conditions; 0 if each call passes ``cond_input``. Without conditional input it has
                no effect, and a warning says so.
            external: Whether the embeddings must be passed to ``forward``.
            table: Whether they are one parameter ``[num_cond_embs, cond_in_size]``.
        """
        count = checks.integer("num_cond_embs", num_cond_embs, 0)
        checks.flag("embedding_table", table)
        if self._cond_in_size == 0 and count > 0:
            warnings.warn("num_cond_embs has no effect without conditional input (cond_in_size=0)", stacklevel=3)
            count = 0
        self.table.next_layer()
        if self._cond_in_size > 0:
            self.per_condition(EMBEDDINGS, [self._cond_in_size], count, external=external, table=table)

    def _declare_conditions(self, family: Family, first: int, count: int, init: Fill | None = None) -> None:
        """Declare the tensors of the conditions ``first``, …, ``count - 1``; a table begins with the rows that it had.

        Args:
            family: The tensors.
            first: Number of conditions that are declared already.
            count: Number of conditions.
            init: Fills the tensor of each condition (default: as the constructor does, a table at once).
        """
        conditions = range(first, count) if not family.table else [ALL] if count else []
        rows = []
        for condition, (i, shape) in product(conditions, enumerate(family.shapes)):
            name = family.template(i, family.table).format(condition)
            known, owner, key = self.table.by_name.get(name), None, ""
            shape = (count, *shape) if family.table else shape
            if not family.external:
                owner, key = self._place(name)
                value = (self._like() if known is None else known.value()).new_empty(shape)
                if known is not None:
                    value[:first] = known.value().detach()
                new = value[first:] if family.table else value
                with torch.no_grad():
                    for tensor in new if family.table and init else [new]:
                        (init or family.init)(tensor)
                owner.register_parameter(key, nn.Parameter(value))
            meta = dict(family.metas[i])
            if family.condition_key and not family.table:
                meta[family.condition_key] = condition
            order = (family.block, 0, condition)
            row = Row(name, shape, family.roles[i], family.layer, owner, key, family.kind, condition, order, meta)
            if known is None:
                rows.append(row)
            else:
                self.table.replace(known, row)
        self._extend(rows)

    # ------------------------------------------------------------------------------------------- evaluation

    def generate(self, request: Request, values: Values) -> Tensor | Sequence[Tensor]:
        """The equation.

        Args:
            request: The inputs, all of one batch size ``N``; what belongs to conditions is looked up.
            values: The tensors by name.

        Returns:
            Flat weights ``[N, num_outputs]``, with or without surplus numbers at the end, or a tensor ``[N, *shape]``
            per target; with many parameter sets ``[B, N, ...]``.
        """
        raise NotImplementedError(f"{type(self).__name__} implements neither generate nor forward")

    def ask(self, name: str, request: Request, values: Values) -> Produced:
        """What another hypernetwork, a part of this one, produces.

        Args:
            name: Name of the part.
            request: What it is asked for.
            values: The evaluation of this network.
        """
        network: Any = self.get_submodule(name)
        return Produced(evaluate(network, request, values.part(name)), network.target_shapes)

    def forward(  # type: ignore[override]
        self,
        uncond_input: Tensor | None = None,
        cond_input: Any = None,
        cond_id: Any = None,
        weights: Any = None,
        distilled_params: Any = None,
        condition: int | None = None,
        ret_format: str = "squeezed",
    ) -> Any:
        """Compute weights of the target network.

        Args:
            uncond_input: Unconditional input ``[N, uncond_in_size]``, e.g. noise.
            cond_input: Conditional input ``[N, cond_in_size]``, e.g. embeddings that are kept elsewhere.
            cond_id: Which internally kept conditions to use: an int, a list of ints or a 1-D ``LongTensor``. Excludes
                ``cond_input``. Under ``torch.compile`` and ``vmap`` a tensor is an index into all conditions: one graph
                for all values, no check of the range, and zero gradients instead of ``None`` for the others.
            weights: External tensors: a dictionary by name (:attr:`param_names`), a list that fits
                ``hyper_shapes_learned`` or ``param_shapes``, or a dictionary with the keys ``uncond_weights`` and/or
                ``cond_weights``. It may also hold conditional tensors by kind, as ``chunk_embs``.
            distilled_params: Must be ``None``.
            condition: Id of the batch norm statistics; ignored without batch norm.
            ret_format: ``'squeezed'``, ``'sequential'``, ``'flattened'`` or ``'stacked'``
                (:mod:`hypnettorch.core.formats`). With ``'factors'`` it is :meth:`factors`.

        Returns:
            The weights in the format that was asked for.

        Raises:
            ValueError: If inputs or weights are missing, do not fit or exclude each other.
            TypeError: If an argument has the wrong type.
        """
        if distilled_params is not None:
            raise checks.Unavailable(f"distilled_params: expected None, got {type(distilled_params).__name__}")
        if weights is None and self._call is not None:
            weights, condition = self.lent(condition)
        if ret_format == "factors":
            return self.factors(uncond_input, cond_input, cond_id, weights, condition, "stacked")
        request, values = self.read(uncond_input, cond_input, cond_id, weights, condition, ret_format)
        produced = evaluate_own(self, request, values)
        if isinstance(produced, Tensor):
            return formats.from_padded(produced, self._target_shapes, ret_format)
        return formats.from_stacked(produced, self._target_shapes, ret_format)

    def batched_forward(  # type: ignore[override]
        self,
        uncond_input: Tensor | None = None,
        cond_input: Any = None,
        cond_id: Any = None,
        weights: Any = None,
        share_input: bool = False,
        condition: int | Sequence[int] | None = None,
        ret_format: str = "squeezed",
    ) -> Any:
        """Evaluate the hypernetwork with ``B`` sets of its own parameters, in one pass of batched products.

        Args:
            uncond_input: As for ``forward`` with a leading dimension ``[B, N, ...]``; without it if ``share_input``.
            cond_input: Likewise.
            cond_id: As for ``forward``, shared by all sets.
            weights: As for ``forward``, each tensor ``[B, *shape]``.
            share_input: Whether all sets see the same inputs.
            condition: One condition, or ``B`` of them.
            ret_format: ``'flattened'``: ``[B, N, D]``; ``'stacked'``: a list of ``[B, N, *shape]``; ``'sequential'``:
                ``N`` lists of ``[B, *shape]``; ``'squeezed'``: as sequential, the inner list itself if ``N == 1``.

        Returns:
            The weights, equal to a loop over the sets.

        Raises:
            ValueError: If the number of sets differs between arguments.
        """
        arguments = {"uncond_input": uncond_input, "cond_input": cond_input, "weights": weights}
        if not self.takes_many_sets():
            return by_vmap(self, arguments, cond_id, share_input, condition, ret_format)
        sets = inputs.count_sets_of(arguments, share_input)
        if share_input:
            uncond_input, cond_input = trees.map_tensors(lambda t: t.expand(sets, *t.shape), (uncond_input, cond_input))
        ids = None if condition is None else set_conditions(condition, sets)
        request, values = self.read(uncond_input, cond_input, cond_id, weights, ids, ret_format, sets)
        return Produced(evaluate_own(self, request, values), self._target_shapes).formatted(ret_format)

    def takes_many_sets(self) -> bool:
        """Whether the equation is what ``forward`` evaluates, and can be evaluated for many parameter sets at once."""
        return computes(type(self), "generate")

    def read(
        self,
        uncond_input: Any,
        cond_input: Any,
        cond_id: Any,
        weights: Any,
        condition: Any,
        ret_format: str,
        sets: int | None = None,
    ) -> tuple[Request, Values]:
        """The arguments of ``forward``, checked: what is asked for, and the tensors.

        Raises:
            ValueError: If an argument is wrong.
            TypeError: If an argument has the wrong type.
        """
        if ret_format not in formats.FORMATS:
            checks.one_of("ret_format", ret_format, formats.FORMATS)
        given: Mapping[str, Any] = NOTHING
        if weights is not None and isinstance(weights, Mapping):
            weights, given = self._split(weights)
        if uncond_input is not None or cond_input is not None:
            inputs.check_combination(uncond_input, cond_input, None if self.keeps_both else cond_id, required=False)
        ids: inputs.Ids | None = None
        if type(cond_id) is int and 0 <= cond_id < self._num_known_conds:
            ids = [cond_id]
        elif cond_id is not None:
            ids = inputs.parse_cond_id(cond_id, self.num_known_conds)
        tensors, passed = resolve(self.table, weights, self, stacked=sets is not None)
        return Request(uncond_input, cond_input, ids, given), Values(tensors, passed, sets, condition)

    condition_dims: Any = 1
    """Number of dimensions of the conditional input for one weight set, or of each of its parts."""

    keeps_both = False
    """Whether ``cond_input`` and ``cond_id`` may be given together."""

    def _split(self, weights: Mapping[Any, Any]) -> tuple[Any, Mapping[str, Any]]:
        """Separate tensors with a name, or lists of them, from everything else."""
        named = {key: value for key, value in weights.items() if key in PARTS or "." in str(key)}
        given = {key: value for key, value in weights.items() if key not in named}
        self.check_given(given)
        return (named if named or not weights else None), given

    def check_given(self, given: Mapping[str, Any]) -> None:
        """Raise unless everything that ``weights`` holds besides named tensors belongs to this network."""
        kinds = {family.kind: family for family in self._families if family.kind != EMBEDDINGS}
        for key, value in given.items():
            if any(row.name.startswith(f"{key}.") for row in self.table.shared):
                checks.fail(f"weights['{key}']", f"no such key, since '{key}' are unconditional", "tensors")
            if key not in kinds:
                known = [*PARTS, *kinds]
                checks.fail(
                    "weights", f"a dictionary with some of the keys {known}, or by names", f"keys {list(given)}"
                )
            name = f"weights['{key}']"
            if kinds[key].single:
                checks.tensor(name, value)
            else:
                checks.instance(name, value, (list, tuple), "a list")
                if not value:
                    checks.fail(name, "at least one entry", "none")

    def select(self, request: Request, values: Values) -> Request:
        """Look up what belongs to conditions, and bring all inputs to one batch size.

        Raises:
            ValueError: If an input is missing, superfluous or of the wrong shape.
        """
        cond, given, known = request.cond, request.given, request.ids is not None
        if request.ids is not None:
            found = self.conditions(request.ids, values)
            if given:
                checks.fail("cond_id", f"None, since weights has the keys {sorted(given)}", request.ids)
            cond, given = found.pop(EMBEDDINGS, None), found
        elif not (given or request.uncond is not None or cond is not None) and self._takes_input():
            inputs.check_combination(request.uncond, cond, None, required=True)
        if (request.uncond is not None) + (known or (cond is not None) + len(given)) > 1:
            request = self._joined(request, cond, given, 0 if values.sets is None else 1)
        elif known:
            request = Request(request.uncond, cond, None, given)
        self.check_inputs(request)
        return request

    def _joined(self, request: Request, cond: Tensor | None, given: Mapping[str, Any], dim: int) -> Request:
        """Inputs of batch size 1 expanded to that of the others; the batch is dimension ``dim``."""
        by_id = request.ids is not None
        named = {"uncond_input": request.uncond, f"cond_id ({EMBEDDINGS})" if by_id else "cond_input": cond}
        for kind, value in given.items():
            source = f"cond_id ({kind})" if by_id else f"weights['{kind}']"
            named |= {f"{source}[{i}]": leaf for i, leaf in enumerate([value] if isinstance(value, Tensor) else value)}
        uncond, cond, *rest = inputs.join_batches(named, dim)
        leaves = iter(rest)
        joined = {
            kind: next(leaves) if isinstance(value, Tensor) else [next(leaves) for _ in value]
            for kind, value in given.items()
        }
        return Request(uncond, cond, None, joined)

    def check_inputs(self, request: Request) -> None:
        """Check the width of each input by itself, and the shapes of what is given besides."""
        uncond, cond = request.uncond, request.cond
        if (0 if uncond is None else uncond.shape[-1]) != self._uncond_in_size:
            inputs.check_width("uncond_input", uncond, self._uncond_in_size)
        if (0 if cond is None else getattr(cond, "shape", (-1,))[-1]) != self._cond_in_size:  # -1: a dictionary
            inputs.check_width("cond_input", cond, self._cond_in_size)
        for family in self._families:
            if family.kind != EMBEDDINGS:
                family.check(request.given.get(family.kind))

    def _takes_input(self) -> bool:
        """Whether there is anything that ``forward`` could be given."""
        return self._uncond_in_size > 0 or self._cond_in_size > 0 or self.num_known_conds > 0

    # ------------------------------------------------------------------------------------------- conditions

    def conditions(self, ids: inputs.Ids, values: Values) -> dict[str, Any]:
        """The tensors ``[N, *shape]`` of some conditions by kind; a list where a kind has several.

        Args:
            ids: Checked ids.
            values: The evaluation; with many parameter sets tensors are ``[B, N, *shape]``.
        """
        found: dict[str, Any] = {}
        for family, templates in self._lookups:
            tensors = []
            for template in templates:
                tensors.append(self._look_up(template, family.table, ids, values))
            found[family.kind] = tensors[0] if family.single else tensors
        return found

    def _look_up(self, template: str, table: bool, ids: inputs.Ids, values: Values) -> Tensor:
        """One of the tensors of some conditions, ``[N, *shape]``; with many parameter sets ``[B, N, *shape]``."""
        chosen = range(self._num_known_conds) if isinstance(ids, Tensor) else ids
        names = [template] if table else list(map(template.format, chosen))
        tensors: list[Tensor | None] = []
        for name in names:
            row, tensor = self.table.by_name[name], values.tensors.get(name)
            if tensor is None and row.owner is not None:
                tensor = row.owner._parameters.get(row.key)
            tensors.append(tensor)
        stacked = values.sets is not None and names[0] in values.given
        if table:
            tensor = inputs.read_rows(tensors[0], ids, int(stacked))
        elif isinstance(ids, Tensor):
            tensor = inputs.select(tensors, ids, int(stacked))
        else:
            tensor = inputs.stack(tensors, int(stacked))
        return tensor if values.sets is None or stacked else tensor.expand(values.sets, *tensor.shape)

    @property
    def num_known_conds(self) -> int:
        """Number of conditions that the hypernetwork knows by id."""
        return self._num_known_conds

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Look conditions up, as arguments of ``forward`` that replace ``cond_id``.

        ``hnet(**hnet.condition_inputs(ids))`` equals ``hnet(cond_id=ids)``. Done outside of a compiled region, it
        leaves one graph for all conditions, checks the ids and keeps the gradients of other conditions ``None``.

        Args:
            cond_id: As for ``forward``.

        Returns:
            Keyword arguments of ``forward``.

        Raises:
            ValueError: If an id is out of range, or conditional parameters are external.
        """
        found = self.conditions(inputs.parse_cond_id(cond_id, self.num_known_conds), Values({}))
        arguments: dict[str, Any] = {}
        if EMBEDDINGS in found:
            arguments["cond_input"] = found.pop(EMBEDDINGS)
        if found:
            arguments["weights"] = found
        return arguments

    def takes_conditions(self) -> bool:
        """Whether something depends on the condition, so that :meth:`add_conditions` concerns this network."""
        return bool(self._families) or bool(self.condition_owners())

    def condition_owners(self) -> list[str]:
        """The parts that have to know a new condition, too."""
        parts: dict[str, Any] = {name: self.get_submodule(name) for name in self._parts}
        return [name for name, part in parts.items() if hasattr(part, "takes_conditions") and part.takes_conditions()]

    def add_conditions(self, n: int, init: Fill | None = None) -> list[nn.Parameter]:
        """Let the network know ``n`` more conditions.

        Parameters that exist stay the same objects, so an optimiser keeps its state. Networks whose batch norm keeps
        statistics per condition get further statistics. Embeddings that are kept as a table (``embedding_table=True``)
        are copied into a larger one, which is a new parameter: an optimiser has to be told, and starts anew for it.

        Args:
            n: Number of new conditions.
            init: Fills each new tensor in place (default: as the constructor does).

        Returns:
            The new parameters, for ``optimizer.add_param_group``; empty if they are external.

        Raises:
            ValueError: If ``n`` is not positive, or the network has no conditional parameters.

        Example:
            >>> from hypnettorch.hnets import HMLP
            >>> hnet = HMLP([[4, 3]], cond_in_size=2, num_cond_embs=1, verbose=False)
            >>> [tuple(p.shape) for p in hnet.add_conditions(2)], hnet.num_known_conds
            ([(2,), (2,)], 3)
        """
        checks.integer("n", n, 1)
        checks.function("init", init)
        known = {id(param): param for param in values_of(self.table.internal())}  # alive, so that ids stay theirs
        first, owners = self.num_known_conds, self.condition_owners()
        if not (self._families or owners):
            raise checks.StateError(f"add_conditions: {type(self).__name__} has no conditional parameters")
        for name in owners:
            part: Any = self.get_submodule(name)
            part.add_conditions(n, init)
            self.refresh_part(name)
        for family in self._families:
            self._declare_conditions(family, first, first + n, init)
        self._num_known_conds = first + n
        for _, layer in self._norms:
            if first > 1 and layer.num_stats == first:
                for _ in range(n):
                    layer.checkpoint_stats()
        return [param for param in values_of(self.table.internal()) if id(param) not in known]  # type: ignore[misc]

    def refresh_part(self, name: str) -> None:
        """Take over rows that a part has and this table has not."""
        part: Any = self.get_submodule(name)
        own = self.table.by_name
        rows = [self._row_of_part(name, row) for row in part.table.rows]
        self._extend([row for row in rows if row.name not in own])
        for row in rows:
            if row.name in own and own[row.name].shape != row.shape:
                self.table.replace(own[row.name], row)

    def parameters_of_condition(self, cond_id: int) -> list[Tensor]:
        """The internal parameters that belong to one condition, in the documented order.

        Raises:
            NotImplementedError: If those of all conditions are one table.
        """
        rows = [row for row in self.table.internal() if row.kind is not None]
        if any(row.condition == ALL for row in rows):
            raise checks.Unavailable(
                "parameters_of_condition: expected embedding_table=False, since rows of a table are no parameters"
            )
        return [row.value() for row in rows if row.condition == cond_id]

    def condition_embeddings(self) -> Iterator[tuple[int, Tensor]]:
        """Internal input embeddings with the id of their condition."""
        return ((c, tensor) for c, tensor, _ in self._held(EMBEDDINGS))

    def chunk_embeddings(self) -> Iterator[tuple[Tensor, int, int | None]]:
        """Internal chunk embeddings with the id of the chunk and, if they belong to one, of the condition."""
        for name in self._parts:
            part: Any = self.get_submodule(name)
            if hasattr(part, "chunk_embeddings"):
                yield from part.chunk_embeddings()

    def _held(self, kind: str) -> Iterator[tuple[int, Tensor, Row]]:
        """Internal tensors of one kind, condition by condition; rows of tables are views."""
        for row in self.table.kinds.get(kind, []):
            if row.owner is not None:
                value = row.value()
                if row.condition == ALL:
                    yield from ((c, value[c], row) for c in range(len(value)))
                else:
                    yield row.condition, value, row  # type: ignore[misc]

    def get_cond_in_emb(self, cond_id: int) -> nn.Parameter:
        """The input embedding of a condition.

        Args:
            cond_id: Id of the condition.

        Returns:
            The parameter ``[cond_in_size]`` itself; with a table a view of its row.

        Raises:
            RuntimeError: If the embeddings are not internal or there is no such condition (the class is a
                ``ValueError`` as well).
        """
        return self.conditional_tensors(EMBEDDINGS, cond_id)[0]  # type: ignore[return-value]

    def conditional_tensors(self, kind: str, cond_id: Any) -> list[Tensor]:
        """The internal tensors of one kind that belong to a condition.

        Raises:
            RuntimeError: If they are not internal or there is no such condition (the class is a ``ValueError``, too).
        """
        if isinstance(cond_id, bool) or not hasattr(cond_id, "__index__"):
            raise checks.StateError(f"cond_id: expected an integer, got {type(cond_id).__name__}")
        held = list(self._held(kind))
        found = [tensor for condition, tensor, _ in held if condition == int(cond_id)]
        if not found:
            known = len({condition for condition, _, _ in held})
            raise checks.StateError(
                f"cond_id: expected the id of one of {known} internally kept conditions, got {cond_id}"
            )
        return found

    # ------------------------------------------------------------------------------------------- what can be asked

    @property
    def target_shapes(self) -> Shapes:
        """Shapes of the tensors that the hypernetwork produces."""
        return self._target_shapes

    @property
    def num_outputs(self) -> int:
        """Number of weights that the hypernetwork produces."""
        return formats.num_elements(self.target_shapes)

    @property
    def hyper_shapes_learned(self) -> Shapes | None:
        """Shapes of the tensors that must be passed as ``weights=``; empty if all are internal."""
        learned = [list(row.shape) for row in self.table.learned]
        return learned if learned or self._learned_is_list else None

    @property
    def parts(self) -> Mapping[str, Sequence[Row]]:
        """The keys that a dictionary ``weights`` may have besides names, and the rows that each stands for."""
        return {
            "uncond_weights": self.table.shared,
            "cond_weights": [row for row in self.table.rows if row.kind is not None],
        }

    @property
    def unconditional_param_shapes_ref(self) -> list[int]:
        """Positions in ``param_shapes`` of the unconditional parameters."""
        return [i for i, row in enumerate(self.table.rows) if row.kind is None]

    @property
    def unconditional_param_shapes(self) -> Shapes:
        """Shapes of the unconditional parameters, internal or not."""
        return [list(row.shape) for row in self.table.shared]

    @property
    def conditional_param_shapes_ref(self) -> list[int]:
        """Positions in ``param_shapes`` of the conditional parameters."""
        return [i for i, row in enumerate(self.table.rows) if row.kind is not None]

    @property
    def conditional_param_shapes(self) -> Shapes:
        """Shapes of the conditional parameters, internal or not."""
        return [list(row.shape) for row in self.table.rows if row.kind is not None]

    @property
    def unconditional_params_ref(self) -> list[int] | None:
        """Positions in ``internal_params`` of the unconditional parameters; ``None`` if none is internal."""
        return [i for i, row in enumerate(self.table.internal()) if row.kind is None] or None

    @property
    def unconditional_params(self) -> list[nn.Parameter] | None:
        """Internal parameters that all conditions share; ``None`` if there are none."""
        return [row.value() for row in self.table.internal() if row.kind is None] or None

    @property
    def conditional_params(self) -> list[nn.Parameter] | None:
        """Internal parameters that belong to single conditions; an empty list if there are none."""
        return [row.value() for row in self.table.internal() if row.kind is not None]

    def get_task_embs(self) -> list[nn.Parameter] | None:
        """Deprecated: use :attr:`conditional_params`."""
        warnings.warn("'get_task_embs' is deprecated, use 'conditional_params'", DeprecationWarning, stacklevel=2)
        return self._task_embs()

    def get_task_emb(self, task_id: int) -> nn.Parameter:
        """Deprecated: use :attr:`conditional_params`."""
        warnings.warn("'get_task_emb' is deprecated, use 'conditional_params'", DeprecationWarning, stacklevel=2)
        embeddings = self._task_embs()
        return embeddings[checks.integer("task_id", task_id, 0, len(embeddings) - 1)]

    def _task_embs(self) -> list[nn.Parameter]:
        params = self.conditional_params or []
        as_table = any(row.condition == ALL for row in self.table.rows)
        if as_table or len(params) != self.num_known_conds:
            got = "a table of all conditions" if as_table else len(params)
            expected = f"one conditional tensor per condition ({self.num_known_conds})"
            raise checks.StateError(f"get_task_embs: expected {expected}, got {got}")
        return params

    def add_to_uncond_params(self, dparams: Sequence[Tensor], params: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Add changes to the unconditional parameters.

        Args:
            dparams: The changes.
            params: What to add them to (default: :attr:`unconditional_params`).

        Returns:
            The sums; the parameters themselves stay as they are.

        Raises:
            ValueError: If there are no parameters to add to, or the numbers or shapes of tensors differ.
        """
        own: Sequence[Tensor] | None = self.unconditional_params if params is None else params
        if own is None:
            checks.fail("params", "tensors, since no unconditional parameter is internal", None)
        checks.length("dparams", dparams, len(own))
        for i, (param, dparam) in enumerate(zip(own, dparams, strict=True)):
            checks.shape(("dparams", i), dparam, param.shape)
        return [param + dparam for param, dparam in zip(own, dparams, strict=True)]

    def convert_out_format(self, hnet_out: Any, src_format: str, trgt_format: str) -> Any:
        """Convert generated weights from one return format to another.

        Args:
            hnet_out: Weights in the format ``src_format``.
            src_format: Format of ``hnet_out``; a ``'squeezed'`` list of tensors is one weight set.
            trgt_format: Wanted format.

        Returns:
            The weights in the format ``trgt_format``; views where possible.

        Raises:
            ValueError: If a format is unknown or the weights do not fit it.
        """
        return formats.convert(hnet_out, self.target_shapes, src_format, trgt_format)

    def distillation_targets(self) -> list[Tensor] | None:
        """``None``: there is nothing to distil."""
        return None

    @property
    def makes_updates(self) -> bool:
        """Whether what is produced are low-rank updates of weights, which :meth:`factors` gives as pairs."""
        return False

    @property
    def target_keys(self) -> list[Key]:
        """The keys of :meth:`factors`, in the order of ``target_shapes``."""
        return list(range(len(self.target_shapes)))

    def updates(self, request: Request, values: Values) -> Pairs:
        """The equation of a network that makes low-rank updates of weights, as pairs.

        Args:
            request: As for :meth:`generate`.
            values: As for :meth:`generate`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement updates")

    def read_updates(self, request: Request, values: Values) -> Pairs:
        """The low-rank updates, from inputs that are not looked up yet."""
        self.check_complete(values.tensors, values.given or None)
        return self.updates(self.select(request, values), values)

    def factors(
        self,
        uncond_input: Tensor | None = None,
        cond_input: Any = None,
        cond_id: Any = None,
        weights: Any = None,
        condition: int | None = None,
        ret_format: str = "squeezed",
    ) -> dict[Key, LowRank]:
        """The updates as pairs, scale and gate inside of ``B``.

        Args:
            uncond_input: As for ``forward``, as all that follows.
            cond_input: Conditional input ``[N, cond_in_size]``.
            cond_id: Id or ids of conditions.
            weights: External parameters.
            condition: Id of the batch norm statistics.
            ret_format: ``'squeezed'``, or ``'stacked'`` to have the leading dimension also for ``N = 1``.

        Returns:
            ``{key: (A, B)}`` with ``A [r, n]`` and ``B [out, r]``; for ``N > 1`` conditions ``A [N, r, n]`` and
            ``B [N, out, r]``.

        Raises:
            ValueError: If inputs or weights are missing or do not fit.
            NotImplementedError: If no low-rank updates are made, or they would be changed.
        """
        checks.one_of("ret_format", ret_format, ("squeezed", "stacked"))
        if not self.makes_updates:
            raise checks.Unavailable(
                f"{type(self).__name__} produces no factors: expected an HLowRank, or a wrapper around one"
            )
        pairs = self.read_updates(*self.read(uncond_input, cond_input, cond_id, weights, condition, ret_format))
        if ret_format == "squeezed" and pairs[0].A.shape[0] == 1:
            pairs = [LowRank(A.squeeze(0), B.squeeze(0)) for A, B in pairs]
        return dict(zip(self.target_keys, pairs, strict=True))

    @property
    def output_scale(self) -> Tensor:
        """What each weight is multiplied by, ``[num_outputs]``: ones until an initialisation sets it."""
        return output_constants.expanded(self, output_constants.SCALE, 1.0)

    @property
    def output_offset(self) -> Tensor:
        """What is added to each weight, ``[num_outputs]``: zeros until an initialisation sets it."""
        return output_constants.expanded(self, output_constants.OFFSET, 0.0)

    # ------------------------------------------------------------------------------------------- initialisation

    def apply_hyperfan_init(
        self,
        method: str = "in",
        use_xavier: bool = False,
        uncond_var: float = 1.0,
        cond_var: float = 1.0,
        mnet: Any = None,
        cond_input: Any = None,
        uncond_input: Tensor | None = None,
        target_var: Any = None,
    ) -> None:
        """Initialise such that the produced weights have the variance that their fans ask for.

        All parameters but the embeddings of conditions are drawn anew. An inner network is initialised for the targets
        in which its output ends up; where a produced tensor is used in several of them, for their average variance.
        Batch norm scales and gains start at 1, shifts at 0. Where the parameters cannot give each target its own start,
        constants do (:attr:`output_scale`, :attr:`output_offset`). The mathematics stand in
        :mod:`hypnettorch.hnets.initialization`.

        Args:
            method: ``'in'`` (activations keep their variance), ``'out'`` (gradients do), or ``'harmonic'`` (harmonic
                mean of the two variances).
            use_xavier: Xavier instead of Kaiming initialisation: no factor 2 for rectified units.
            uncond_var: Mean square of an entry of the unconditional input: its variance, if its mean is 0.
            cond_var: Mean square of an entry of the conditional input.
            mnet: The main network, whose ``param_shapes_meta`` say what each target is. Without it, targets with more
                than one dimension count as weights and vectors as the bias of the weight before them.
            cond_input: Samples of the conditional input, as ``forward`` takes them, for which to measure what enters
                the output layer. They replace both variances.
            uncond_input: Samples of the unconditional input, likewise. If only one of the two is given, the other is
                that of conditions which the network knows, or drawn from N(0, 1).
            target_var: Variances of the targets that replace those of their fans, as
                :meth:`~hypnettorch.hnets.hypernetwork.HyperNetwork.apply_calibrated_init` takes them. Sines (SIREN)
                want ``2 / fan_in``, the variance of U(±√(6 / fan_in)).

        Raises:
            ValueError: If an argument is wrong, ``mnet`` takes tensors of other shapes, parameters are external, a
                neutral value other than 0 is needed where there are no biases, or an assembly function computes with
                the weights.
            NotImplementedError: If the class, or that of an inner network, has no such initialisation.
        """
        plan = initialization.checked_plan(method, use_xavier, uncond_var, cond_var, mnet)
        initialization.apply_hyperfan_init(self, plan, mnet, cond_input, uncond_input, target_var)

    def apply_calibrated_init(
        self,
        mnet: Any = None,
        cond_input: Any = None,
        uncond_input: Tensor | None = None,
        target_var: Any = None,
    ) -> None:
        """Initialise such that the main network starts as it would by itself.

        Hidden layers are drawn, embeddings stay as they are, and what is produced for some conditions is measured and
        brought to scale: each target has mean and second moment of an ordinary start of the main network. Scales of
        normalisation layers are 1, shifts 0; where targets share the weights that produce them, they vary by 0.01, so
        that an optimiser can move them. The mathematics stand in :mod:`hypnettorch.hnets.initialization`.

        Args:
            mnet: The main network, whose table says how each target starts. Without it weights have the variance
                ``1 / (3 fan_in)``, as in ``torch.nn.Linear``, and vectors that of the bias of the weight before them.
            cond_input: Samples of the conditional input, as ``forward`` takes them, for which to measure. Default: the
                conditions that the network holds, otherwise draws from N(0, 1).
            uncond_input: Samples of the unconditional input. Default: draws from N(0, 1).
            target_var: Variances of the targets that replace those of the main network: a number for all that vary, a
                list (``None`` for the default), or a dictionary by name of the tensor
                (:attr:`param_names <hypnettorch.mnets.network.Network.param_names>` of ``mnet``) or by ``name`` of
                ``param_shapes_meta``.

        Raises:
            ValueError: If an argument is wrong, ``mnet`` takes tensors of other shapes, parameters are external, or
                samples are needed and cannot be drawn.
            NotImplementedError: If the class, or that of an inner network, has no such initialisation.

        Example:
            >>> from hypnettorch.hnets import HMLP
            >>> from hypnettorch.mnets import MLP
            >>> mnet = MLP(n_in=100, n_out=2, hidden_layers=[200], no_weights=True, verbose=False)
            >>> hnet = HMLP(mnet.hyper_shapes_learned, num_cond_embs=5, verbose=False)
            >>> hnet.apply_calibrated_init(mnet)
            >>> weights = hnet(cond_id=3)
            >>> bool(0.5 < weights[0].var() * 300 < 2)
            True
        """
        initialization.apply_calibrated_init(self, mnet, cond_input, uncond_input, target_var)

    def start_at(self, wanted: Sequence[Start], plan: initialization.Plan) -> None:
        """Initialise such that each target starts as it should: both starts are made of this method.

        A class says here how what enters its output layer becomes targets. Classes that do not, but implement
        :meth:`generate`, keep their parameters in a calibrated start, and have constants bring their output to scale.

        Args:
            wanted: The start of each target.
            plan: How (:class:`hypnettorch.hnets.initialization.Plan`).

        Raises:
            NotImplementedError: If the class has no such initialisation.
        """
        if not plan.calibrated or not computes(type(self), "generate"):
            raise NotImplementedError(f"{type(self).__name__} does not implement a hyperfan initialisation")
        initialization.settle(self, wanted, plan.at(self))

    def scale_output(self, factor: float) -> None:
        """Multiply what is produced by a factor, if parameters can; constants do the rest of a calibrated start."""
        with torch.no_grad():
            for layer in self._output_layers:
                for tensor in layer.parameters():
                    tensor.mul_(factor)

    def sample_inputs(self, count: int) -> Request:
        """Inputs for which to measure the network if it holds no conditions: draws from N(0, 1).

        Args:
            count: Number of conditions.
        """
        like = self._like()
        sizes = (self._uncond_in_size, self._cond_in_size)
        uncond, cond = (torch.randn(count, size).to(like) if size else None for size in sizes)
        given: dict[str, Any] = {}
        for family in self._families:
            if family.kind != EMBEDDINGS:
                drawn = [torch.empty(count, *shape) for shape in family.shapes]
                for tensor in drawn:
                    family.init(tensor)
                own = [tensor.to(like) for tensor in drawn]
                given[family.kind] = own[0] if family.single else own
        return Request(uncond, cond, None, given)

    def start_at_zero(self) -> None:
        """Change as little as it takes to produce zeros, in such a way that gradients change that.

        An output layer becomes 0: gradients reach it in the first step, all other layers from the second.

        Raises:
            NotImplementedError: If the class has no such start.
            ValueError: If the output layer is external, or divided by its spectral norm.
        """
        parts: list[Any] = [self.get_submodule(name) for name in self._parts]
        layers = self._output_layers
        if not parts and not layers:
            raise NotImplementedError(f"{type(self).__name__} does not implement a start at zero")
        if any(layer.spectral_norm for layer in layers):
            raise checks.StateError("start at zero: expected a hypernetwork without spectral norm, got one with it")
        if layers:
            initialization.check_internal(self)
        for part in parts:
            part.start_at_zero()
        for tensor in (tensor for layer in layers for tensor in layer.parameters()):
            nn.init.zeros_(tensor)
        output_constants.keep_scale_only(self)

    # ------------------------------------------------------------------------------------------- files

    def save_pretrained(self, folder: str | os.PathLike[str], base: Any = None) -> None:
        """Write the network into a folder: tensors as safetensors, with a description that holds no code.

        Args:
            folder: Where to; it is made if there is none. What it holds is replaced in one step.
            base: The :class:`~hypnettorch.mnets.module_net.ModuleNet` around the pretrained model whose adapters this
                network generates. Its name, and shapes and a hash of its selected weights, are noted.

        Raises:
            OSError: If a file cannot be written.
            ImportError: If ``safetensors`` is not installed.
        """
        pretrained.save(self, folder, base)

    @classmethod
    def from_pretrained(
        cls, folder: str | os.PathLike[str], given: Mapping[str, Any] | None = None, base: Any = None
    ) -> Any:
        """Read a network that :meth:`save_pretrained` or :func:`hypnettorch.jax.save` wrote; nothing in it is executed.

        Args:
            folder: Where from.
            given: Functions and modules that a file cannot hold (assembly functions, trunks, most activation
                functions), by the name of the argument: ``{'trunk': module}``, inside of another network
                ``{'hnet.trunk': module}``.
            base: The pretrained model beside which the network is to be used; it must be the one that was noted.

        Returns:
            The network in evaluation mode, with the dtypes of the file. :meth:`HyperNetwork.from_pretrained` reads all
            classes of this package and those that a program has derived from them.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, holds a network of another class, or ``given`` or ``base`` does not fit.
            ImportError: If ``safetensors`` is not installed.

        Example:
            >>> import tempfile
            >>> from hypnettorch.hnets import HMLP
            >>> hnet = HMLP([[4, 3], [4]], num_cond_embs=2, verbose=False)
            >>> folder = tempfile.mkdtemp()
            >>> hnet.save_pretrained(folder)
            >>> torch.equal(HMLP.from_pretrained(folder)(cond_id=1)[0], hnet(cond_id=1)[0])
            True
        """
        kinds = {kind.__name__: kind for kind in (HyperNetwork, *derived_classes(HyperNetwork))}
        return pretrained.load(cls, {**kinds, GluedChunks.__name__: GluedChunks}, folder, given, base)

    def __str__(self) -> str:
        internal = {
            "uncond": sum(p.numel() for p in self.unconditional_params or ()),
            "cond": sum(p.numel() for p in self.conditional_params or ()),
        }
        ratio = self.num_params / max(self.num_outputs, 1)
        return (
            f"{type(self).__name__} with {self.num_params} weights for {self.num_outputs} outputs "
            f"(compression ratio {ratio:.2f}): "
            f"{formats.num_elements(self.unconditional_param_shapes)} unconditional ({internal['uncond']} internal), "
            f"{formats.num_elements(self.conditional_param_shapes)} conditional ({internal['cond']} internal)"
        )


def derived_classes(cls: Any) -> Iterator[Any]:
    """All classes that derive from a class."""
    for derived in cls.__subclasses__():
        yield from (derived, *derived_classes(derived))


def evaluate(network: Any, request: Request, values: Values) -> Tensor | Sequence[Tensor]:
    """What a hypernetwork produces: by its equation, or by ``forward`` of a class that implements that by itself.

    Args:
        network: The hypernetwork.
        request: What it is asked for.
        values: The evaluation as this network sees it.
    """
    if not computes(type(network), "generate") or not (values.sets is None or network.takes_many_sets()):
        call = network.forward if values.sets is None else network.batched_forward
        return call(**arguments_of(network, request, values), ret_format="flattened")
    network.check_given(request.given)
    return evaluate_own(network, request, values)


def evaluate_own(network: HyperNetwork, request: Request, values: Values) -> Tensor | Sequence[Tensor]:
    """What a hypernetwork produces by its equation, with the constants of its output."""
    if network.table.required:
        network.check_complete(values.tensors, values.given or None)
    request = network.select(request, values)
    if values.given:
        check_dtypes(network.table, values.given, request.uncond if request.cond is None else request.cond)
    produced = network.generate(request, values)
    if network._buffers["output_scale"] is not None or network._buffers["output_offset"] is not None:
        return output_constants.apply(network, produced)
    return produced


def arguments_of(network: Any, request: Request, values: Values) -> dict[str, Any]:
    """A request, and the tensors that a hypernetwork would not take by itself, as the documented keywords."""
    weights: dict[str, Any] = dict(request.given)
    refs = zip(PARTS, (network.unconditional_param_shapes_ref, network.conditional_param_shapes_ref), strict=True)
    for key, positions in refs:
        rows = [network.table.rows[position] for position in positions]
        changed = values.sets is not None or any(row.name in values.given for row in rows)
        tensors = [values.of(row) for row in rows]
        if rows and changed and all(tensor is not None for tensor in tensors):
            weights[key] = [
                tensor if values.sets is None or row.name in values.given else tensor.expand(values.sets, *tensor.shape)
                for row, tensor in zip(rows, tensors, strict=True)
            ]
    return {
        "uncond_input": request.uncond,
        "cond_input": request.cond,
        "cond_id": request.ids,
        "weights": weights or None,
        "condition": values.stats_id,
    }


def by_vmap(
    network: Any, arguments: Mapping[str, Any], cond_id: Any, share_input: bool, condition: Any, ret_format: str
) -> Any:
    """``batched_forward`` of a hypernetwork, by ``torch.func.vmap`` of ``forward``."""
    checks.one_of("ret_format", ret_format, formats.FORMATS)
    sets = inputs.count_sets_of(arguments, share_input)

    def one_set(condition: Any, **given: Any) -> Tensor:
        given = {**arguments, **given, "cond_id": cond_id}
        flat: Tensor = network.forward(**given, condition=condition, ret_format="flattened")
        return flat

    mapped = {"weights": arguments["weights"]} if share_input else arguments
    flat = map_sets(one_set, mapped, network, set_conditions(condition, sets))
    return formats.from_flat(flat, network.target_shapes, ret_format)


def _unwrap(network: HyperNetwork, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let files of a network that wraps another one load into a bare one; the wrapper's own tensors stay apart."""
    names = [key.removeprefix(prefix) for key in state_dict if key.startswith(f"{prefix}hnet.")]
    if "hnet" not in network._modules:
        state_dict.update({prefix + re.sub(r"^(hnet\.)+", "", name): state_dict.pop(prefix + name) for name in names})


def _fit_tables(network: HyperNetwork, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Let files with tables load where each condition has a parameter of its own, and the other way round.

    A table with another number of conditions is loaded with ``strict=False`` as far as both have the conditions.
    """
    missing, unexpected = rest[2], rest[3]
    count = network._num_known_conds
    for family in network._families:
        for i, shape in enumerate(() if family.external else family.shapes):
            key, template = prefix + family.template(i, True), prefix + family.template(i, False)
            if not family.table:
                rows = state_dict.pop(key, ())
                state_dict.update({template.format(condition): row for condition, row in enumerate(rows)})
                continue
            names = list(takewhile(state_dict.__contains__, map(template.format, itertools.count())))
            if names and key not in state_dict:
                state_dict[key] = torch.stack([state_dict.pop(name) for name in names])
            loaded = state_dict.get(key)
            if loaded is None or not count or loaded.dim() == 0:
                continue
            if len(loaded) != count and loaded.shape[1:] == shape:
                first, last = sorted((count, len(loaded)))
                (missing if len(loaded) < count else unexpected).append(f"{key}[{first}:{last}]")
                own = network.table.by_name[family.template(i, True)].value().detach()
                state_dict[key] = torch.cat([loaded[:count].to(own), own[len(loaded) :]])


def check_hypernetwork(name: checks.Name, value: Any) -> None:
    """Raise ``TypeError`` unless a value is a module that describes its parameters and the tensors that it produces."""
    if not (is_network(value) and hasattr(value, "target_shapes")):
        raise TypeError(f"{checks.label(name)}: expected a hypernetwork, got {type(value).__name__}")


def common_bias(hnets: Sequence[Any]) -> bool:
    """Whether all of some networks have biases; a warning if some have and some have not."""
    found = {bool(hnet.has_bias) for hnet in hnets}
    if len(found) > 1:
        warnings.warn("has_bias is False, although some of the inner hypernetworks have biases", stacklevel=4)
    return found == {True}


def normal(std: float) -> Fill:
    """Initialiser N(0, std²)."""
    return partial(nn.init.normal_, mean=0.0, std=std)


def concat(request: Request) -> Tensor:
    """``[uncond, cond]`` along the last dimension."""
    if request.uncond is None or request.cond is None:
        return request.cond if request.uncond is None else request.uncond  # type: ignore[return-value]
    return torch.cat([request.uncond, request.cond], dim=-1)


def sizes_of(shapes: Shapes) -> list[int]:
    """Number of elements of tensors of these shapes."""
    return [math.prod(shape) for shape in shapes]

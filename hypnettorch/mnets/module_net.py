"""Any ``nn.Module`` as a main network, without rewriting it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hypnettorch.core import checks, functional, lending, trees
from hypnettorch.core.lending import Place
from hypnettorch.core.low_rank import LowRank, UpdatedWeight, is_pair
from hypnettorch.core.table import Row
from hypnettorch.core.values import Stacked, check_sets, count_sets, has_sets
from hypnettorch.layers.buffer_sets import RunningStatistics, normalization_layers
from hypnettorch.mnets import weight_updates
from hypnettorch.mnets.batched import layers_in_a_row, map_sets, set_conditions
from hypnettorch.mnets.layer_types import describe_module, term_of
from hypnettorch.mnets.network import Network
from hypnettorch.mnets.selection import names_of_parameters, place_of, select_parameters
from hypnettorch.mnets.weight_updates import Named, Value

WEIGHT_DTYPES = ("parameter", "generated")


class ModuleNet(Network):
    """A module whose parameters, or some of them, come from outside.

    ``param_shapes`` are all parameters of the module in the order of ``named_parameters()``; ``hyper_shapes_learned``
    are the selected ones, a complex one as two real numbers per entry. The module stays what it was: selected
    parameters stay in it, frozen (``requires_grad_(False)``), as the base model of an adapter does; what is not
    selected stays trainable. Outside of a call and of :meth:`using` it computes with its own values.

    ``state_dict()`` leaves out the selected parameters unless ``save_base``. A file with or without them can be loaded;
    ``base_from_file`` says which it was.

    Args:
        module: The module; its selected parameters are frozen.
        include: Which parameters to select: a module type (with all that is inside of such a module), a name pattern as
            ``'layer[1-3].*'``, a predicate of name and parameter, or several of these. Default: all.
        exclude: Which of them to leave out.
        weight_dtype: ``'parameter'`` casts weights to the dtype of the parameter that they replace (differentiably), so
            that a float32 hypernetwork drives a bfloat16 model; ``'generated'`` leaves them as they come.
        save_base: Whether ``state_dict()`` contains the module's own values of selected parameters.
        stats_per_condition: Whether running statistics of normalisation layers are kept for each ``condition`` apart.
        output: Name of the linear layer that makes the output, whose units can be masked (``get_output_weight_mask``).
            A ``Sequential`` that ends with one needs no name.

    Raises:
        ValueError: If a selector chooses nothing, there is no linear layer ``output``, a parameter of ``module`` is
            lazy, or there are no running statistics for ``stats_per_condition``.
        TypeError: If ``module`` is no module of Python.

    Example:
        >>> net = ModuleNet(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), include='2.*')
        >>> net.param_names, net.hyper_shapes_learned
        (['0.weight', '0.bias', '2.weight', '2.bias'], [[2, 8], [2]])
        >>> net(torch.randn(5, 4), weights={'2.weight': torch.randn(2, 8), '2.bias': torch.zeros(2)}).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        module: nn.Module,
        include: Any = None,
        exclude: Any = None,
        weight_dtype: str = "parameter",
        save_base: bool = False,
        stats_per_condition: bool = False,
        output: str | None = None,
    ) -> None:
        super().__init__()
        _check_module(module)
        checks.one_of("weight_dtype", weight_dtype, WEIGHT_DTYPES)
        self.module = module
        self._weight_dtype = weight_dtype
        chosen = select_parameters(module, include, exclude)
        self._names: dict[str, list[str]] = names_of_parameters(module)
        self._selected = [name for name, names in self._names.items() if chosen.intersection(names)]
        self._found = self._find_places()
        self._normalizing = normalization_layers(module)
        self._output = _output_layer(module, output)
        self._describe()
        for own in self._own_values().values():
            own.requires_grad_(False)
        self.statistics: nn.ModuleList | None = None
        if stats_per_condition:
            if not self._normalizing:
                checks.fail("stats_per_condition", "a module that keeps running statistics", "none of them")
            self.statistics = nn.ModuleList(RunningStatistics(module.get_submodule(norm)) for norm in self._normalizing)
        self.base_from_file: bool | None = None
        self._saves_base = save_base
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_pre_hook(_complete)
        self.register_load_state_dict_post_hook(_tie_again)

    @property
    def selected_shapes(self) -> dict[str, list[int]]:
        """``hyper_shapes_learned`` by the names of the parameters."""
        return dict(zip(self._selected, self.hyper_shapes_learned or (), strict=True))

    def names_of(self, name: str) -> list[str]:
        """All names of the parameter that stands in ``param_names`` as ``name``; several if it is tied."""
        return list(self._names[name])

    @property
    def starts_exactly(self) -> bool:
        """``True``: an ordinary module has no means of its own against weights on a wrong scale."""
        return True

    @property
    def depends_on_condition(self) -> bool:
        """Whether running statistics depend on ``condition``."""
        return self.statistics is not None

    def initial_weights(self) -> list[Tensor]:
        """The module's own values of the selected parameters, parallel to ``hyper_shapes_learned``; not copies."""
        return [_as_generated(own.detach()) for own in self._own_values().values()]

    def forward(  # type: ignore[override]
        self, *args: Any, weights: Any = None, condition: int | None = None, **kwargs: Any
    ) -> Any:
        """Call the module with weights from outside.

        Args:
            *args: Positional arguments of the module.
            weights: A dictionary with a tensor for every selected name, a list that fits ``hyper_shapes_learned``, the
                flat ``hyper_shapes_learned``, or low-rank updates of the module's own values (:meth:`using`). A
                dictionary may have further parameters and buffers of the module. Within a block of :meth:`using` they
                may be missing.
            condition: Whose running statistics to use, with ``stats_per_condition``; otherwise ignored. One that is
                new gets statistics in training, and is refused in evaluation.
            **kwargs: Keyword arguments of the module.

        Returns:
            What the module returns.

        Raises:
            ValueError: If weights are missing or do not fit, or the module changed a weight in place.
            TypeError: If a dtype does not fit: double precision is not rounded silently.
        """
        if type(weights) is Stacked:
            stacked, share_input = weights.weights, weights.share_input
            return self.batched_forward(*args, weights=stacked, share_input=share_input, condition=condition, **kwargs)
        if weights is None and self._in_block():
            return self._in_module().module(*args, **kwargs)
        named = self._resolve(weights)
        with weight_updates.OnlyRead(named):
            return self._evaluate(named, condition, args, kwargs)

    def using(  # type: ignore[override]
        self, weights: Any, condition: int | None = None, sample_to_adapter: Any = None
    ) -> AbstractContextManager[nn.Module]:
        """Let the module compute with these weights within a block.

        Blocks nest, the inner one wins, and may end in any order; afterwards, also after an exception, the module is as
        before. Each thread and each asyncio task sees its own blocks; a thread that has opened none sees those of the
        thread that made it. What is computed again in a backward pass (checkpointing, adjoint solvers) gets the weights
        of its forward pass, also after the block.

        A pair ``(A [r, n], B [out, r])`` in a dictionary of weights stands for the module's own value ``W`` of this
        weight plus ``B A`` (:mod:`hypnettorch.core.low_rank`). In a dictionary with such pairs, weights that are
        missing keep their own values, others may have tensors, and the keys may be positions in
        ``hyper_shapes_learned``. The product is not formed in the layers whose term is registered
        (:func:`~hypnettorch.mnets.layer_types.register_layer`); everyone else who reads the weight gets the sum. The
        base may be quantised: factors keep their dtype then.

        Stacked pairs ``(A [R, r, n], B [R, out, r])`` are updates for the rows of a batch: what an adapted layer is
        called with has ``R`` rows, or ``R · k``, of which the first ``k`` belong to the first pair (beams of
        ``generate()``, positions that a model puts into the first dimension). One row is meant for all. Each layer adds
        its terms by two batched products, so that caches, fused attention and checkpointing work as without.

        Args:
            weights: As for :meth:`forward`.
            condition: As for :meth:`forward`.
            sample_to_adapter: For each row which of the stacked pairs it has, as ``[0, 0, 1, 2]``. Default: row ``i``
                has pair ``i``. Where several samples are packed into one row, for each position, ``[R, T]``; what an
                adapted layer is called with is ``[R, T, ...]`` then.

        Returns:
            A context manager that gives the module.

        Raises:
            ValueError: If weights are missing or do not fit; at the end of the block, if a weight was changed in place
                that is no trainable parameter.

        Note:
            Where a method of the module is called instead of the module, and the backward pass comes after the block,
            checkpointing with ``use_reentrant=True`` and the like raise an error.

        Example:
            >>> net = ModuleNet(nn.Linear(2, 1))
            >>> with net.using({'weight': torch.ones(1, 2), 'bias': torch.zeros(1)}) as module:
            ...     module(torch.ones(1, 2)).item()
            2.0
            >>> with net.using({'weight': (torch.ones(1, 2), torch.zeros(1, 1))}) as module:
            ...     torch.equal(module.weight, net.initial_weights()[0])
            True
        """
        named, positions = weight_updates.for_rows(self._resolve(weights, by_row=True), sample_to_adapter)
        return self._using(named, condition, positions)

    @contextmanager
    def _using(self, named: Named, condition: Any, positions: Tensor | None) -> Iterator[nn.Module]:
        watched = {name: value for name, value in named.items() if not weight_updates.is_trainable(value)}
        groups = self._groups(named, condition, positions)
        with weight_updates.OnlyRead(watched), lending.lend(groups, self.module):
            yield self.module

    def materialize(self, weights: Any, share: bool = False) -> Any:
        """An ordinary module, independent of this one, with the weights as its parameters.

        Args:
            weights: As for :meth:`forward`, or as for :meth:`batched_forward`.
            share: Whether parameters and buffers that the weights do not change are those of this module, and not
                copies, so that they need no memory; whoever changes them changes this module, too.

        Returns:
            A copy of the module: deployable, exportable, trainable; a list of copies for stacked weights.

        Raises:
            ValueError: If weights are missing or do not fit.
            TypeError: If an update is to be added to a quantised weight.
        """
        checks.flag("share", share)
        if not self._are_stacked(weights):
            return self._materialize(self._resolve(weights), share)
        named = self._resolve(weights, stacked=True)
        sets = count_sets(list(named.values()))
        return [self._materialize(trees.map_tensors(itemgetter(b), named), share) for b in range(sets)]

    def _materialize(self, named: Named, share: bool) -> nn.Module:
        made = {name: _anew(value, self._own(name)) for name, value in self._sums(named)}
        others = {name: self._own(name) for name in {*(self._in_module().of if share else self._selected)} - {*made}}
        made |= others if share else {name: _anew(own, own) for name, own in others.items()}
        return lending.plain_copy(self.module, {id(self._own(name)): tensor for name, tensor in made.items()})

    @contextmanager
    def merged(self, weights: Any) -> Iterator[nn.Module]:
        """Write weights into the module's own parameters, and put back exactly what was there at the end of the block.

        Unlike :meth:`using` nothing differs from an ordinary module within the block, for other threads, compiled code
        and ``save_pretrained`` as well, and nothing is added in its layers; gradients do not reach the weights. What is
        overwritten is kept until then, once.

        Args:
            weights: As for :meth:`forward`.

        Yields:
            The module.

        Raises:
            ValueError: If weights are missing or do not fit.
            TypeError: If an update is to be added to a quantised weight.

        Example:
            >>> net = ModuleNet(nn.Linear(2, 1), include='weight')
            >>> before = net.module.weight.clone()
            >>> with net.merged({'weight': (torch.ones(1, 2), torch.ones(1, 1))}) as module:
            ...     torch.equal(module.weight, before + 1)
            True
            >>> torch.equal(net.module.weight, before)
            True
        """
        kept: list[tuple[Tensor, Tensor]] = []
        try:
            with torch.no_grad():
                for name, value in self._sums(self._resolve(weights)):
                    own = self._own(name)
                    kept.append((own, own.clone()))
                    own.copy_(value)
            yield self.module
        finally:
            with torch.no_grad():
                for own, before in reversed(kept):  # parameters may share memory
                    own.copy_(before)

    def _sums(self, named: Named) -> Iterator[tuple[str, Tensor]]:
        """Values with what low-rank updates make of the module's own ones."""
        for name, value in named.items():
            if isinstance(value, LowRank):
                own = self._own(name)
                if not own.is_floating_point():
                    raise TypeError(f"weights['{name}']: expected a tensor for a weight of {own.dtype}, got an update")
                value = UpdatedWeight(own, value).sum()
            yield name, value

    def batched_forward(
        self,
        *args: Any,
        weights: Any = None,
        share_input: bool = False,
        in_dims: Mapping[str, int | None] | None = None,
        condition: int | Sequence[int] | None = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call the module with ``B`` weight sets at once, by ``torch.func.vmap``.

        A ``Sequential`` of linear layers and activations is one batched product per layer instead.

        Args:
            *args: Positional arguments; tensors carry a leading ``B`` unless ``share_input``; all sets share those
                without dimensions. Without a keyword ``weights`` the second one is ``weights``.
            weights: As for :meth:`forward`, each tensor ``[B, *shape]``, a pair ``(A [B, r, n], B [B, out, r])``; what
                ``torch.func.stack_module_state`` gives, buffers included.
            share_input: Whether all sets see the same arguments.
            in_dims: ``{name: None}`` marks keyword arguments that all sets share.
            condition: One condition, or ``B`` of them.
            chunk_size: How many sets are evaluated at once, at most (it bounds the memory). Default: all.
            **kwargs: Keyword arguments; tensors carry a leading ``B`` unless ``in_dims`` or ``share_input`` says
                otherwise.

        Returns:
            What the module returns with a leading ``B`` on every tensor, equal to a loop over the sets.

        Raises:
            ValueError: If weights are missing or do not fit, or the number of sets differs between arguments.
            TypeError: If the module returns tensors in an object that ``torch.utils._pytree`` does not know.

        Note:
            A module with recurrent layers of torch, for which ``vmap`` has no rule, is called set by set, and so is one
            with hooks of users, or that changes its state when it is called (running statistics, counters, stored
            activations), works with graphs (hooks of tensors, checkpoints) or branches on the values of tensors.
        """
        if weights is None and len(args) > 1:
            args, weights = (args[0], *args[2:]), args[1]
        named = self._resolve(weights, stacked=True)
        values = list(named.values())
        sets = count_sets(values)
        for name, dim in (in_dims or {}).items():
            checks.one_of("in_dims (key)", name, kwargs)
            checks.one_of(f"in_dims['{name}']", dim, (None, 0))
        if chunk_size is not None:
            checks.integer("chunk_size", chunk_size, 1)
        conditions = None if condition is None else set_conditions(condition, sets)
        of_set = {} if share_input else {name: v for name, v in kwargs.items() if (in_dims or {}).get(name, 0) == 0}
        labelled: dict[checks.Name, Any] = {("args", i): x for i, x in enumerate(() if share_input else args)} | of_set
        for label, value in labelled.items():
            for leaf in filter(has_sets, trees.flatten(value)[0]):
                check_sets(label, leaf, sets)
        row = layers_in_a_row(self.module, args, values, lead=not share_input)
        if row and sets and not kwargs:
            return self._by_products(row, args[0].expand(sets, *args[0].shape) if share_input else args[0], named)

        def one_set(values: Sequence[Value], of_set: dict[str, Any], condition: Any, args: Sequence[Any] = args) -> Any:
            its = dict(zip(named, values, strict=True))
            return self._evaluate(its, condition, args, {**kwargs, **of_set})

        arguments = {"values": values, "of_set": of_set} | ({} if share_input else {"args": list(args)})
        with weight_updates.OnlyRead(named):
            return map_sets(one_set, arguments, self.module, conditions, chunk_size)

    def _by_products(self, row: Sequence[nn.Module], x: Tensor, named: Mapping[str, Any]) -> Tensor:
        """What linear layers and activations in a row compute with stacked weights, a product for each layer."""
        for layer in row:
            names = self._in_module().dictionaries.get((layer, "_parameters"))
            if names is None:
                x = layer(x)
            else:
                tensors = (named.get(names.get(key, ""), getattr(layer, key)) for key in ("weight", "bias"))
                x = functional.linear(x, *tensors)
        return x

    def distillation_targets(self) -> list[Tensor] | None:
        """``None``: there is nothing to distil."""
        return None

    def _describe(self) -> None:
        """The table: all parameters by their names in the module, tied ones under the first."""
        rows = []
        for i, meta in enumerate(describe_module(self.module)):
            name = meta["param_name"]
            owner, key = place_of(self.module, name)
            own = lending.own_value(owner, key)
            shape, extra = tuple(weight_updates.given_shape(own, owner)), dict(meta)
            role, layer = extra.pop("name"), extra.pop("layer")
            where = None if name in self._selected else owner
            rows.append(Row(name, shape, role, layer, where, key, order=(i,), meta=extra, start=_moments(own)))
        self._extend(rows)
        last = place_of(self.module, rows[-1].name)[0]
        selected = [i for i, name in enumerate(self._names) if name in self._selected]
        self._has_bias = any(row.role == "bias" for row in rows)
        self._has_fc_out = self._output is not None
        self._has_linear_out = self._has_fc_out or isinstance(last, nn.Linear)
        self._mask_fc_out = self._has_fc_out and set(self.output_positions()) <= set(selected)

    def output_positions(self) -> list[int]:
        """Positions of weight and bias of the output layer in ``param_shapes``."""
        own = [f"{self._output}.{key}" if self._output else key for key in ("weight", "bias")]
        return [i for i, name in enumerate(self._names) if name in own]

    @property
    def batchnorm_layers(self) -> nn.ModuleList | None:
        """The running statistics of all conditions, with ``stats_per_condition``."""
        return self.statistics

    @property
    def layer_weight_tensors(self) -> nn.ParameterList:
        """Weights with more than one dimension that are not selected."""
        rows = [row for row in self.table.internal() if row.role == "weight" and len(row.shape) > 1]
        return self._view("layer_weights", [row.value() for row in rows])

    @property
    def layer_bias_vectors(self) -> nn.ParameterList:
        """Biases that are not selected."""
        rows = [row for row in self.table.internal() if row.role == "bias"]
        return self._view("layer_biases", [row.value() for row in rows])

    def _in_module(self) -> _Places:
        """Where everything is; replicas of this network have modules of their own."""
        return self._found if self._found.module is self._modules["module"] else self._find_places()

    def _find_places(self) -> _Places:
        found = _Places(self.module, {}, {}, {})
        for field, names in (
            ("_parameters", self._names),
            ("_buffers", {name: [name] for name, _ in self.module.named_buffers()}),
        ):
            for name, aliases in names.items():
                for owner, key in (place_of(self.module, alias) for alias in aliases):
                    found.dictionaries.setdefault((owner, field), {})[key] = name
                    if (owner, key) not in found.of.setdefault(name, []):  # a layer that is used twice has two names
                        found.of[name].append((owner, key))
        for name in self._selected:
            owner, key = found.of[name][0]
            found.selected.setdefault(owner, []).append((name, key))
        return found

    def _in_block(self) -> bool:
        """Whether the reader sees weights that a block lends."""
        selected = self._in_module().selected.items()
        return any(lending.is_lent(owner._parameters, key) for owner, places in selected for _, key in places)

    def _own(self, name: str) -> Any:
        """The module's own parameter or buffer of a name."""
        return lending.own_value(*self._in_module().of[name][0])

    def _own_values(self) -> dict[str, Any]:
        """The selected parameters of the module, by name."""
        return {name: self._own(name) for name in self._selected}

    def _resolve(self, weights: Any, stacked: bool = False, by_row: bool = False) -> Named:
        """Passed weights with the names of the parameters, checked and cast."""
        as_needed = self._as_needed(weights, stacked)
        if as_needed is not None:
            return as_needed
        own = self._own_values()
        others = {name: self._own(name) for name in self._in_module().of if name not in own}
        if not isinstance(weights, Mapping):
            others = {name: value for name, value in others.items() if name in self._names}
        shapes = {name: weight_updates.given_shape(value) for name, value in others.items()}
        named: dict[str, Value] = {}
        for name, value in weight_updates.parse_weights(weights, self.selected_shapes, shapes, stacked, by_row).items():
            like = own[name] if name in own else others[name]
            fitting = weight_updates.cast(name, value, like, self._weight_dtype == "parameter")
            if type(fitting) is LowRank:
                fitting = _settled(name, fitting, like, self._in_module().of[name], by_row)
            named[name] = fitting
        return named

    def _as_needed(self, weights: Any, stacked: bool) -> Named | None:
        """Weights that are as the module computes with them, one for each selected parameter: the usual case."""
        if not isinstance(weights, (list, tuple, dict)) or len(weights) != len(self._selected):
            return None
        named = dict(weights if isinstance(weights, dict) else zip(self._selected, weights, strict=True))
        for owner, places in self._in_module().selected.items():
            store = lending.plain(owner._parameters)
            for name, key in places:
                value, own = named.get(name), store.get(key)
                if own is None or not isinstance(value, Tensor) or value.dtype is not own.dtype:
                    return None
                if value.device != own.device or (value.shape[1:] if stacked else value.shape) != own.shape:
                    return None
        return named

    def _are_stacked(self, weights: Any) -> bool:
        """Whether weights have one dimension more than :meth:`forward` takes."""
        if isinstance(weights, Tensor):
            return weights.dim() == 2
        shapes = dict(enumerate(self.hyper_shapes_learned or ())) | self.selected_shapes
        for key, value in weights.items() if isinstance(weights, Mapping) else enumerate(weights or ()):
            if is_pair(value):
                return value[0].dim() == 3
            if isinstance(value, Tensor) and key in shapes:
                return value.dim() + value.is_complex() > len(shapes[key])
        return False

    def _groups(self, named: Named, condition: Any, positions: Tensor | None = None) -> list[lending.Group]:
        """What is lent where."""
        if self.statistics is not None and condition is not None:
            for norm, statistics in zip(self._normalizing, self.statistics, strict=True):
                named = {**named, **dict(statistics.named(norm, condition))}  # type: ignore[operator]
        groups: list[lending.Group] = []
        for (owner, field), names in self._in_module().dictionaries.items():
            lent: dict[str, Any] = {key: named[name] for key, name in names.items() if name in named}
            if LowRank in map(type, lent.values()) or isinstance(owner, nn.Embedding):
                lent = {key: self._in_layer(owner, names[key], value, positions) for key, value in lent.items()}
            if lent:
                groups.append((owner, field, lent))
        return groups

    def _in_layer(self, owner: nn.Module, name: str, value: Value, positions: Tensor | None) -> Any:
        """What is in the place of a weight."""
        if isinstance(value, LowRank):
            return UpdatedWeight(self._own(name), value, term_of(owner, value.by_row, positions))
        return value.clone() if isinstance(owner, nn.Embedding) and owner.max_norm is not None else value

    def _evaluate(self, named: Named, condition: Any, args: Any, kwargs: Any) -> Any:
        """Call the module with these weights."""
        with lending.lend(self._groups(named, condition)) as block:
            output = self._in_module().module(*args, **kwargs)
            if block is not None:
                block.keep(output)
        return output


class _Places(NamedTuple):
    """Where the tensors of a module are.

    Attributes:
        module: The module.
        dictionaries: For a layer and ``"_parameters"`` or ``"_buffers"`` the names in the module of what is there.
        of: All places of a tensor, by its first name in the module.
        selected: For a layer name and key of selected parameters, each in its first place.
    """

    module: nn.Module
    dictionaries: dict[tuple[nn.Module, str], dict[str, str]]
    of: dict[str, list[Place]]
    selected: dict[nn.Module, list[tuple[str, str]]]


def _settled(name: str, update: LowRank, own: Tensor, places: Sequence[Place], by_row: bool) -> Value:
    """An update as it is if all layers of the weight can add it to their output; otherwise the updated weight."""
    others = [type(owner).__name__ for owner, key in places if key != "weight" or term_of(owner) is None]
    if not others:
        return update
    if by_row and update.by_row:
        wanted = "a layer that adds updates to its output (register_layer), or one update for all rows"
        checks.fail(f"weights['{name}']", wanted, f"different ones for {others[0]}")
    return UpdatedWeight(own, update).sum()


def _as_generated(own: Tensor) -> Tensor:
    """A parameter in the shape in which it is generated."""
    return torch.view_as_real(own) if own.is_complex() else own


def _moments(own: Tensor) -> tuple[float, float] | None:
    """Mean and variance of a parameter; a mean that is no more than chance counts as 0. ``None`` if it is quantised."""
    quantised = not own.is_floating_point() or type(own).dequantize is not Tensor.dequantize
    if own.is_meta or own.is_complex() or quantised or own.numel() == 0:
        return None
    mean, var = own.detach().double().mean().item(), own.detach().double().var(correction=0).item()
    return (0.0 if var > 0 and mean**2 <= 9 * var / own.numel() else mean), var


def _anew(value: Tensor, own: Tensor) -> Tensor:
    """A value as a tensor of its own, which is a parameter if ``own`` is one."""
    tensor, trainable = value.detach().clone(), value.is_floating_point() or value.is_complex()
    return nn.Parameter(tensor, trainable) if isinstance(own, nn.Parameter) else tensor


def _leave_out(net: ModuleNet, state_dict: dict[str, Any], prefix: str, _: Any) -> None:
    """Leave out the base, and every further name of a tied parameter."""
    for name, names in net._names.items():
        base = name in net._selected and not net._saves_base
        for alias in names if base else names[1:]:
            state_dict.pop(f"{prefix}module.{alias}", None)


def _complete(net: ModuleNet, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let tied parameters stand under all of their names; a file that has nothing of the base leaves it as it is."""
    keys = {name: [f"{prefix}module.{alias}" for alias in names] for name, names in net._names.items()}
    found = {name: next((state_dict[key] for key in keys[name] if key in state_dict), None) for name in keys}
    net.base_from_file = any(found[name] is not None for name in net._selected)
    if not net.base_from_file:
        found |= net._own_values()
    for name, value in found.items():
        if value is not None:
            state_dict.update(dict.fromkeys(keys[name], value))


def _tie_again(net: ModuleNet, _: Any) -> None:
    """Make tied parameters one again that loading has replaced."""
    for names in net._names.values():
        first, *others = [place_of(net.module, name) for name in names]
        for owner, key in others:
            owner._parameters[key] = first[0]._parameters[first[1]]


def _check_module(module: Any) -> None:
    """Raise unless ``module`` is a module whose parameters can be replaced."""
    checks.instance("module", module, nn.Module)
    scripted = [name for name, part in module.named_modules() if isinstance(part, torch.jit.ScriptModule)]
    if scripted:
        raise TypeError(f"module: expected modules of Python, got a ScriptModule ({', '.join(map(repr, scripted))})")
    own = {id(parameter) for parameter in module.parameters()}
    for key, value in [entry for part in module.modules() for entry in vars(part).items()]:
        if isinstance(value, (list, tuple)) and key != "_flat_weights" and own.intersection(map(id, value)):
            warnings.warn(f"module: '{key}' has parameters that are read there as they are, not replaced", stacklevel=3)
    lazy = [name for name, parameter in module.named_parameters() if is_lazy(parameter)]
    if lazy:
        checks.fail("module", "parameters that have their shapes (call a lazy module once)", f"lazy ones {lazy}")


def _output_layer(module: nn.Module, name: str | None) -> str | None:
    """The name of the linear layer that makes the output; ``None`` if nothing tells which one it is."""
    if name is None:
        known = isinstance(module, nn.Linear) or (
            isinstance(module, nn.Sequential) and len(module) > 0 and isinstance(module[-1], nn.Linear)
        )
        linear = [key for key, layer in module.named_modules() if isinstance(layer, nn.Linear)]
        return linear[-1] if known else None
    layers = dict(module.named_modules())
    if not isinstance(layers.get(name), nn.Linear):
        checks.fail("output", f"the name of a linear layer of {type(module).__name__}", repr(name))
    return name

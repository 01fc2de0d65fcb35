"""Any ``nn.Module`` as a main network, without rewriting it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from hypnettorch.core import checks, trees
from hypnettorch.core.low_rank import LowRank, UpdatedWeight
from hypnettorch.mnets import adapted_layers, external, weight_updates
from hypnettorch.mnets.batched import count_sets, map_sets, mappable_attention, needs_loop, set_conditions
from hypnettorch.mnets.layer_types import describe_module
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.running_statistics import RunningStatistics, normalization_layers
from hypnettorch.mnets.selection import select_parameters
from hypnettorch.mnets.weight_updates import Value

WEIGHT_DTYPES = ("parameter", "generated")


class ModuleNet(nn.Module, MainNetInterface):
    """A module whose parameters, or some of them, come from outside.

    ``param_shapes`` are all parameters of the module in the order of ``named_parameters()``; ``hyper_shapes_learned``
    are the selected ones, and what is not selected stays an ordinary trainable parameter. The module stays usable:
    outside of :meth:`using` it computes with its own values, which are no parameters any more (see
    :meth:`initial_weights`).

    Args:
        module: The module; it is changed in place, its class and results stay.
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
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        _check_module(module)
        checks.one_of("weight_dtype", weight_dtype, WEIGHT_DTYPES)
        self.module = module
        self._weight_dtype = weight_dtype
        chosen = select_parameters(module, include, exclude)
        self._names: dict[str, list[str]] = external.names_of_parameters(module)
        self._selected = [name for name, names in self._names.items() if chosen.intersection(names)]
        self._found = (module, self._find_places())
        self._norms = normalization_layers(module)
        self._output = _output_layer(module, output)
        self._describe()
        for name in self._selected:
            self._externalize(name, save_base)
        if stats_per_condition:
            if not self._norms:
                checks.fail("stats_per_condition", "a module that keeps running statistics", "none of them")
            self._batchnorm_layers = nn.ModuleList(
                RunningStatistics(module.get_submodule(norm)) for norm in self._norms
            )
        for norm in self._norms:
            external.externalize(module.get_submodule(norm), RunningStatistics.names)
        self._list_parameters()
        self._is_properly_setup(check_has_bias=False)

    @property
    def param_names(self) -> list[str]:
        """Names of the parameters, parallel to ``param_shapes``; tied parameters stand under their first name."""
        return list(self._names)

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
        return self._batchnorm_layers is not None

    def initial_weights(self) -> list[Tensor]:
        """The module's own values of the selected parameters, parallel to ``hyper_shapes_learned``; not copies."""
        return [owner._buffers[key] for (owner, key), *_ in self._places.values()]

    def forward(self, *args: Any, weights: Any = None, condition: int | None = None, **kwargs: Any) -> Any:
        """Call the module with weights from outside.

        Args:
            *args: Positional arguments of the module.
            weights: A dictionary with a tensor for every selected name, a list that fits ``hyper_shapes_learned``, the
                flat ``hyper_shapes_learned``, or low-rank updates of the module's own values (:meth:`using`).
            condition: Whose running statistics to use, with ``stats_per_condition``; otherwise ignored.
            **kwargs: Keyword arguments of the module.

        Returns:
            What the module returns.

        Raises:
            ValueError: If weights are missing or do not fit, or the module changed a weight in place.
        """
        tensors = self._resolve(weights)
        with weight_updates.only_read(tensors), self._replaced(tensors, condition):
            return self.module(*args, **kwargs)

    def using(self, weights: Any, condition: int | None = None) -> AbstractContextManager[nn.Module]:
        """Let the module compute with these weights within a block.

        Blocks nest, the inner one wins; afterwards, also after an exception, the module is as before. Each thread sees
        its own blocks.

        A pair ``(A [r, n], B [out, r])`` in a dictionary of weights stands for the module's own value ``W`` of this
        weight plus ``B A`` (:mod:`hypnettorch.core.low_rank`). In a dictionary with such pairs, weights that are
        missing keep their own values, others may have tensors, and the keys may be positions in
        ``hyper_shapes_learned``. The product is not formed in the layers of :mod:`hypnettorch.mnets.adapted_layers`.

        Args:
            weights: As for :meth:`forward`.
            condition: As for :meth:`forward`.

        Returns:
            A context manager that gives the module.

        Raises:
            ValueError: If weights are missing or do not fit; at the end of the block, if a weight was changed in place
                that is no trainable parameter.

        Note:
            What computes activations again in the backward pass needs
            :func:`hypnettorch.mnets.external.checkpoint_contexts`, or a backward pass within the block.

        Example:
            >>> net = ModuleNet(nn.Linear(2, 1))
            >>> with net.using({'weight': torch.ones(1, 2), 'bias': torch.zeros(1)}) as module:
            ...     module(torch.ones(1, 2)).item()
            2.0
            >>> with net.using({'weight': (torch.ones(1, 2), torch.zeros(1, 1))}) as module:
            ...     torch.equal(module.weight, net.initial_weights()[0])
            True
        """
        return self._lent(self._resolve(weights), condition)

    def materialize(self, weights: Any) -> nn.Module:
        """An ordinary module, independent of this one, with the weights as its parameters.

        Args:
            weights: As for :meth:`forward`.

        Returns:
            A copy of the module: deployable, exportable, trainable.
        """
        with self._replaced(self._resolve(weights), None):
            tensors = {name: getattr(*places[0]) for name, places in self._places.items()}
        plain = copy.deepcopy(self.module)
        for name in self._selected:
            parameter = nn.Parameter(tensors[name].detach().clone())
            for alias in self._names[name]:
                owner, key = external.place(plain, alias)
                external.internalize(owner)
                if key in owner._buffers:
                    delattr(owner, key)
                owner.register_parameter(key, parameter)
        for norm in self._norms:
            external.internalize(plain.get_submodule(norm))
        return plain

    def batched_forward(  # type: ignore[override]
        self,
        *args: Any,
        weights: Any,
        share_input: bool = False,
        in_dims: Mapping[str, int | None] | None = None,
        condition: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call the module with ``B`` weight sets at once, by ``torch.func.vmap``.

        Args:
            *args: Positional arguments; tensors carry a leading ``B`` unless ``share_input``.
            weights: As for :meth:`forward`, each tensor ``[B, *shape]``, a pair ``(A [B, r, n], B [B, out, r])``.
            share_input: Whether all sets see the same arguments.
            in_dims: ``{name: None}`` marks keyword arguments that all sets share.
            condition: One condition, or ``B`` of them.
            **kwargs: Keyword arguments; tensors carry a leading ``B`` unless ``in_dims`` or ``share_input`` says
                otherwise.

        Returns:
            What the module returns with a leading ``B`` on every tensor, equal to a loop over the sets.

        Note:
            A module with recurrent layers of torch, for which ``vmap`` has no rule, is called set by set, and so is one
            that updates running statistics or a spectral norm, or branches on the values of tensors.
        """
        tensors = dict(self._resolve(weights, stacked=True))
        sets = count_sets(tensors)
        in_dims = {} if in_dims is None else in_dims
        for name, dim in in_dims.items():
            checks.one_of("in_dims (key)", name, kwargs)
            checks.one_of(f"in_dims['{name}']", dim, (None, 0))
        for i, leaf in enumerate(trees.flatten(args)[0]):
            if not share_input:
                _check_sets(("args", i), leaf, sets)

        shared = {name: value for name, value in kwargs.items() if share_input or in_dims.get(name, 0) is None}
        static, arguments = {}, {"args": args, "weights": tensors}
        for name, value in kwargs.items():
            if name not in shared and trees.tensors(value):
                for leaf in trees.tensors(value):
                    _check_sets(name, leaf, sets)
                arguments[f"kwargs.{name}"] = value
            else:
                static[name] = value

        def one_set(args: Any, weights: dict[str, Value], condition: Any, **rest: Any) -> Any:
            named = {key.removeprefix("kwargs."): value for key, value in rest.items()}
            with self._replaced(list(weights.items()), condition), mappable_attention():
                return self.module(*args, **static, **named)

        mapped = {name: name != "args" or not share_input for name in arguments}
        with weight_updates.only_read(list(tensors.items())):
            return map_sets(one_set, arguments, mapped, set_conditions(condition, sets), loop=needs_loop(self.module))

    def distillation_targets(self) -> list[Tensor] | None:
        """``None``: there is nothing to distil."""
        return None

    def _describe(self) -> None:
        """Shapes and meaning of all parameters."""
        names = list(self._names)
        internal = iter(range(len(names)))
        self._param_shapes = [list(parameter.shape) for parameter in self.module.parameters()]
        self._param_shapes_meta = [
            {**meta, "index": -1 if name in self._selected else next(internal)}
            for name, meta in zip(names, describe_module(self.module), strict=True)
        ]
        positions = [i for i, name in enumerate(names) if name in self._selected]
        self._hyper_shapes_learned_ref = positions
        self._hyper_shapes_learned = [self._param_shapes[i] for i in positions]
        roles = [meta["name"] for meta in self._param_shapes_meta]
        last = external.place(self.module, names[-1])[0]
        self._has_bias = "bias" in roles
        self._has_fc_out = self._output is not None
        self._has_linear_out = self._has_fc_out or isinstance(last, nn.Linear)
        self._mask_fc_out = self._has_fc_out and set(self._output_positions()) <= set(positions)

    def _output_positions(self) -> list[int]:
        own = [f"{self._output}.{key}" if self._output else key for key in ("weight", "bias")]
        return [i for i, name in enumerate(self._names) if name in own]

    def _externalize(self, name: str, persistent: bool) -> None:
        """Turn one parameter, with all its names, into a replaceable tensor."""
        place, *others = self._places[name]
        external.externalize(place[0], [place[1]], persistent)
        for other in others:
            if other != place:
                external.share(*other, place)
        for owner, key in self._places[name]:
            if key == "weight" and adapted_layers.term_of(owner):
                external.mix_in(owner, adapted_layers.AdaptedLayer)

    def _list_parameters(self) -> None:
        """Fill the lists of internal tensors; they refer to parameters that the module keeps registered."""
        lists = {"_internal_params": [], "_layer_weight_tensors": [], "_layer_bias_vectors": []}  # type: ignore[var-annotated]
        metas = {meta["param_name"]: meta for meta in self.param_shapes_meta}
        for name, parameter in self.module.named_parameters():
            lists["_internal_params"].append(parameter)
            if metas[name]["name"] == "weight" and parameter.dim() > 1:
                lists["_layer_weight_tensors"].append(parameter)
            elif metas[name]["name"] == "bias":
                lists["_layer_bias_vectors"].append(parameter)
        for name, parameters in lists.items():
            self.__dict__[name] = nn.ParameterList(parameters)

    def _apply(self, fn: Any, recurse: bool = True) -> ModuleNet:
        super()._apply(fn, recurse)
        self._list_parameters()
        return self

    @property
    def _places(self) -> dict[str, list[external.Place]]:
        """Where each selected parameter is, by its first name; replicas of this network have modules of their own."""
        module, places = self._found
        return places if module is self.module else self._find_places()

    def _find_places(self) -> dict[str, list[external.Place]]:
        return {name: [external.place(self.module, alias) for alias in self._names[name]] for name in self._selected}

    def _own_values(self) -> dict[str, Tensor]:
        """The module's own values of the selected parameters, by name."""
        return dict(zip(self._selected, self.initial_weights(), strict=True))

    def _resolve(self, weights: Any, stacked: bool = False) -> list[tuple[str, Value]]:
        """Passed weights by parameter name, checked and cast."""
        own = self._own_values()
        found = []
        for name, value in self._given(weights, stacked):
            fitting = weight_updates.cast(name, value, own[name], self._weight_dtype == "parameter")
            found.append((name, weight_updates.settle(fitting, own[name], self._places[name])))
        return found

    def _given(self, weights: Any, stacked: bool) -> list[tuple[str, Value]]:
        """Passed weights by parameter name, of the right shapes."""
        if isinstance(weights, Mapping):
            return list(weight_updates.parse_weights(weights, self.selected_shapes, stacked).items())
        if weights is None:
            checks.fail("weights", f"tensors for {self._selected}", None)
        resolved = self._resolve_weights(weights, stacked)
        values = zip(self.param_names, resolved.values, resolved.given, strict=True)
        found = [(name, value) for name, value, given in values if given]
        kept = [name for name, _ in found if name not in self._selected]
        if kept:
            checks.fail("weights", f"{len(self._selected)} tensors, for the selected parameters", f"also {kept}")
        return found

    @contextmanager
    def _lent(self, tensors: Sequence[tuple[str, Value]], condition: Any) -> Iterator[nn.Module]:
        watched = [(name, value) for name, value in tensors if not weight_updates.is_trainable(value)]
        with weight_updates.only_read(watched), self._replaced(tensors, condition) as module:
            yield module

    @contextmanager
    def _replaced(self, tensors: Sequence[tuple[str, Value]], condition: Any) -> Iterator[nn.Module]:
        own = self._own_values()
        places: list[tuple[external.Place, external.Replacement]] = []
        for name, value in tensors:
            new = UpdatedWeight(own[name], value) if isinstance(value, LowRank) else value
            places += [(place, new) for place in self._places[name]]
        if self._batchnorm_layers is not None and condition is not None:
            for norm, statistics in zip(self._norms, self._batchnorm_layers, strict=True):
                places += statistics.places(self.module.get_submodule(norm), condition)  # type: ignore[operator]
        with external.replaced(places):
            yield self.module


def _check_sets(name: checks.Name, value: Any, sets: int) -> None:
    """Raise unless a tensor has a leading dimension of weight sets."""
    if isinstance(value, Tensor) and (value.dim() == 0 or value.shape[0] != sets):
        checks.fail(name, f"a leading dimension of {sets} weight sets", f"shape {tuple(value.shape)}")


def _check_module(module: Any) -> None:
    """Raise unless ``module`` is a module whose parameters can be replaced."""
    checks.instance("module", module, nn.Module)
    if isinstance(module, torch.jit.ScriptModule):
        raise TypeError("module: expected a module of Python, got a ScriptModule")
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

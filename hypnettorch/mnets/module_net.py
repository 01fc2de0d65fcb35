"""Any ``nn.Module`` as a main network, without rewriting it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, trees
from hypnettorch.mnets import external
from hypnettorch.mnets.batched import map_sets, set_conditions
from hypnettorch.mnets.layer_types import describe_parameter
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.running_statistics import RunningStatistics, normalization_layers
from hypnettorch.mnets.selection import select_parameters


class ModuleNet(nn.Module, MainNetInterface):
    """A module whose parameters, or some of them, come from outside.

    ``param_shapes`` are all parameters of the module in the order of ``named_parameters()``; ``hyper_shapes_learned``
    are the selected ones, and what is not selected stays an ordinary trainable parameter. The module stays usable:
    outside of :meth:`using` it computes with its own values, which are no parameters any more (see
    :meth:`initial_weights`).

    Args:
        module: The module; it is changed in place, its class and results stay.
        include: Which parameters to select: a layer type, a name pattern as ``'layer[1-3].*'``, a predicate of name and
            parameter, or several of these. Default: all.
        exclude: Which of them to leave out.
        weight_dtype: ``'parameter'`` casts weights to the dtype of the parameter that they replace (differentiably), so
            that a float32 hypernetwork drives a bfloat16 model; ``'generated'`` leaves them as they come.
        save_base: Whether ``state_dict()`` contains the module's own values of selected parameters.
        stats_per_condition: Whether running statistics of normalisation layers are kept for each ``condition`` apart.

    Raises:
        ValueError: If a selector chooses nothing.
        TypeError: If ``module`` is no module.

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
    ) -> None:
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        checks.instance("module", module, nn.Module)
        checks.one_of("weight_dtype", weight_dtype, ("parameter", "generated"))
        self.module = module
        self._weight_dtype = weight_dtype
        chosen = select_parameters(module, include, exclude)
        self._names: dict[str, list[str]] = _names_of_parameters(module)
        self._selected = [name for name, names in self._names.items() if chosen.intersection(names)]
        self._norms = normalization_layers(module)
        self._describe()
        for name in self._selected:
            self._externalize(name, save_base)
        if stats_per_condition:
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
    def keeps_statistics_per_condition(self) -> bool:
        """Whether running statistics depend on ``condition``."""
        return self._batchnorm_layers is not None

    def initial_weights(self) -> list[Tensor]:
        """The module's own values of the selected parameters, parallel to ``hyper_shapes_learned``; not copies."""
        owners = (_place(self.module, name) for name in self._selected)
        return [owner._buffers[key] for owner, key in owners]  # type: ignore[misc]

    def forward(self, *args: Any, weights: Any = None, condition: int | None = None, **kwargs: Any) -> Any:
        """Call the module with weights from outside.

        Args:
            *args: Positional arguments of the module.
            weights: A dictionary with a tensor for every selected name, a list that fits ``hyper_shapes_learned`` or
                ``param_shapes``, or the flat ``hyper_shapes_learned``.
            condition: Whose running statistics to use, with ``stats_per_condition``; otherwise ignored.
            **kwargs: Keyword arguments of the module.

        Returns:
            What the module returns.

        Raises:
            ValueError: If weights are missing or do not fit, or the module changed a weight in place.
        """
        tensors = self._resolve(weights)
        versions = _versions(tensors)
        with self._replaced(tensors, condition):
            output = self.module(*args, **kwargs)
        for (name, _), before, after in zip(tensors, versions, _versions(tensors), strict=True):
            if before != after:
                raise checks.StateError(
                    f"weights['{name}']: expected a module that reads its weights, it changed this one"
                )
        return output

    def using(self, weights: Any, condition: int | None = None) -> AbstractContextManager[nn.Module]:
        """Let the module compute with these weights within a block.

        Blocks nest, the inner one wins; afterwards, also after an exception, the module is as before. Each thread sees
        its own blocks.

        Args:
            weights: As for :meth:`forward`.
            condition: As for :meth:`forward`.

        Returns:
            A context manager that gives the module.

        Example:
            >>> net = ModuleNet(nn.Linear(2, 1))
            >>> with net.using({'weight': torch.ones(1, 2), 'bias': torch.zeros(1)}) as module:
            ...     module(torch.ones(1, 2)).item()
            2.0
        """
        return self._replaced(self._resolve(weights), condition)

    def materialize(self, weights: Any) -> nn.Module:
        """An ordinary module, independent of this one, with the weights as its parameters.

        Args:
            weights: As for :meth:`forward`.

        Returns:
            A copy of the module: deployable, exportable, trainable.
        """
        tensors = dict(self._resolve(weights))
        plain = copy.deepcopy(self.module)
        for name in self._selected:
            parameter = nn.Parameter(tensors[name].detach().clone())
            for alias in self._names[name]:
                owner, key = _place(plain, alias)
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
            weights: As for :meth:`forward`, each tensor ``[B, *shape]``.
            share_input: Whether all sets see the same arguments.
            in_dims: ``{name: None}`` marks keyword arguments that all sets share.
            condition: One condition, or ``B`` of them.
            **kwargs: Keyword arguments; tensors carry a leading ``B`` unless ``in_dims`` or ``share_input`` says
                otherwise.

        Returns:
            What the module returns with a leading ``B`` on every tensor, equal to a loop over the sets.

        Note:
            A module with recurrent layers of torch, for which ``vmap`` has no rule, is called set by set, and so is one
            that updates running statistics.
        """
        tensors = dict(self._resolve(weights, stacked=True))
        sets = next(iter(tensors.values())).shape[0]
        in_dims = {} if in_dims is None else in_dims
        unknown = set(in_dims) - set(kwargs)
        if unknown:
            checks.fail("in_dims", f"names of keyword arguments {sorted(kwargs)}", sorted(unknown))
        for i, leaf in enumerate(trees.flatten(args)[0]):
            if not share_input and isinstance(leaf, Tensor) and (leaf.dim() == 0 or leaf.shape[0] != sets):
                checks.fail(("args", i), f"a leading dimension of {sets} weight sets", f"shape {tuple(leaf.shape)}")

        shared = {name: value for name, value in kwargs.items() if share_input or in_dims.get(name, 0) is None}
        static, arguments = {}, {"args": args, "weights": tensors}
        for name, value in kwargs.items():
            if name not in shared and trees.tensors(value):
                arguments[f"kwargs.{name}"] = value
            else:
                static[name] = value

        def one_set(args: Any, weights: dict[str, Tensor], condition: Any, **rest: Any) -> Any:
            named = {key.removeprefix("kwargs."): value for key, value in rest.items()}
            with self._replaced(list(weights.items()), condition), _mappable_attention():
                return self.module(*args, **static, **named)

        mapped = {name: name != "args" or not share_input for name in arguments}
        return map_sets(one_set, arguments, mapped, set_conditions(condition, sets), loop=self._needs_loop())

    def distillation_targets(self) -> list[Tensor] | None:
        """``None``: there is nothing to distil."""
        return None

    def _needs_loop(self) -> bool:
        recurrent = any(isinstance(module, nn.RNNBase) for module in self.module.modules())
        tracking = (self.module.get_submodule(norm) for norm in self._norms)
        return recurrent or any(layer.training for layer in tracking)

    def _describe(self) -> None:
        """Shapes and meaning of all parameters."""
        parameters = dict(self.module.named_parameters())
        owners: dict[str, int] = {}
        self._param_shapes, self._param_shapes_meta = [], []
        index = 0
        for name, parameter in parameters.items():
            owner, key = _place(self.module, name)
            kind = describe_parameter(owner, key)
            selected = name in self._selected
            self._param_shapes.append(list(parameter.shape))
            self._param_shapes_meta.append(
                {
                    "name": kind.role,
                    "index": -1 if selected else index,
                    "layer": owners.setdefault(name.rpartition(".")[0], len(owners)),
                    "fan_in": kind.fan_in,
                    "fan_out": kind.fan_out,
                    "param_name": name,
                }
            )
            index += not selected
        positions = [i for i, name in enumerate(parameters) if name in self._selected]
        self._hyper_shapes_learned_ref = positions
        self._hyper_shapes_learned = [self._param_shapes[i] for i in positions]
        roles = [meta["name"] for meta in self._param_shapes_meta]
        last = _place(self.module, next(reversed(parameters)))[0]
        self._has_bias = "bias" in roles
        self._has_fc_out = self._has_linear_out = isinstance(last, nn.Linear)
        self._mask_fc_out = self._has_fc_out and positions[-1] == len(roles) - 1

    def _has_output_bias(self) -> bool:
        return self.param_shapes_meta[-1]["name"] == "bias"

    def _externalize(self, name: str, persistent: bool) -> None:
        """Turn one parameter, with all its names, into a replaceable tensor."""
        first, *others = self._names[name]
        place = _place(self.module, first)
        external.externalize(place[0], [place[1]], persistent)
        for other in (_place(self.module, name) for name in others):
            if other != place:
                external.share(*other, place)

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

    def _resolve(self, weights: Any, stacked: bool = False) -> list[tuple[str, Tensor]]:
        """Passed weights by parameter name, checked and cast."""
        if isinstance(weights, Mapping):
            weights = self._from_names(weights)
        resolved = self._resolve_weights(weights, stacked)
        names = self.param_names
        base = dict(zip(self._selected, self.initial_weights(), strict=True))
        base.update(self.module.named_parameters())
        tensors = []
        for name, value, given in zip(names, resolved.values, resolved.given, strict=True):
            if not given:
                continue
            own = base[name]
            if value.device != own.device:
                checks.fail(f"weights['{name}']", f"a tensor on {own.device}", value.device)
            if value.is_floating_point() != own.is_floating_point():
                raise TypeError(f"weights['{name}']: expected dtype {own.dtype}, got {value.dtype}")
            tensors.append((name, value.to(own.dtype) if self._weight_dtype == "parameter" else value))
        return tensors

    def _from_names(self, weights: Mapping[str, Tensor]) -> list[Tensor]:
        unknown = [name for name in weights if name not in self._selected]
        missing = [name for name in self._selected if name not in weights]
        if unknown or missing:
            checks.fail("weights", f"tensors for {self._selected}", f"unknown {unknown}, missing {missing}")
        for name in self._selected:
            checks.tensor(f"weights['{name}']", weights[name])
        return [weights[name] for name in self._selected]

    @contextmanager
    def _replaced(self, tensors: Sequence[tuple[str, Tensor]], condition: Any) -> Iterator[nn.Module]:
        places = [(_place(self.module, alias), tensor) for name, tensor in tensors for alias in self._names[name]]
        if self._batchnorm_layers is not None and condition is not None:
            for norm, statistics in zip(self._norms, self._batchnorm_layers, strict=True):
                places += statistics.places(self.module.get_submodule(norm), condition)  # type: ignore[operator]
        with external.replaced(places):
            yield self.module


def _names_of_parameters(module: nn.Module) -> dict[str, list[str]]:
    """All names of each parameter, by the first one; there are several if it is tied or its layer is used twice."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(first.setdefault(id(parameter), name), []).append(name)
    return names


def _place(module: nn.Module, name: str) -> external.Place:
    owner, _, key = name.rpartition(".")
    return module.get_submodule(owner), key


def _versions(tensors: Sequence[tuple[str, Tensor]]) -> list[int]:
    """How often each tensor was changed in place, as far as that can be read."""
    if torch.compiler.is_compiling():
        return [0] * len(tensors)
    return [tensor._version for _, tensor in tensors]


@contextmanager
def _mappable_attention() -> Iterator[None]:
    """Keep attention off the fused kernels for which ``vmap`` has no rule."""
    from torch.nn.attention import SDPBackend, sdpa_kernel  # not loaded with torch

    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)

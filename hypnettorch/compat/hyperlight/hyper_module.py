"""Modules some of whose parameters come from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.compat.hyperlight import external
from hypnettorch.compat.hyperlight.external_parameter import ExternalParameter
from hypnettorch.core import checks, trees
from hypnettorch.mnets.batched import map_sets


class UnknownExternal(LookupError, ValueError):
    """A name by which a module has no external parameter."""


class HyperModule(nn.Module):
    """A module that computes with values of its external parameters that are lent to it.

    :func:`~hypnettorch.compat.hyperlight.hypernetize` makes a module an instance of this class, besides its own one. A
    class that derives from it declares external parameters in its constructor, by ``self.weight =
    ExternalParameter(...)`` or :meth:`register_external`, and reads them as ordinary ones.

    Names are those of parameters: ``'weight'``, or ``'layer1.conv.weight'`` in a submodule.

    With stacked values ``[B, *shape]`` the module computes with ``B`` weight sets at once: tensors among its arguments
    carry a leading ``B`` then, and so does every tensor that it returns. This is one pass of ``torch.func.vmap``, but a
    loop over the sets where a layer has no rule for it (recurrent layers of torch) or writes running statistics.

    Example:
        >>> class Scaled(HyperModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.scale = ExternalParameter((2,))
        ...
        ...     def forward(self, x):
        ...         return x * self.scale
        >>> module = Scaled()
        >>> module.external_shapes()
        {'scale': torch.Size([2])}
        >>> with module.using_externals({'scale': torch.tensor([1., 2.])}):
        ...     module(torch.ones(2))
        tensor([1., 2.])
        >>> with module.using_externals({'scale': torch.tensor([[1., 2.], [3., 4.]])}):
        ...     module(torch.ones(2, 2))
        tensor([[1., 2.],
                [3., 4.]])
        >>> module(torch.ones(2))
        Traceback (most recent call last):
            ...
        AttributeError: scale: expected a value from using_externals(...) or set_externals(...), got none
    """

    def register_external(self, name: str, parameter: ExternalParameter) -> None:
        """Declare an external parameter of this module itself.

        Args:
            name: The attribute by which it is read; a parameter of that name is taken out.
            parameter: The parameter. Several modules may share one.

        Raises:
            TypeError: If ``parameter`` is no :class:`ExternalParameter`.
        """
        checks.instance("parameter", parameter, ExternalParameter)
        self.__dict__.setdefault("_externals", {})[name] = parameter
        external.share(self, name, parameter.place)

    def convert_external(self, name: str) -> ExternalParameter:
        """Turn a parameter into an external one, which has no value.

        Args:
            name: Its name.

        Returns:
            The external parameter, of the same shape and dtype.

        Raises:
            LookupError: If there is no such parameter (the class is a ``ValueError`` as well).
        """
        path, _, key = name.rpartition(".")
        names = [name for name, _ in self.named_parameters(remove_duplicate=False)]
        if name not in names:
            raise UnknownExternal(f"name: expected one of the parameters {names}, got {name!r}")
        owner: Any = self.get_submodule(path)
        external.mix_in(owner, HyperModule)
        value = owner._parameters[key]
        parameter = ExternalParameter(value.shape, dtype=value.dtype)
        owner.register_external(key, parameter)
        return parameter

    def named_externals(self, prefix: str = "") -> Iterator[tuple[str, ExternalParameter]]:
        """Names and external parameters of this module and its submodules, each under its first name."""
        known = set()
        for path, module in self.named_modules(prefix=prefix):
            for name, parameter in module.__dict__.get("_externals", {}).items():
                if parameter not in known:
                    known.add(parameter)
                    yield f"{path}.{name}" if path else name, parameter

    def externals(self) -> Iterator[ExternalParameter]:
        """The external parameters of this module and its submodules."""
        return (parameter for _, parameter in self.named_externals())

    def external_shapes(self) -> dict[str, torch.Size]:
        """What has to be lent to the module: shapes by name."""
        return {name: parameter.shape for name, parameter in self.named_externals()}

    def get_external(self, name: str) -> ExternalParameter:
        """An external parameter by name.

        Raises:
            LookupError: If there is none (the class is a ``ValueError`` as well).
        """
        path, _, key = name.rpartition(".")
        try:
            parameter: ExternalParameter = self.get_submodule(path).__dict__["_externals"][key]
        except (AttributeError, KeyError):
            known = list(self.external_shapes())
            raise UnknownExternal(f"name: expected one of the externals {known}, got {name!r}") from None
        return parameter

    def set_external(self, name: str, value: Tensor) -> None:
        """Give one external parameter a value, until it gets another one or is reset."""
        self.apply_externals({name: value})

    def set_externals(self, **values: Tensor) -> None:
        """Give external parameters values, until they get others or are reset."""
        self.apply_externals(values)

    def apply_externals(self, values: Mapping[str, Tensor]) -> None:
        """Give external parameters values, until they get others or are reset.

        Args:
            values: Tensors ``[*shape]``, or stacked ones ``[B, *shape]``, by name.

        Raises:
            LookupError: If a name is unknown (the class is a ``ValueError`` as well).
            ValueError: If a shape does not fit.
            TypeError: If a value is no tensor, or of a dtype that does not fit.
        """
        for parameter, value in self._fit(values):
            parameter.data = value

    def reset_externals(self) -> None:
        """Take the values that were set away from all external parameters."""
        for parameter in self.externals():
            parameter.reset()

    @contextmanager
    def using_externals(self, values: Mapping[str, Tensor]) -> Iterator[HyperModule]:
        """Lend the module values within a block.

        Blocks nest, the inner one wins; afterwards, also after an exception, the module is as before. Each thread sees
        its own blocks.

        Args:
            values: As for :meth:`apply_externals`.

        Returns:
            A context manager that gives the module.

        Raises:
            LookupError: If a name is unknown (the class is a ``ValueError`` as well).
            ValueError: If a shape does not fit.
            TypeError: If a value is no tensor, or of a dtype that does not fit.
        """
        with external.replaced([(parameter.place, value) for parameter, value in self._fit(values)]):
            yield self

    def _fit(self, values: Mapping[str, Tensor]) -> list[tuple[ExternalParameter, Tensor]]:
        """Values with the parameters that they are for, all of them checked before any is used."""
        checks.instance("values", values, Mapping)
        found = [(name, self.get_external(name), value) for name, value in values.items()]
        return [(parameter, parameter.fit(f"values[{name!r}]", value)) for name, parameter, value in found]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module, with one weight set or with stacked ones."""
        stacked = {name: parameter for name, parameter in self.named_externals() if parameter.num_sets is not None}
        if not stacked:
            return super().__call__(*args, **kwargs)
        return _map_call(self, super().__call__, stacked, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__.get("_externals", {}):
            raise AttributeError(
                f"{name}: expected a value from using_externals(...) or set_externals(...), got none", name=name
            )
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ExternalParameter):
            self.register_external(name, value)
        elif name in self.__dict__.get("_externals", {}):
            self.set_external(name, value)
        else:
            super().__setattr__(name, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HyperModule:
        super()._apply(fn, recurse)
        for parameter in self.__dict__.get("_externals", {}).values():
            parameter.convert(fn)
        return self

    def extra_repr(self) -> str:
        """What the module's own class says of it; that asks for parameters, which need not have a value."""
        own = self.__dict__.get("_externals", {}).values()
        with external.replaced([(parameter.place, torch.empty(parameter.shape, device="meta")) for parameter in own]):
            return super().extra_repr()


VoidModule = HyperModule
"""The earlier name of :class:`HyperModule`."""


def _map_call(
    module: nn.Module,
    function: Callable[..., Any],
    stacked: Mapping[str, ExternalParameter],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    """Call a module with each of the ``B`` values of its external parameters and its share of the arguments."""
    values = {name: parameter.data for name, parameter in stacked.items()}
    sizes = {name: len(value) for name, value in values.items()}
    sets = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != sets:
            checks.fail(name, f"as many weight sets as the other externals ({sets})", size)
    leaves, structure = trees.flatten((args, dict(kwargs)))
    tensors = {i: leaf for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
    for i, tensor in tensors.items():
        if tensor.dim() == 0 or tensor.shape[0] != sets:
            checks.fail(("arguments", i), f"a leading dimension of {sets} weight sets", f"shape {tuple(tensor.shape)}")

    def one_set(tensors: dict[int, Tensor], values: dict[str, Tensor], condition: None) -> Any:
        args, kwargs = trees.unflatten([tensors.get(i, leaf) for i, leaf in enumerate(leaves)], structure)
        with external.replaced([(stacked[name].place, value) for name, value in values.items()]):
            return function(*args, **kwargs)

    return map_sets(one_set, {"tensors": tensors, "values": values}, module)

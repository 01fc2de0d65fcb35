"""One set of weights for several main networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.mnets.mnet_interface import MainNetInterface

SHARING = ("equal", "leading", "none")


@dataclass
class _Entry:
    """A joint tensor, and where each network finds its own in it."""

    shape: list[int]
    meta: dict[str, Any]
    users: dict[str, int] = field(default_factory=dict)


class MultiNet(nn.Module, MainNetInterface):
    """Several networks behind one :class:`~hypnettorch.mnets.mnet_interface.MainNetInterface`.

    ``hyper_shapes_learned`` are the tensors that the networks need together; tensors that correspond are needed once.
    Tensors correspond if they have the same name: that of the parameter for a ``ModuleNet``, otherwise layer and role.

    Args:
        nets: The networks by name; all of them take weights from outside.
        share: ``'equal'``: corresponding tensors of equal shape are one tensor. ``'leading'``: also those of different
            shape, the smaller one being the leading part of the larger. ``'none'``: each network has its own. Or a
            function of the name of a tensor that returns one of the three.
        net_of_condition: The network that belongs to each condition, so that ``forward`` needs only ``condition``.

    Raises:
        ValueError: If a network needs no weights, or an argument is wrong.

    Example:
        >>> from hypnettorch.mnets import MLP
        >>> small = MLP(n_in=4, n_out=2, hidden_layers=[8], no_weights=True, verbose=False)
        >>> large = MLP(n_in=4, n_out=10, hidden_layers=[8], no_weights=True, verbose=False)
        >>> net = MultiNet({'small': small, 'large': large}, share='leading')
        >>> net.hyper_shapes_learned
        [[8, 4], [8], [10, 8], [10]]
        >>> weights = [torch.randn(shape) for shape in net.hyper_shapes_learned]
        >>> net(torch.randn(5, 4), weights=weights, net='small').shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        nets: Mapping[str, MainNetInterface],
        share: str | Callable[[str], str] = "equal",
        net_of_condition: Mapping[int, str] | None = None,
    ) -> None:
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        checks.instance("nets", nets, Mapping, "a dictionary of networks")
        if not nets:
            checks.fail("nets", "at least one network", "none")
        for name, net in nets.items():
            checks.instance(f"nets['{name}']", net, MainNetInterface)
            if not net.hyper_shapes_learned:
                checks.fail(f"nets['{name}']", "a network that takes weights from outside", "hyper_shapes_learned=None")
        self.nets = nn.ModuleDict(nets)  # type: ignore[arg-type]
        self._net_of_condition = dict(net_of_condition or {})
        for condition, name in self._net_of_condition.items():
            checks.one_of(f"net_of_condition[{condition}]", name, list(nets))
        if not callable(share):
            checks.one_of("share", share, SHARING)
        self._parts = self._declare(nets, share if callable(share) else lambda name: share)
        self._list_parameters()
        networks = list(nets.values())
        self._has_bias = any(net.has_bias for net in networks)
        self._has_fc_out = all(net.has_fc_out for net in networks)
        self._has_linear_out = all(net.has_linear_out for net in networks)
        self._mask_fc_out = False
        self._is_properly_setup(check_has_bias=False)

    @property
    def starts_exactly(self) -> bool:
        """Whether this holds for each of the networks."""
        return all(net.starts_exactly for net in self.nets.values())

    @property
    def depends_on_condition(self) -> bool:
        """Whether the condition fixes the network, or one of the networks depends on it."""
        return bool(self._net_of_condition) or any(net.depends_on_condition for net in self.nets.values())

    def forward(
        self, *args: Any, weights: Any = None, net: str | None = None, condition: Any = None, **kwargs: Any
    ) -> Any:
        """Evaluate one of the networks.

        Args:
            *args: Positional arguments of the network.
            weights: A list that fits ``hyper_shapes_learned``, or the same as a flat tensor.
            net: Which network; by default the one that belongs to ``condition``.
            condition: See ``net``; also passed to the network, if that depends on it.
            **kwargs: Keyword arguments of the network.

        Returns:
            What the network returns.

        Raises:
            ValueError: If it is not clear which network is meant, or the weights do not fit.
        """
        chosen, own = self._choose(net, condition, weights, stacked=False)
        return chosen(*args, weights=own, condition=self._passed_on(chosen, condition), **kwargs)

    def batched_forward(  # type: ignore[override]
        self, *args: Any, weights: Any, net: str | None = None, condition: Any = None, **kwargs: Any
    ) -> Any:
        """Evaluate one of the networks with ``B`` weight sets at once; arguments as for :meth:`forward`."""
        chosen, own = self._choose(net, condition, weights, stacked=True)
        return chosen.batched_forward(*args, weights=own, condition=self._passed_on(chosen, condition), **kwargs)

    def distillation_targets(self) -> list[Tensor] | None:
        """``None``: the networks distil for themselves."""
        return None

    def net_weights(self, weights: Sequence[Tensor], net: str) -> list[Tensor]:
        """The weights of one network as views of the joint ones.

        Args:
            weights: Joint tensors ``[..., *shape]``, parallel to ``hyper_shapes_learned``.
            net: Name of the network.

        Returns:
            Tensors ``[..., *shape]``, parallel to the network's ``hyper_shapes_learned``.
        """
        return [_leading(weights[position], shape) for position, shape in self._parts[net]]

    def _choose(self, net: str | None, condition: Any, weights: Any, stacked: bool) -> tuple[Any, list[Tensor]]:
        if net is None:
            given = condition.tolist() if isinstance(condition, Tensor) else condition
            conditions = given if isinstance(given, (list, tuple)) else [given]
            names = {self._net_of_condition.get(c) for c in conditions}
            if len(names) != 1 or None in names:
                checks.fail("net", f"one of {list(self.nets)}, or a condition that fixes it", f"condition {condition}")
            net = names.pop()
        checks.one_of("net", net, list(self.nets))
        resolved = self._resolve_weights(weights, stacked)
        joint = [resolved.values[ref] for ref in self.hyper_shapes_learned_ref or ()]
        return self.nets[net], self.net_weights(joint, net)  # type: ignore[index, arg-type]

    def _passed_on(self, net: Any, condition: Any) -> Any:
        """A condition that only fixes the network is not for the network itself."""
        return None if self._net_of_condition and not net.depends_on_condition else condition

    def _declare(
        self, nets: Mapping[str, MainNetInterface], share: Callable[[str], str]
    ) -> dict[str, list[tuple[int, list[int]]]]:
        """The joint tensors, and for each network positions and shapes of its own in them."""
        entries: dict[Any, _Entry] = {}
        parts: dict[str, list[tuple[Any, list[int]]]] = {name: [] for name in nets}
        for net_name, net in nets.items():
            for tensor_name, shape, meta in _learned_tensors(net):
                key = _key(share(tensor_name), net_name, tensor_name, shape)
                entry = entries.setdefault(key, _Entry(shape, meta))
                entry.shape = [max(a, b) for a, b in zip(entry.shape, shape, strict=True)]
                parts[net_name].append((key, shape))
        self._param_shapes, self._param_shapes_meta = [], []
        self._hyper_shapes_learned, self._hyper_shapes_learned_ref = [], []
        for entry in entries.values():
            self._add_param(entry.shape, entry.meta["name"], entry.meta["layer"], None, **_fans(entry.meta))
        positions = {key: i for i, key in enumerate(entries)}
        return {name: [(positions[key], shape) for key, shape in own] for name, own in parts.items()}

    def _list_parameters(self) -> None:
        """Add what the networks hold themselves; it stays registered with them."""
        internal = nn.ParameterList()
        for net in self.nets.values():
            metas = {meta["index"]: meta for meta in net.param_shapes_meta}  # type: ignore[union-attr]
            for index, parameter in enumerate(net.internal_params or ()):  # type: ignore[arg-type]
                meta = metas[index]
                self._param_shapes.append(list(parameter.shape))  # type: ignore[union-attr]
                self._param_shapes_meta.append(  # type: ignore[union-attr]
                    {"name": meta["name"], "index": len(internal), "layer": -1, **_fans(meta)}
                )
                internal.append(parameter)
        self.__dict__["_internal_params"] = internal
        self.__dict__["_layer_weight_tensors"] = nn.ParameterList()
        self.__dict__["_layer_bias_vectors"] = nn.ParameterList()


def _learned_tensors(net: MainNetInterface) -> list[tuple[str, list[int], dict[str, Any]]]:
    """Name, shape and description of the tensors that a network needs."""
    found = []
    for ref, shape in zip(net.hyper_shapes_learned_ref or (), net.hyper_shapes_learned or (), strict=True):
        meta = net.param_shapes_meta[ref]
        name = meta.get("param_name") or f"{meta['layer']}.{meta['name']}"
        found.append((name, list(shape), meta))
    return found


def _key(mode: str, net: str, name: str, shape: Sequence[int]) -> tuple[Any, ...]:
    """What tensors that are one have in common."""
    checks.one_of("share", mode, SHARING)
    return {"none": (net, name), "equal": (name, tuple(shape)), "leading": (name, len(shape))}[mode]


def _fans(meta: Mapping[str, Any]) -> dict[str, Any]:
    return {key: meta[key] for key in ("fan_in", "fan_out", "neutral") if key in meta}


def _leading(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The leading part of a tensor ``[..., *larger]``."""
    for dim, size in enumerate(shape, start=tensor.dim() - len(shape)):
        if tensor.shape[dim] != size:
            tensor = tensor.narrow(dim, 0, size)
    return tensor

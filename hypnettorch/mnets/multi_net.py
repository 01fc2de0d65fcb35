"""One set of weights for several main networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.table import Row
from hypnettorch.core.values import resolve
from hypnettorch.mnets.network import Network, check_network

SHARING = ("equal", "leading", "none")


class MultiNet(Network):
    """Several networks behind one.

    ``hyper_shapes_learned`` are the tensors that the networks need together; tensors that correspond are needed once.
    Tensors correspond if they have the same name (``param_names``). That is the name of the joint tensor, too; where
    several have it, that of the network stands in front.

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
        nets: Mapping[str, Any],
        share: str | Callable[[str], str] = "equal",
        net_of_condition: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__()
        checks.instance("nets", nets, Mapping, "a dictionary of networks")
        if not nets:
            checks.fail("nets", "at least one network", "none")
        for name, net in nets.items():
            check_network(f"nets['{name}']", net)
            if not net.hyper_shapes_learned:
                checks.fail(f"nets['{name}']", "a network that takes weights from outside", "hyper_shapes_learned=None")
        self.nets = nn.ModuleDict(nets)
        self._net_of_condition = dict(net_of_condition or {})
        for condition, name in self._net_of_condition.items():
            checks.one_of(f"net_of_condition[{condition}]", name, list(nets))
        if not callable(share):
            checks.one_of("share", share, SHARING)
        self._joint_of = self._join(nets, share if callable(share) else lambda name: share)
        for i, (name, net) in enumerate(nets.items()):
            own = [row.inside(f"nets.{name}", i + 1, None, {}) for row in net.table.internal()]
            self._extend([replace(row, meta=_fans(row)) for row in own])
        networks = list(nets.values())
        self._has_bias = any(net.has_bias for net in networks)
        self._has_fc_out = all(net.has_fc_out for net in networks)
        self._has_linear_out = all(net.has_linear_out for net in networks)
        self._mask_fc_out = False

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
        if weights is None and self._call is not None:
            weights, condition = self.lent(condition)
        chosen, own = self._choose(net, condition, weights, stacked=False)
        return chosen(*args, **own, **kwargs)

    def batched_forward(  # type: ignore[override]
        self, *args: Any, weights: Any, net: str | None = None, condition: Any = None, **kwargs: Any
    ) -> Any:
        """Evaluate one of the networks with ``B`` weight sets at once; arguments as for :meth:`forward`."""
        chosen, own = self._choose(net, condition, weights, stacked=True)
        return chosen.batched_forward(*args, **own, **kwargs)

    def net_weights(self, weights: Sequence[Tensor], net: str) -> list[Tensor]:
        """The weights of one network as views of the joint ones.

        Args:
            weights: Joint tensors ``[..., *shape]``, parallel to ``hyper_shapes_learned``.
            net: Name of the network.

        Returns:
            Tensors ``[..., *shape]``, parallel to the network's ``hyper_shapes_learned``.
        """
        return self._part_of(dict(zip(self.table.learned_names, weights, strict=True)), net)

    def _part_of(self, tensors: Mapping[str, Tensor], net: str) -> list[Tensor]:
        """The weights of one network, from the joint ones by name."""
        return [_leading(tensors[name], shape) for name, shape in self._joint_of[net]]

    def _choose(self, net: str | None, condition: Any, weights: Any, stacked: bool) -> tuple[Any, dict[str, Any]]:
        """The network that is meant, with its weights and condition."""
        if net is None:
            given = condition.tolist() if isinstance(condition, Tensor) else condition
            conditions = given if isinstance(given, (list, tuple)) else [given]
            names = {self._net_of_condition.get(c) for c in conditions}
            if len(names) != 1 or None in names:
                checks.fail("net", f"one of {list(self.nets)}, or a condition that fixes it", f"condition {condition}")
            net = names.pop()
        checks.one_of("net", net, list(self.nets))
        tensors, _ = resolve(self.table, weights, self, stacked)
        self.check_complete(tensors, weights)
        chosen: Any = self.nets[net]  # type: ignore[index]
        own = self._part_of(tensors, net)  # type: ignore[arg-type]
        # A condition that only fixes the network is not for the network itself.
        fixes_only = self._net_of_condition and not chosen.depends_on_condition
        return chosen, {"weights": own, "condition": None if fixes_only else condition}

    def _join(
        self, nets: Mapping[str, Any], share: Callable[[str], str]
    ) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
        """Declare the joint tensors; for each network, names and shapes of its own in them."""
        joints: dict[Any, dict[str, Row]] = {}
        own: dict[str, list[tuple[Any, Row]]] = {name: [] for name in nets}
        for net, module in nets.items():
            for row in module.table.learned:
                key = _key(share(row.name), net, row)
                joints.setdefault(key, {})[net] = row
                own[net].append((key, row))
        firsts = {key: next(iter(rows.items())) for key, rows in joints.items()}
        taken = Counter(row.name for _, row in firsts.values())
        names = {key: row.name if taken[row.name] == 1 else f"{net}.{row.name}" for key, (net, row) in firsts.items()}
        for i, (key, rows) in enumerate(joints.items()):
            row, parts = firsts[key][1], list(rows.values())
            shape = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
            options = {"external": True, "order": (0, i), "start": _common_start(parts), **_fans(row)}
            self.declare(names[key], shape, row.role, row.layer, **options)
        return {net: [(names[key], row.shape) for key, row in rows] for net, rows in own.items()}


def _common_start(rows: Sequence[Row]) -> tuple[float, float] | None:
    """Mean and variance with which a tensor of several networks starts: the average of what they ask for."""
    starts = [row.start for row in rows if row.start is not None]
    if len(starts) < len(rows):
        return None
    mean, variance = (sum(column) / len(rows) for column in zip(*starts, strict=True))
    return mean, variance


def _key(mode: str, net: str, row: Row) -> tuple[Any, ...]:
    """What tensors that are one have in common."""
    checks.one_of("share", mode, SHARING)
    name, shape = row.name, row.shape
    return {"none": (net, name), "equal": (name, shape), "leading": (name, len(shape))}[mode]


def _fans(row: Row) -> dict[str, Any]:
    return {key: row.meta[key] for key in ("fan_in", "fan_out", "neutral") if key in row.meta}


def _leading(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The leading part of a tensor ``[..., *larger]``."""
    for dim, size in enumerate(shape, start=tensor.dim() - len(shape)):
        if tensor.shape[dim] != size:
            tensor = tensor.narrow(dim, 0, size)
    return tensor

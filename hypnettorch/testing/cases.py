"""A network under test: how a law calls it, compares what it returns, and says what is wrong."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import trees

SETS = 3
"""Number of weight sets in tests of ``batched_forward``."""

MODULATION = ("cm_scale", "cm_shift")

Law = Callable[[Any], None]
"""A function of a case that raises if it does not hold; the first line of its docstring is the law."""

_OWN = object()
"""Stands for the weights that a case passes when a law does not say otherwise."""


class Broken(Exception):
    """What a law raises; the message says what was found."""


def require(holds: Any, found: str) -> None:
    """Raise unless a law holds."""
    if not holds:
        raise Broken(found)


def same(got: Any, expected: Any, what: str, rtol: float = 1e-7) -> None:
    """Raise unless two structures of tensors agree in shapes and values.

    Args:
        got: A tensor, or a list, tuple or dictionary of them.
        expected: Likewise.
        what: What is compared, for the message.
        rtol: Tolerance, relative to the entry or to the largest one of the tensor, whichever is larger.
    """
    leaves, structure = trees.flatten(got)
    wanted, wanted_structure = trees.flatten(expected)
    require(structure == wanted_structure, f"{what}: got a {_kind(got)}, expected a {_kind(expected)}")
    for leaf, want in zip(leaves, wanted, strict=True):
        if not isinstance(want, Tensor):
            require(leaf == want, f"{what}: got {leaf}, expected {want}")
            continue
        require(isinstance(leaf, Tensor), f"{what}: got a {_kind(leaf)}, expected a tensor")
        require(leaf.shape == want.shape, f"{what}: got shape {tuple(leaf.shape)}, expected {tuple(want.shape)}")
        if want.numel() == 0:
            continue
        scale = float(want.detach().abs().max())
        close = torch.isclose(leaf.detach().to(want), want.detach(), rtol=rtol, atol=rtol * max(scale, 1e-6))
        if not close.all():
            gap = float((leaf.detach().to(want) - want.detach()).abs().max())
            raise Broken(f"{what}: values differ by up to {gap:.3g}")


def _kind(value: Any) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (list, tuple, dict)) else type(value).__name__


def refused(
    error: type[Exception], argument: str, what: str, call: Callable[..., Any], *args: Any, **options: Any
) -> None:
    """Raise unless ``call(*args, **options)`` raises ``error`` with a message that names the argument.

    Args:
        error: The class.
        argument: What the message must contain.
        what: What is wrong with the arguments, for our message.
        call: The function.
        *args: Its arguments.
        **options: Its keyword arguments.
    """
    try:
        call(*args, **options)
    except error as problem:
        require(argument in str(problem), f"{what}: the message does not name '{argument}' ({problem})")
        return
    except Exception as problem:
        raise Broken(f"{what} raises {type(problem).__name__} instead of {error.__name__} ({problem})") from problem
    raise Broken(f"{what} is accepted, expected a {error.__name__} that names '{argument}'")


def draw(shapes: Sequence[Sequence[int]], sets: int | None = None, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Random tensors of moderate size, ``[*shape]`` or ``[sets, *shape]``."""
    lead = [] if sets is None else [sets]
    return [
        torch.randn(*lead, *shape, dtype=dtype) * (math.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.3)
        for shape in shapes
    ]


def copy_of(net: nn.Module) -> Any:
    """A copy that a law may change."""
    return copy.deepcopy(net)


def state_of(net: nn.Module) -> dict[str, Tensor]:
    """A copy of the tensors in a ``state_dict``."""
    return {name: value.clone() for name, value in net.state_dict().items() if isinstance(value, Tensor)}


def statistics_layers(net: Any) -> list[Any]:
    """The batch norm layers that keep running statistics."""
    return [layer for layer in net.batchnorm_layers or () if layer.num_stats > 0]


def give_statistics(net: Any, sets: int = SETS) -> None:
    """Let every batch norm layer have ``sets`` different running statistics."""
    for layer in statistics_layers(net):
        while layer.num_stats < sets:
            layer.checkpoint_stats()
        for k in range(layer.num_stats):
            mean, var = layer.get_stats(k)
            mean.uniform_(-1, 1)
            var.uniform_(0.5, 2)


class Case(ABC):
    """A copy of a network in float64 and evaluation mode, with what it takes to call it.

    Attributes:
        net: The copy; a law that changes a network takes a copy of it.
        weights: Values for ``hyper_shapes_learned``; ``None`` if there are none.
    """

    def __init__(self, net: nn.Module, dtype: torch.dtype = torch.float64) -> None:
        self.net: Any = copy_of(net).to(dtype).eval()
        self.dtype = dtype
        learned = self.net.hyper_shapes_learned
        self.weights = draw(learned, dtype=dtype) if learned else None

    def __call__(self, net: Any = None, weights: Any = _OWN, **options: Any) -> Any:
        """What a network (default: the one under test) returns; ``options`` are arguments of its ``forward``."""
        return self._evaluate(self.net if net is None else net, self.weights if weights is _OWN else weights, **options)

    @abstractmethod
    def _evaluate(self, net: Any, weights: Any, **options: Any) -> Any: ...

    @abstractmethod
    def batched(self, net: Any, weights: Any, share_input: bool = False, **options: Any) -> Any:
        """What ``batched_forward`` returns for stacked ``weights`` and, unless shared, one input per set."""

    @abstractmethod
    def loop(self, net: Any, weights: Sequence[Tensor], share_input: bool = False, **options: Any) -> Any:
        """The same by one call of ``forward`` per set; ``options`` are lists with one entry per set."""

    @abstractmethod
    def parts(self) -> dict[str, list[int]] | None:
        """Keys of a dictionary ``weights`` with the positions in ``param_shapes`` of each; ``None`` if unknown."""

    def meta(self) -> list[dict[str, Any]] | None:
        """``param_shapes_meta``, ``None`` if the class does not provide it."""
        try:
            return list(self.net.param_shapes_meta)
        except NotImplementedError:
            return None

    def learned_refs(self) -> list[int] | None:
        """``hyper_shapes_learned_ref``, empty without such shapes; ``None`` if the class does not provide it."""
        try:
            return list(self.net.hyper_shapes_learned_ref or [])
        except NotImplementedError:
            return None

    def complete(self) -> list[Tensor] | None:
        """The values that the network computes with, parallel to ``param_shapes``; ``None`` if that is unknown."""
        meta, refs = self.meta(), self.learned_refs()
        if meta is None or refs is None or -1 in refs:
            return None
        values: list[Any] = [None if m["index"] < 0 else self.net.internal_params[m["index"]].detach() for m in meta]
        for ref, value in zip(refs, self.weights or (), strict=True):
            values[ref] = value
        return None if any(value is None for value in values) else [value.clone() for value in values]

    def stacked(self) -> list[Tensor] | None:
        """Random values ``[SETS, *shape]`` for ``hyper_shapes_learned``, or for all parameters if all are internal."""
        if self.weights is not None:
            return draw(self.net.hyper_shapes_learned, SETS, self.dtype)
        return None if self.complete() is None else draw(self.net.param_shapes, SETS, self.dtype)


def stack_outputs(outputs: Sequence[Any]) -> Any:
    """The outputs of several calls with a new leading dimension on every tensor."""
    return trees.map_leaves(lambda *leaves: torch.stack(leaves), *outputs)


class MainCase(Case):
    """A main network and an input ``x``."""

    def __init__(self, net: nn.Module, x: Tensor, dtype: torch.dtype = torch.float64) -> None:
        super().__init__(net, dtype)
        self.x = x.detach().to(dtype) if x.is_floating_point() else x.clone()
        self.xs = torch.stack([self.x.roll(b, 0) for b in range(SETS)])

    def _evaluate(self, net: Any, weights: Any, x: Tensor | None = None, **options: Any) -> Any:
        return net(self.x if x is None else x, weights=weights, **options)

    def batched(self, net: Any, weights: Any, share_input: bool = False, **options: Any) -> Any:
        """See :meth:`Case.batched`."""
        return net.batched_forward(self.x if share_input else self.xs, weights, share_input=share_input, **options)

    def loop(self, net: Any, weights: Sequence[Tensor], share_input: bool = False, **options: Any) -> Any:
        """See :meth:`Case.loop`."""
        return stack_outputs(
            [
                self(
                    net,
                    weights=[w[b] for w in weights],
                    x=self.x if share_input else self.xs[b],
                    **{name: values[b] for name, values in options.items()},
                )
                for b in range(SETS)
            ]
        )

    def parts(self) -> dict[str, list[int]] | None:
        """Everything but context modulation, and context modulation."""
        meta = self.meta()
        if meta is None:
            return None
        modulation = [i for i, m in enumerate(meta) if m["name"] in MODULATION]
        rest = [i for i in range(len(meta)) if i not in modulation]
        return {"internal_weights": rest, **({"mod_weights": modulation} if modulation else {})}


class HyperCase(Case):
    """A hypernetwork and its inputs: all of its conditions, or a conditional input if it knows none.

    Attributes:
        inputs: Arguments of ``forward``.
        size: Number of weight sets that these inputs produce.
    """

    def __init__(
        self,
        net: nn.Module,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(net, dtype)
        self.conditions = self.net.num_known_conds
        ids = list(range(self.conditions)) or None
        given = next((value for value in (uncond_input, cond_input) if value is not None), None)
        if ids is not None:
            ids = ids if len(ids) > 1 else [0, 0]  # batch norm wants more than one row in training
            self.size = len(ids)
        else:
            self.size = SETS if given is None else given.shape[0]
        inputs = {
            "uncond_input": self._input(uncond_input, "_uncond_in_size"),
            "cond_input": None if ids else self._input(cond_input, "_cond_in_size"),
            "cond_id": ids,
        }
        self.inputs: dict[str, Any] = {name: value for name, value in inputs.items() if value is not None}

    def _input(self, given: Tensor | None, size: str) -> Tensor | None:
        """An input that was passed, repeated to the batch size; else a random one of the size that the class states."""
        if given is not None:
            return given.detach().to(self.dtype)[torch.arange(self.size) % given.shape[0]]
        entries = getattr(self.net, size, 0)
        return torch.randn(self.size, entries, dtype=self.dtype) if entries else None

    def of_condition(self, cond_id: Any) -> dict[str, Any]:
        """Inputs for some conditions, with the same unconditional input for each of them."""
        uncond = {name: value[:1] for name, value in self.inputs.items() if name == "uncond_input"}
        return {**uncond, "cond_id": cond_id}

    def _evaluate(self, net: Any, weights: Any, ret_format: str = "flattened", **options: Any) -> Any:
        return net(**{**self.inputs, **options}, weights=weights, ret_format=ret_format)

    def batched(self, net: Any, weights: Any, share_input: bool = False, **options: Any) -> Any:
        """See :meth:`Case.batched`."""
        inputs = self.inputs if share_input else {name: self._per_set(value) for name, value in self.inputs.items()}
        return net.batched_forward(
            **{"ret_format": "flattened", **inputs, **options}, weights=weights, share_input=share_input
        )

    @staticmethod
    def _per_set(value: Any) -> Any:
        return torch.stack([value.roll(b, 0) for b in range(SETS)]) if isinstance(value, Tensor) else value

    def loop(self, net: Any, weights: Sequence[Tensor], share_input: bool = False, **options: Any) -> Any:
        """See :meth:`Case.loop`."""
        outputs = []
        for b in range(SETS):
            inputs = {
                name: value if share_input or not isinstance(value, Tensor) else value.roll(b, 0)
                for name, value in self.inputs.items()
            }
            chosen = {name: values[b] for name, values in options.items()}
            outputs.append(self(net, weights=[w[b] for w in weights], **inputs, **chosen))
        return stack_outputs(outputs)

    def parts(self) -> dict[str, list[int]] | None:
        """What all conditions share, and what belongs to conditions."""
        parts = {
            "uncond_weights": self.net.unconditional_param_shapes_ref,
            "cond_weights": self.net.conditional_param_shapes_ref,
        }
        return {key: list(positions) for key, positions in parts.items()}

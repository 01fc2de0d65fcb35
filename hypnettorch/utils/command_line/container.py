"""A container from options: which part of the weights is generated, shared by all conditions, or own to each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.hnets import HContainer
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.hnets.initialization import describe_targets
from hypnettorch.mnets import ModuleNet
from hypnettorch.mnets.network import Network
from hypnettorch.utils.command_line.options import names

SHARED, OWN = "shared", "own"
"""Parts that are plain parameters: of all conditions together, or of each."""

EXAMPLE = "parts of the targets as 'body=0-3; shared=bn_*; own=*'"

Parts = dict[str, list[str]]
"""By the names of parts, what chooses their targets."""


@dataclass(frozen=True)
class InOrder:
    """The assembly function of a container that only puts tensors in the order of the targets.

    Attributes:
        positions: For each target its position among all tensors: those produced, the shared, the own ones.
    """

    positions: tuple[int, ...]

    def __call__(self, produced: list[list[Tensor]], shared: list[Tensor], own: list[Tensor]) -> list[Tensor]:
        """The targets."""
        tensors = [*chain.from_iterable(produced), *shared, *own]
        return [tensors[position] for position in self.positions]


def parse_parts(option: str, value: str) -> Parts:
    """Names of parts with what chooses their targets.

    Raises:
        ValueError: If the text has another form.

    Example:
        >>> parse_parts("--container_parts", "body=0-3; own=bias,*")
        {'body': ['0-3'], 'own': ['bias', '*']}
    """
    parts: Parts = {}
    for text in value.split(";"):
        name, equals, selectors = text.partition("=")
        name = name.strip()
        chosen = names(option, selectors)
        if not (equals and name and chosen) or name in parts:
            checks.fail(option, EXAMPLE, repr(value))
        parts[name] = chosen
    return parts


def container(
    target_shapes: Sequence[Sequence[int]],
    make_part: Callable[..., HyperNetwork],
    parts: Parts | None = None,
    mnet: Network | None = None,
    uncond_in_size: int = 0,
    verbose: bool = True,
    **kwargs: Any,
) -> HContainer:
    """A ``HContainer`` of hypernetworks, each for a part of the targets, and of plain parameters.

    Args:
        target_shapes: Shapes of the targets.
        make_part: Called with the name of a part, its target shapes and ``uncond_in_size`` and ``kwargs``, makes the
            hypernetwork.
        parts: Parts with their targets, e.g. ``body=0-3; shared=bn_*; own=*``: positions, roles or names. ``shared``
            and ``own`` (to each condition) are plain parameters; others are made by hypernetworks, whose options begin
            with ``<part>_``.
        mnet: The main network, which knows the roles and names of targets.
        uncond_in_size: Size of the unconditional input of all hypernetworks.
        verbose: Whether to print a line about the network.
        **kwargs: ``num_cond_embs``, ``no_cond_weights`` and ``no_uncond_weights`` of all of it.

    Raises:
        ValueError: If the parts do not make up the targets.
    """
    if parts is None:
        checks.fail("--container_parts", EXAMPLE, None)
    labels = labels_of(target_shapes, mnet)
    chosen = assign(parts, labels)
    generated = [name for name in parts if name not in (SHARED, OWN)]
    order = [position for name in (*generated, SHARED, OWN) for position in chosen.get(name, [])]
    shared, own = chosen.get(SHARED, []), chosen.get(OWN, [])
    return HContainer(
        target_shapes,
        InOrder(tuple(sorted(range(len(order)), key=order.__getitem__))),
        [
            make_part(name, [target_shapes[i] for i in chosen[name]], uncond_in_size=uncond_in_size, **kwargs)
            for name in generated
        ],
        uncond_param_shapes=[target_shapes[i] for i in shared],
        uncond_param_names=[labels[i][0] for i in shared],
        cond_param_shapes=[target_shapes[i] for i in own],
        cond_param_names=[labels[i][0] for i in own],
        verbose=verbose,
        **kwargs,
    )


def labels_of(target_shapes: Sequence[Sequence[int]], mnet: Network | None) -> list[list[str]]:
    """For each target its role and, if the main network is a ``ModuleNet``, its name."""
    roles = [target.role for target in describe_targets(target_shapes, mnet)]
    found = list(mnet.selected_shapes) if isinstance(mnet, ModuleNet) else []
    return [[role, *found[i : i + 1]] for i, role in enumerate(roles)]


def assign(parts: Parts, labels: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Positions of the targets that belong to each part.

    Args:
        parts: By the names of parts, what chooses their targets: positions (``'3'``), ranges of positions (``'0-3'``)
            and patterns of labels (``'bias'``, ``'layer1.*'``, ``'*'``). The first part that chooses a target has it.
        labels: For each target by what it can be chosen.

    Raises:
        ValueError: If a target belongs to no part, or a part has no target.

    Example:
        >>> assign({"body": ["0-1"], "own": ["bias"], "shared": ["*"]}, [["weight"], ["bias"], ["weight"], ["bias"]])
        {'body': [0, 1], 'own': [3], 'shared': [2]}
    """
    chosen: dict[str, list[int]] = {name: [] for name in parts}
    for position, own in enumerate(labels):
        name = next((name for name in parts if any(_chooses(s, position, own) for s in parts[name])), None)
        if name is None:
            checks.fail("--container_parts", "parts that have all targets", f"none for target {position} ({own[0]})")
        chosen[name].append(position)
    for name, positions in chosen.items():
        if not positions:
            checks.fail("--container_parts", "parts that have targets", f"none of {len(labels)} for '{name}'")
    return chosen


def _chooses(selector: str, position: int, labels: Sequence[str]) -> bool:
    first, _, last = selector.partition("-")
    if first.isdecimal():
        return int(first) <= position <= int(last if last.isdecimal() else first)
    return any(fnmatchcase(label, selector) for label in labels)

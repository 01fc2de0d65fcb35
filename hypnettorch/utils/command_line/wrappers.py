"""Wrappers that options put around a hypernetwork."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypnettorch import hnets
from hypnettorch.core import checks
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.mnets.network import Network
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.kinds import Kind, merged
from hypnettorch.utils.command_line.options import Option, names


@dataclass(frozen=True)
class Request:
    """What a hypernetwork is to produce.

    Attributes:
        target_shapes: Shapes of the targets.
        num_cond_embs: Number of conditions that it knows by id.
        no_cond_weights: Whether their parameters are external.
        uncond_in_size: Size of the unconditional input of the innermost hypernetwork.
        mnet: The main network, if there is one.
    """

    target_shapes: Sequence[Sequence[int]]
    num_cond_embs: int
    no_cond_weights: bool = False
    uncond_in_size: int = 0
    mnet: Network | None = None

    def inside(self, wrapper: Kind, arguments: Mapping[str, Any]) -> Request:
        """What a wrapper of which this is asked asks of the hypernetwork inside of it."""
        if wrapper.make is hnets.HRecurrent and self.num_cond_embs:
            expected = "0 for a recurrent hypernetwork, whose condition is a sequence"
            checks.fail("num_conds", expected, self.num_cond_embs)
        if wrapper.make in (hnets.HEncodedInput, hnets.HRecurrent):
            return replace(self, num_cond_embs=0, no_cond_weights=True)
        if hasattr(wrapper.make, "factor_shapes"):
            shapes_of = wrapper.make.factor_shapes
            known = {key: arguments[key] for key in inspect.signature(shapes_of).parameters if key in arguments}
            return replace(self, target_shapes=shapes_of(self.target_shapes, **known))
        return self


_BASE = ("base", "trainable", "row_dim")
_RANK = Option("rank", help="Number of columns of the thin matrices.")
_NOISE = Option("sigma_noise", help="Standard deviation of the noise on each weight.")
_ENCODER = Option("encoder", help="How to make the encoder of elements, e.g. 'torch.nn.Linear(2, 8)'.")

WRAPPERS = {
    "encoded": Kind(hnets.HEncodedInput, "hnet_", skip=("which", "in_size")),
    "recurrent": Kind(hnets.HRecurrent, "hnet_", {"cell_in_size": Option("input_size", 1)}, {}, skip=("use_bias",)),
    "residual": Kind(hnets.HResidual, "hnet_", skip=_BASE),
    "scaling": Kind(hnets.HScaling, "hnet_", skip=_BASE),
    "low_rank": Kind(hnets.HLowRank, "hnet_", {"rank": _RANK}, skip=("dropout", "gate")),
    "perturbed": Kind(hnets.HPerturbWrapper, "hnet_", {"noise_std": _NOISE}),
    "set": Kind(hnets.HSetInput, "hnet_set_", {"encoder": _ENCODER}),
}


def parse_wrappers(option: str, value: str) -> list[Kind]:
    """Wrappers by their names, separated by commas, the innermost first.

    Raises:
        ValueError: If there is no such wrapper.
    """
    chosen = names(option, value)
    for name in chosen:
        checks.one_of(option, name, WRAPPERS)
    return [WRAPPERS[name] for name in chosen]


def wrap(
    make: Callable[[Request], HyperNetwork], wrappers: Sequence[tuple[Kind, dict[str, Any]]], request: Request
) -> HyperNetwork:
    """A hypernetwork inside of wrappers.

    Args:
        make: Makes the hypernetwork that is asked for.
        wrappers: With their arguments, the innermost first.
        request: What is asked of all of it.
    """
    if not wrappers:
        return make(request)
    *inner, (wrapper, arguments) = wrappers
    hnet = wrap(make, inner, request.inside(wrapper, arguments))
    shapes, width = request.target_shapes, request.uncond_in_size
    given = {**vars(request), "target": shapes, "hnet_uncond_in_size": width}
    wrapped: HyperNetwork = wrapper.make(hnet, **{**wrapper.of_program(given), "verbose": False, **arguments})
    return wrapped


HYPERNETWORK_OPTIONS = {
    "hnet_type": Option("", "", "Kind of hypernetwork."),
    **merged({**HYPERNETWORKS, **WRAPPERS}, "hnet_"),
    "hnet_wrappers": Option("", "", f"Put around it, the innermost first: {', '.join(WRAPPERS)}."),
}

ONLY_OF_WRAPPERS = HYPERNETWORK_OPTIONS.keys() - merged(HYPERNETWORKS, "hnet_").keys() - {"hnet_type"}
"""Options that say what is around a hypernetwork."""

"""Wrappers that options put around a hypernetwork, and the options that each of them takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypnettorch.core import checks
from hypnettorch.hnets import HEncodedInput, HLowRank, HPerturbWrapper, HRecurrent, HResidual, HScaling, HSetInput
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.utils.command_line.expressions import module
from hypnettorch.utils.command_line.kinds import Argument, Kind, names


@dataclass(frozen=True)
class Request:
    """What a hypernetwork is to produce.

    Attributes:
        target_shapes: Shapes of the targets.
        num_conds: Number of conditions that it knows by id.
        no_cond_weights: Whether their parameters are external.
        uncond_in_size: Size of the unconditional input of the innermost hypernetwork.
        mnet: The main network, if there is one.
    """

    target_shapes: Sequence[Sequence[int]]
    num_conds: int
    no_cond_weights: bool = False
    uncond_in_size: int = 0
    mnet: MainNetInterface | None = None


def unchanged(request: Request, arguments: Mapping[str, Any]) -> Request:
    """The wrapper asks of the hypernetwork inside what is asked of it."""
    return request


def without_conditions(request: Request, arguments: Mapping[str, Any]) -> Request:
    """The wrapper itself keeps what belongs to conditions."""
    return replace(request, num_conds=0, no_cond_weights=True)


def row_factors(request: Request, arguments: Mapping[str, Any]) -> Request:
    """The wrapper wants a factor per row."""
    return replace(request, target_shapes=HScaling.factor_shapes(request.target_shapes))


def low_rank_factors(request: Request, arguments: Mapping[str, Any]) -> Request:
    """The wrapper wants two thin matrices per target."""
    return replace(request, target_shapes=HLowRank.factor_shapes(request.target_shapes, **arguments))


def encoded(hnet: HyperNetInterface, request: Request, **kwargs: Any) -> HEncodedInput:
    """Embeddings of conditions go through an encoding."""
    return HEncodedInput(
        hnet, num_cond_embs=request.num_conds, no_cond_weights=request.no_cond_weights, verbose=False, **kwargs
    )


def recurrent(hnet: HyperNetInterface, request: Request, **kwargs: Any) -> HRecurrent:
    """The condition is the state of a recurrent network."""
    if request.num_conds:
        checks.fail("num_conds", "0 for a recurrent hypernetwork, whose condition is a sequence", request.num_conds)
    return HRecurrent(hnet, verbose=False, **kwargs)


def residual(hnet: HyperNetInterface, request: Request) -> HResidual:
    """Trained weights are added."""
    return HResidual(hnet, mnet=request.mnet, verbose=False)


def scaling(hnet: HyperNetInterface, request: Request) -> HScaling:
    """Rows of trained weights are scaled."""
    return HScaling(hnet, target_shapes=request.target_shapes, mnet=request.mnet, verbose=False)


def low_rank(hnet: HyperNetInterface, request: Request, **kwargs: Any) -> HLowRank:
    """The output consists of products of thin matrices."""
    return HLowRank(hnet, request.target_shapes, verbose=False, **kwargs)


def perturbed(hnet: HyperNetInterface, request: Request, **kwargs: Any) -> HPerturbWrapper:
    """Noise is added to the weights."""
    return HPerturbWrapper(hnet, hnet_uncond_in_size=request.uncond_in_size, verbose=False, **kwargs)


def set_input(hnet: HyperNetInterface, request: Request, **kwargs: Any) -> HSetInput:
    """The condition is a set, of which an encoder makes a vector."""
    return HSetInput(hnet, verbose=False, **kwargs)


@dataclass(frozen=True)
class Wrapper(Kind):
    """A kind of wrapper.

    Attributes:
        inside: What is asked of the hypernetwork inside, from what is asked of the wrapper and its arguments.
    """

    inside: Callable[[Request, Mapping[str, Any]], Request]


WRAPPERS: dict[str, Wrapper] = {
    "encoded": Wrapper(encoded, {"hnet_encoding": Argument("encoding")}, without_conditions),
    "recurrent": Wrapper(
        recurrent, {"hnet_cell": Argument("cell"), "hnet_cell_in_size": Argument("input_size")}, without_conditions
    ),
    "residual": Wrapper(residual, {}, unchanged),
    "scaling": Wrapper(scaling, {}, row_factors),
    "low_rank": Wrapper(low_rank, {"hnet_rank": Argument("rank")}, low_rank_factors),
    "perturbed": Wrapper(perturbed, {"hnet_noise_std": Argument("sigma_noise")}, unchanged),
    "set": Wrapper(
        set_input,
        {
            "hnet_set_encoder": Argument("encoder", module),
            "hnet_set_pool": Argument("pool"),
            "hnet_set_element_dims": Argument("element_dims"),
        },
        unchanged,
    ),
}


def parse_wrappers(option: str, value: str) -> list[Wrapper]:
    """Wrappers by their names, separated by commas, the innermost first.

    Raises:
        ValueError: If there is no such wrapper.
    """
    chosen = names(option, value)
    for name in chosen:
        checks.one_of(option, name, WRAPPERS)
    return [WRAPPERS[name] for name in chosen]


def wrap(
    make: Callable[[Request], HyperNetInterface], wrappers: Sequence[tuple[Wrapper, dict[str, Any]]], request: Request
) -> HyperNetInterface:
    """A hypernetwork inside of wrappers.

    Args:
        make: Makes the hypernetwork that is asked for.
        wrappers: With their arguments, the innermost first.
        request: What is asked of all of it.
    """
    if not wrappers:
        return make(request)
    *inner, (wrapper, arguments) = wrappers
    hnet = wrap(make, inner, wrapper.inside(request, arguments))
    wrapped: HyperNetInterface = wrapper.make(hnet, request, **arguments)
    return wrapped

"""Functions that hold a class to the contract of its interface.

Every law is a small function. Those of all networks stand in :mod:`~hypnettorch.testing.table_laws`,
:mod:`~hypnettorch.testing.weight_laws`, :mod:`~hypnettorch.testing.state_laws` and
:mod:`~hypnettorch.testing.statistics_laws`, the others in
:mod:`~hypnettorch.testing.main_network_laws` and :mod:`~hypnettorch.testing.hypernetwork_laws`. What a class need not
provide exempts it from the laws about it: a class without ``param_shapes_meta`` (or with external weights and without
``hyper_shapes_learned_ref``, or with an entry ``-1`` in it) from those that need to know where a tensor belongs, a
hypernetwork without conditions from those about conditions, one whose ``add_conditions`` raises
``NotImplementedError`` from those about it. Laws about running statistics concern networks that have any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.hnets.hypernetwork import check_hypernetwork as require_hypernetwork
from hypnettorch.mnets.network import check_network
from hypnettorch.testing import hypernetwork_laws, main_network_laws
from hypnettorch.testing.cases import Broken, Case, HyperCase, Law, MainCase


class ContractViolation(AssertionError):
    """A network breaks a law of its interface.

    Attributes:
        law: Name of the law.
    """

    def __init__(self, message: str, law: str) -> None:
        super().__init__(message)
        self.law = law


def check_main_network(net: Any, x: Tensor, limits: Mapping[str, str] | None = None) -> None:
    """Raise unless a main network keeps the laws of main networks.

    The network is not changed: all laws are tried on copies of it, in float64 on its device, and the state of PyTorch's
    random number generators is restored.

    Args:
        net: The network, an ``nn.Module``.
        x: An input of ``net.forward``, ``[N, ...]``.
        limits: Laws that the class does not keep and why, ``{name: reason}``. They are not tried.

    Raises:
        ContractViolation: If a law is broken. The message is a sentence that says which one, by which class, and what
            was found.
        ValueError: If ``limits`` names a law that does not exist.
        TypeError: If an argument has the wrong type.

    Example:
        >>> from hypnettorch.mnets import MLP
        >>> from hypnettorch.testing import check_main_network
        >>> check_main_network(MLP(n_in=3, n_out=2, verbose=False), torch.randn(4, 3))
    """
    check_network("net", net)
    checks.tensor("x", x)
    _check(net, lambda module: MainCase(module, x), main_network_laws.LAWS, limits)


def check_hypernetwork(
    hnet: Any,
    uncond_input: Tensor | None = None,
    cond_input: Tensor | None = None,
    limits: Mapping[str, str] | None = None,
) -> None:
    """Raise unless a hypernetwork keeps the laws of hypernetworks.

    The hypernetwork is not changed, see :func:`check_main_network`.

    Args:
        hnet: The hypernetwork, an ``nn.Module``.
        uncond_input: An unconditional input ``[N, ...]`` if the hypernetwork takes one (by default a random one of size
            ``hnet._uncond_in_size``, where a class has this attribute).
        cond_input: A conditional input ``[N, ...]`` if the hypernetwork knows no condition by id (likewise).
        limits: Laws that the class does not keep and why, ``{name: reason}``. They are not tried.

    Raises:
        ContractViolation: If a law is broken. The message is a sentence that says which one, by which class, and what
            was found.
        ValueError: If ``limits`` names a law that does not exist.
        TypeError: If an argument has the wrong type.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> from hypnettorch.testing import check_hypernetwork
        >>> check_hypernetwork(HMLP([[2, 3], [2]], layers=[4], num_cond_embs=2, verbose=False))
    """
    require_hypernetwork("hnet", hnet)
    _check(hnet, lambda module: HyperCase(module, uncond_input, cond_input), hypernetwork_laws.LAWS, limits)


def _check(
    net: object, case_of: Callable[[nn.Module], Case], laws: Sequence[Law], limits: Mapping[str, str] | None
) -> None:
    if not isinstance(net, nn.Module):
        raise TypeError(f"net: expected an nn.Module, got {type(net).__name__}")
    names = [law.__name__ for law in laws]
    for name in limits or ():
        checks.one_of("limits", name, names)
    devices = sorted({param.get_device() for param in net.parameters() if param.is_cuda})
    with torch.random.fork_rng(devices), torch.enable_grad():
        for name, law in zip(names, laws, strict=True):
            if name not in (limits or ()):
                _try(law, net, case_of)


def _try(law: Law, net: nn.Module, case_of: Callable[[nn.Module], Case]) -> None:
    """Hold a network to one law."""
    torch.manual_seed(0)
    try:
        law(case_of(net))
    except Exception as problem:
        sentence = (law.__doc__ or law.__name__).splitlines()[0].rstrip(".")
        found = str(problem) if isinstance(problem, Broken) else f"{type(problem).__name__}: {problem}"
        raise ContractViolation(
            f"{type(net).__name__} breaks the law '{law.__name__}' of its interface ({sentence}): {found}.",
            law.__name__,
        ) from problem

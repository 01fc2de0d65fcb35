"""Training and evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def evaluation(*networks: Any) -> Iterator[None]:
    """Evaluation mode within the block; afterwards each submodule is in the mode it was in.

    Args:
        *networks: Modules; ``None`` is passed over.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout().eval())
        >>> with evaluation(net):
        ...     net[0].training
        False
        >>> net[0].training, net[1].training
        (True, False)
    """
    modules = [module for network in networks if network is not None for module in network.modules()]
    modes = [module.training for module in modules]
    for network in networks:
        if network is not None:
            network.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode

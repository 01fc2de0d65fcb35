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
    modes = {m: m.training for network in networks if network is not None for m in network.modules()}
    for network in networks:
        if network is not None:
            network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode

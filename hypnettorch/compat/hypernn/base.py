"""What all hypernetworks of hyper-nn are called by."""

from __future__ import annotations

from typing import Any


class HyperNetwork:
    """A network whose calls produce weights, by :meth:`generate_params`, and use them, by :meth:`target_forward`.

    It is no ``nn.Module``, so that a class may derive from both in either order.
    """

    def generate_params(self, *args: Any, **kwargs: Any) -> Any:
        """Produce flat weights, and a dictionary with what they come from."""
        raise NotImplementedError(f"{type(self).__name__}: expected generate_params of a subclass, got none")

    def target_forward(self, *args: Any, generated_params: Any, **kwargs: Any) -> Any:
        """Evaluate the target network with these weights."""
        raise NotImplementedError(f"{type(self).__name__}: expected target_forward of a subclass, got none")

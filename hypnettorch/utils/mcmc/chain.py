"""What all Markov chains share: positions, counters, random numbers, logging."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.utils.mcmc.potential import Potential


def as_position(name: checks.Name, value: Any) -> Tensor:
    """A position ``[D]`` as a chain keeps it.

    Args:
        name: The argument, for messages.
        value: A vector, for which gradients are switched on in place, or a list of tensors (for instance the weights of
            a network) or numbers, which are put together.

    Returns:
        A copy without autograd graph.

    Raises:
        ValueError: If it is no vector of floating point numbers.
        TypeError: If it is neither tensor nor list.
    """
    if isinstance(value, Tensor):
        if value.dim() != 1 or not value.is_floating_point():
            checks.fail(name, "a vector of floating point numbers", f"{value.dtype} of shape {tuple(value.shape)}")
        return value.requires_grad_().detach().clone()
    checks.instance(name, value, Iterable, "a tensor or a list")
    parts = [torch.as_tensor(part).detach().flatten() for part in value]
    if not parts or not all(part.is_floating_point() for part in parts):
        checks.fail(name, "a vector or tensors of floating point numbers", value)
    return torch.cat(parts)


class MarkovChain(ABC):
    """A chain of positions ``[D]`` whose distribution converges to ``exp(-U(q)) / Z``.

    The random numbers of a chain come from a generator of its own, whose seed is drawn from torch's global generator
    when the chain is constructed.

    Args:
        initial_position: Where the chain starts: a vector ``[D]``, whose gradients are switched on in place, or a list
            of tensors, whose flattened entries are put together.
        pot_energy_func: The potential energy ``U``, a function of a position ``[D]`` with one number as its value.
        logger: Gets a line every ``log_interval`` states by its method ``info``.
        log_interval: Number of states between two lines.
        writer: Gets scalars of every state by its method ``add_scalar``, e.g. a ``SummaryWriter``.
        writer_tag: Stands in front of the names of scalars.
    """

    kind: ClassVar[str]
    """The group of the scalars."""

    def __init__(
        self,
        initial_position: Any,
        pot_energy_func: Potential,
        logger: Any = None,
        log_interval: int = 100,
        writer: Any = None,
        writer_tag: str = "",
    ) -> None:
        self._position = as_position("initial_position", initial_position)
        checks.instance("pot_energy_func", pot_energy_func, Callable, "a function")  # type: ignore[arg-type]
        self._pot_energy_func = pot_energy_func
        for name, value, method in (("logger", logger, "info"), ("writer", writer, "add_scalar")):
            if value is not None and not hasattr(value, method):
                raise TypeError(f"{name}: expected an object with the method {method}, got {type(value).__name__}")
        self._logger = logger
        self._log_interval = checks.integer("log_interval", log_interval, 1)
        self._writer = writer
        checks.instance("writer_tag", writer_tag, str)
        self._writer_tag = writer_tag
        self._generator = torch.Generator().manual_seed(int(torch.randint(2**63 - 1, ())))
        self._trajectory = [self._position]
        self._num_states = 0
        self._num_accepted = 0.0

    @property
    def current_position(self) -> Tensor:
        """The last position ``[D]``."""
        return self._position.detach()

    @property
    def num_states(self) -> int:
        """Number of states simulated so far, the initial one not counted."""
        return self._num_states

    @property
    def position_trajectory(self) -> list[Tensor]:
        """All positions, the initial one first, unless they were cleared."""
        return self._trajectory

    @property
    def acceptance_probability(self) -> float:
        """The fraction of accepted proposals; 1 before the first state."""
        return self._num_accepted / self._num_states if self._num_states else 1.0

    def clear_position_trajectory(self, n: int | None = None) -> None:
        """Forget positions, e.g. those of the burn-in phase; counters and the current position stay.

        Args:
            n: How many, from the first one on; all by default.

        Raises:
            ValueError: If there are fewer.
        """
        kept = len(self._trajectory)
        self._trajectory = self._trajectory[kept if n is None else checks.integer("n", n, 0, kept) :]

    @abstractmethod
    def simulate_chain(self, num_states: int) -> None:
        """Append states to the chain; a rejected proposal repeats the current position.

        Args:
            num_states: How many.

        Raises:
            ValueError: If the number is negative.
        """

    def _uniform(self) -> float:
        """A number from ``[0, 1)``."""
        return torch.rand((), generator=self._generator, dtype=torch.float64).item()

    def _noise(self) -> Tensor:
        """A standard normal vector ``[D]``, the same one on every device."""
        noise = torch.randn(self._position.shape, generator=self._generator, dtype=self._position.dtype)
        return noise.to(self._position.device)

    def _append(self, position: Tensor, accepted: float, scalars: Mapping[str, float]) -> None:
        """Enter a new state with the share of a proposal that was accepted and what is to be written."""
        self._position = position.detach().clone()
        self._trajectory.append(self._position)
        self._num_states += 1
        self._num_accepted += accepted
        scalars = {**scalars, "accept": self.acceptance_probability}
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(f"{self._writer_tag}{self.kind}/{name}", value, self._num_states)
        if self._logger is not None and self._num_states % self._log_interval == 0:
            values = ", ".join(f"{name} {value:.4g}" for name, value in scalars.items())
            self._logger.info(f"state {self._num_states}: {values}")

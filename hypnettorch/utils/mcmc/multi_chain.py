"""Several chains of Hamiltonian Monte Carlo."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.utils.logger_config import config_logger
from hypnettorch.utils.mcmc.chain import as_position
from hypnettorch.utils.mcmc.evaluation import ParallelEvaluation
from hypnettorch.utils.mcmc.hamiltonian import HMC
from hypnettorch.utils.mcmc.leapfrog import Leapfrog
from hypnettorch.utils.mcmc.nuts import NUTS
from hypnettorch.utils.mcmc.potential import Potential
from hypnettorch.utils.mcmc.together import run_together

CHAIN_TYPES: dict[str, type[HMC]] = {"hmc": HMC, "nuts": NUTS}


class MultiChainHMC:
    """Several chains on one distribution, or one chain on each of several.

    The chains are :class:`~hypnettorch.utils.mcmc.hamiltonian.HMC` or :class:`~hypnettorch.utils.mcmc.nuts.NUTS`. Each
    has its own random numbers, seeded in the order of the chains, so that a chain does not depend on how many run at
    once. Those that do are evaluated together, in one pass: potentials of
    :func:`~hypnettorch.utils.mcmc.potential.nn_pot_energy` by ``batched_forward`` of the network, others by
    ``torch.func.vmap``. Potentials that ``vmap`` refuses, and different ones, are evaluated in threads.

    Args:
        initial_positions: Where the chains start: ``[C, D]``, or a list of positions as one chain takes them.
        pot_energy_func: The potential energy of all chains, or a list with one per chain.
        chain_type: ``'hmc'`` or ``'nuts'``.
        **kwargs: Further arguments of every chain, except for these:

            - ``writer``: An object with the method ``add_scalar``, which gets the scalars of chain ``i`` with
              ``chain_<i>/`` in front of their names, or a folder, in which chain ``i`` writes to ``chain_<i>`` for
              TensorBoard.
            - ``logger``: The logger of chain 0, or a list of one per chain, in which ``None`` stands for a logger that
              prints.

    Raises:
        ValueError: If an argument has a wrong shape or length or is out of range.
        TypeError: If an argument has the wrong type or is unknown.
        ImportError: If ``writer`` is a folder and TensorBoard is not installed.

    Example:
        >>> sampler = MultiChainHMC(torch.randn(4, 2), lambda q: 0.5 * (q**2).sum(), stepsize=0.5, num_steps=4)
        >>> sampler.simulate_chains(100, num_parallel=4)
        >>> sampler.draws(discard=21).shape
        torch.Size([4, 80, 2])
    """

    def __init__(
        self,
        initial_positions: Tensor | Sequence[Any],
        pot_energy_func: Potential | Sequence[Potential],
        chain_type: str = "hmc",
        **kwargs: Any,
    ) -> None:
        checks.one_of("chain_type", chain_type, CHAIN_TYPES)
        positions = _positions(initial_positions)
        count = len(positions)
        functions = pot_energy_func if isinstance(pot_energy_func, (list, tuple)) else [pot_energy_func] * count
        checks.length("pot_energy_func", functions, count)
        loggers = _loggers(kwargs.pop("logger", None), count)
        tag = kwargs.pop("writer_tag", "")
        writer = kwargs.pop("writer", None)
        self._own_writers: list[Any] = []
        if isinstance(writer, (str, os.PathLike)):
            self._own_writers = _writers(writer, count)
            targets = [(own, tag) for own in self._own_writers]
        else:
            targets = [(writer, f"{tag}chain_{i}/") for i in range(count)]
        self._chains = [
            CHAIN_TYPES[chain_type](position, function, logger=logger, writer=writer, writer_tag=tag, **kwargs)
            for position, function, logger, (writer, tag) in zip(positions, functions, loggers, targets, strict=True)
        ]

    @property
    def num_chains(self) -> int:
        """Number of chains."""
        return len(self._chains)

    @property
    def chains(self) -> list[HMC]:
        """The chains."""
        return self._chains

    @property
    def avg_acceptance_probability(self) -> float:
        """The mean of the chains' acceptance probabilities."""
        return sum(chain.acceptance_probability for chain in self._chains) / self.num_chains

    def draws(self, discard: int = 0) -> Tensor:
        """The positions of all chains, ``[C, S, D]``.

        Args:
            discard: How many of the first positions of each chain to leave out; the initial one counts.

        Raises:
            ValueError: If no position is left, or the chains have different numbers of positions.
        """
        trajectories = [chain.position_trajectory for chain in self._chains]
        lengths = sorted({len(trajectory) for trajectory in trajectories})
        if len(lengths) > 1:
            checks.fail("draws", "chains of the same length", f"{lengths} positions")
        start = checks.integer("discard", discard, 0, lengths[0] - 1)
        return torch.stack([torch.stack(trajectory[start:]) for trajectory in trajectories])

    def simulate_chains(self, num_states: int, num_chains: int | Sequence[int] = -1, num_parallel: int = 1) -> None:
        """Append states to chains.

        Args:
            num_states: How many, to each of them.
            num_chains: Which: -1 for all, another number for so many of the shortest ones, a list for those with these
                indices.
            num_parallel: How many run at once.

        Raises:
            ValueError: If a number is out of range, or potential energy or gradient at an initial position is not
                finite.
        """
        number = checks.integer("num_states", num_states, 0)
        at_once = checks.integer("num_parallel", num_parallel, 1)
        simulations = [chain.simulation(number) for chain in self._select(num_chains)]
        with ParallelEvaluation(at_once) as evaluate:
            run_together(simulations, at_once, Leapfrog(self._chains[0].kinetic_energy, evaluate))
        for writer in self._own_writers:
            writer.flush()

    def _select(self, num_chains: int | Sequence[int]) -> list[HMC]:
        if isinstance(num_chains, (list, tuple)):
            indices = checks.integers("num_chains", num_chains, 0)
            for i, index in enumerate(indices):
                checks.integer(("num_chains", i), index, 0, self.num_chains - 1)
            if len(set(indices)) < len(indices):
                checks.fail("num_chains", "different indices", indices)
            return [self._chains[i] for i in indices]
        count = checks.integer("num_chains", num_chains, -1, self.num_chains)
        if count == -1:
            return self._chains
        shortest = sorted(range(self.num_chains), key=lambda i: self._chains[i].num_states)[:count]
        return [self._chains[i] for i in sorted(shortest)]


def _positions(initial_positions: Any) -> list[Tensor]:
    """The initial positions of all chains, alike in size, dtype and device."""
    if isinstance(initial_positions, Tensor) and initial_positions.dim() != 2:
        checks.fail("initial_positions", "shape [C, D]", tuple(initial_positions.shape))
    checks.instance("initial_positions", initial_positions, (Tensor, list, tuple))
    if not len(initial_positions):
        checks.fail("initial_positions", "at least one position", "none")
    positions = [as_position(("initial_positions", i), position) for i, position in enumerate(initial_positions)]
    first = positions[0]
    for i, position in enumerate(positions):
        checks.shape(("initial_positions", i), position, first.shape)
        if (position.dtype, position.device) != (first.dtype, first.device):
            expected, got = (f"{p.dtype} on {p.device}" for p in (first, position))
            checks.fail(("initial_positions", i), expected, got)
    return positions


def _loggers(logger: Any, count: int) -> list[Any]:
    if not isinstance(logger, (list, tuple)):
        return [logger] + [None] * (count - 1)
    checks.length("logger", logger, count)
    return [own or config_logger(f"chain_{i}", None, logging.INFO, logging.INFO) for i, own in enumerate(logger)]


def _writers(folder: str | os.PathLike[str], count: int) -> list[Any]:
    purpose = "a folder as writer"
    require("tensorboard", purpose)
    make: Callable[[str], Any] = require("torch.utils.tensorboard", purpose).SummaryWriter
    return [make(os.path.join(folder, f"chain_{i}")) for i in range(count)]

"""Hamiltonian Monte Carlo: samples from a distribution whose potential energy ``U(q) = -log p(q) + const`` is known.

- :class:`~hypnettorch.utils.mcmc.hamiltonian.HMC`: Hamiltonian Monte Carlo,
- :class:`~hypnettorch.utils.mcmc.nuts.NUTS`: the No-U-Turn Sampler,
- :class:`~hypnettorch.utils.mcmc.metropolis.MCMC`: random-walk Metropolis,
- :class:`~hypnettorch.utils.mcmc.multi_chain.MultiChainHMC`: several chains of HMC or NUTS,
- :func:`~hypnettorch.utils.mcmc.potential.nn_pot_energy`: the posterior of a network's weights,
- :func:`~hypnettorch.utils.mcmc.potential.log_prob_standard_normal_prior`: a Gaussian prior,
- :func:`~hypnettorch.utils.mcmc.leapfrog.leapfrog`: the integrator.

:mod:`hypnettorch.utils.hmc_diagnostics` says whether chains have converged.
"""

from __future__ import annotations

from hypnettorch.utils.mcmc.hamiltonian import HMC
from hypnettorch.utils.mcmc.leapfrog import leapfrog
from hypnettorch.utils.mcmc.metropolis import MCMC
from hypnettorch.utils.mcmc.multi_chain import MultiChainHMC
from hypnettorch.utils.mcmc.nuts import NUTS
from hypnettorch.utils.mcmc.potential import log_prob_standard_normal_prior, nn_pot_energy

__all__ = ["HMC", "MCMC", "NUTS", "MultiChainHMC", "leapfrog", "log_prob_standard_normal_prior", "nn_pot_energy"]

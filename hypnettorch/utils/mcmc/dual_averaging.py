"""Adaptation of the step size to a wanted acceptance probability."""

from __future__ import annotations

import math

from hypnettorch.core import checks


class DualAveraging:
    """Dual averaging of the step size ``ε``.

    After state ``m`` with acceptance statistic ``α``:

    ``H̄_m = (1 - 1/(m+t₀)) H̄_(m-1) + 1/(m+t₀) (δ - α)``,
    ``log ε_m = μ - √m/γ H̄_m``,
    ``log ε̄_m = m^(-κ) log ε_m + (1 - m^(-κ)) log ε̄_(m-1)``

    with ``μ = log(10 ε₀)``, ``γ = 0.05``, ``t₀ = 10``, ``κ = 0.75``.

    Args:
        stepsize: The step size ``ε₀`` at the start.
        target_accept: The wanted average ``δ`` of the acceptance statistic.

    Raises:
        ValueError: If ``stepsize`` is not positive or ``target_accept`` is not between 0 and 1.

    Example:
        >>> averaging = DualAveraging(0.1, target_accept=0.8)
        >>> averaging.update(1.0) > 0.1  # everything is accepted: take larger steps
        True

    References:
        Hoffman & Gelman, "The No-U-Turn Sampler", 2014, algorithms 5 and 6, eq. 6.
    """

    GAMMA = 0.05
    T0 = 10
    KAPPA = 0.75

    def __init__(self, stepsize: float, target_accept: float) -> None:
        self._shrinkage_point = math.log(10 * checks.positive("stepsize", stepsize))
        self._target = checks.number("target_accept", target_accept, 0, 1)
        self._count = 0
        self._mean_error = 0.0
        self._log_average = 0.0

    def update(self, accept: float) -> float:
        """Take the acceptance statistic of a state into account; returns the step size ``ε_m`` of the next one."""
        self._count += 1
        weight = 1 / (self._count + self.T0)
        self._mean_error += weight * (self._target - accept - self._mean_error)
        log_stepsize = self._shrinkage_point - math.sqrt(self._count) / self.GAMMA * self._mean_error
        self._log_average += self._count**-self.KAPPA * (log_stepsize - self._log_average)
        return math.exp(log_stepsize)

    @property
    def average(self) -> float:
        """The step size ``ε̄_m`` with which to go on after adaptation."""
        return math.exp(self._log_average)
